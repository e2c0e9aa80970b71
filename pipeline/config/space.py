"""What the search may vary, in the TOML."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from pipeline.config.fields import Closed
from pipeline.errors import nearest


class Range(Closed):
    """Values to choose from: `low` to `high`, or `choices`."""

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if self.choices:
            if self.low is not None or self.high is not None or self.log:
                raise ValueError("choices stand alone, without low, high and log")
        elif self.low is None or self.high is None:
            raise ValueError("a range has low and high, or choices: { low = 0.0, high = 0.5 }")
        elif not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        elif self.log and self.low <= 0:
            raise ValueError(f"low must be above 0 on a logarithmic scale, got {self.low}")
        return self

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant: both ends are written as such."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that must be possible for all of them to be."""
        return self.choices or (self.low, self.high)

    def __str__(self) -> str:
        return " | ".join(map(str, self.choices)) if self.choices else f"{self.low} … {self.high}"

    @classmethod
    def of(cls, value: object) -> object:
        """Return the range that a table of TOML is; anything else as it came.

        Raises ValueError where it is none.
        """
        if not isinstance(value, dict):
            return value
        for key in value:
            if key not in cls.model_fields:
                allowed = ", ".join(cls.model_fields)
                raise ValueError(
                    f"a range has no key {key!r}{nearest(key, cls.model_fields)} (allowed: {allowed})"
                )
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            place = "".join(f"{part}: " for part in first["loc"] if isinstance(part, str) and part in value)
            raise ValueError(place + first["msg"].removeprefix("Value error, ")) from error


class Space(Closed):
    """What a trial may differ in beside its loss and its head, each as `{ low = …, high = … }`, with
    `log = true` for a logarithmic scale, or as `{ choices = [ … ] }`. A parameter of a loss or a head
    is given a range in the same way: `{ name = "cdw_ce", alpha = { low = 1.0, high = 5.0 } }`.
    """  # noqa: D205 - one sentence

    hidden: Range | None = Field(
        default=None, description="Choices of `model.hidden`, such as `{ choices = [[32], [64, 64]] }`."
    )
    dropout: Range | None = Field(default=None, description="Of `model.dropout`.")
    embedding: Range | None = Field(default=None, description="Of `model.embedding`.")
    class_weight: Range | None = Field(default=None, description="Choices of `model.class_weight`.")
    learning_rate: Range | None = Field(default=None, description="Of `search.learning_rate`.")
    batch_size: Range | None = Field(default=None, description="Of `search.batch_size`.")

    @property
    def ranges(self) -> dict[str, Range]:
        """Those that were given, by key."""
        return {key: value for key, value in self if value is not None}
