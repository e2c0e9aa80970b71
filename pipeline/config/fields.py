"""What the models of the configuration are made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=100)]
Text = Annotated[str, Field(min_length=1)]
Pixels = Annotated[int, Field(gt=0, le=4096)]
Share = Annotated[float, Field(gt=0, lt=1)]


class Closed(BaseModel):
    """Takes no key that it does not know, and does not change."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
