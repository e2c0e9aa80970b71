"""What is to be measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from serving.access import Access

Protocol = Literal["ordinal", "inference"]
Arrivals = Literal["constant", "poisson"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a service is loaded; `ordinal-serving bench --help` explains the fields."""

    address: str
    access: Access = field(default_factory=Access)
    model: str = ""
    version: str = ""
    protocol: Protocol = "ordinal"
    stream: bool = False
    rows: int = 1
    rate: float | None = None
    arrivals: Arrivals = "constant"
    seconds: float = 10.0
    warmup: float = 1.0
    connections: int = 4
    processes: int = 1
    deadline: float = 10.0
    artifact: Path | None = None
    seed: int = 0
