"""What the models of the configuration are made of."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=100)]
Text = Annotated[str, Field(min_length=1)]
Pixels = Annotated[int, Field(gt=0, le=4096)]
Share = Annotated[float, Field(gt=0, lt=1)]


class Closed(BaseModel):
    """Takes no key that it does not know, and does not change."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def without_password(uri: str) -> str:
    """Return an address without what may be secret in it.

    >>> without_password("postgresql://me:secret@db/mlflow")
    'postgresql://me:…@db/mlflow'
    """
    try:
        parts = urlsplit(uri)
    except ValueError:  # of an address that nobody can use
        return f"{uri.partition('://')[0]}://…"
    if parts.password is None:
        return uri
    user, _, place = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user.partition(':')[0]}:…@{place}").geturl()
