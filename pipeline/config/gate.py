"""The TOML of the gate: what a candidate must show."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.fields import Closed, Share, Text


class Gate(Closed):
    """What a candidate must show to become the champion."""

    metric: Literal["realised_cost"] = Field(
        default="realised_cost", description="What decides, on the labels of test rows; lower is better."
    )
    margin: Annotated[float, Field(ge=0)] = Field(
        default=0.0,
        description="The candidate must cost less a row by more than this: the interval of the difference "
        "lies beyond it.",
    )
    confidence: Share = Field(
        default=0.95, description="Of the two-sided interval of the difference, and of every other check."
    )
    slices: tuple[Text, ...] = Field(
        default=(),
        description="Columns of a table whose every value is a slice, as every label is: features, or "
        "columns of data.drop, which are then read for this alone. At most 100 values each.",
    )
    slice_margin: Annotated[float, Field(ge=0)] = Field(
        default=0.05,
        description="A slice fails where the candidate costs more than so much more a row, beyond chance.",
    )
    min_slice_rows: Annotated[int, Field(gt=0)] = Field(
        default=50, description="Slices with fewer test rows are only reported."
    )
    calibration_margin: Annotated[float, Field(ge=0)] = Field(
        default=0.02,
        description="By how much the candidate's calibration error (ECE, without what chance makes of it) "
        "may be larger than the champion's, or than none.",
    )
    latency_ms: Annotated[float, Field(gt=0)] = Field(
        default=50, description="Most milliseconds of an answer."
    )
