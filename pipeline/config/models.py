"""The TOML of one model, as frozen, closed models: a mistyped key is an error that names its neighbour."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    Field,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)

from pipeline.config.data import Data, Split
from pipeline.config.decision import Decision
from pipeline.config.fields import Closed, Name, without_password
from pipeline.config.gate import Gate
from pipeline.config.notify import Notify
from pipeline.config.search import Search
from pipeline.errors import nearest

BACKBONES = ("mlp", "cnn", "linear")
"""Those that are built in."""


class Model(Closed):
    """The backbone below the head."""

    backbone: str = Field(
        default="mlp",
        description="'mlp', 'cnn' (images only), 'linear', or 'module:function' of your own: it is given "
        "the shape of a row and the number of labels, and returns a Keras model. The module is looked for "
        "beside this file first.",
    )
    hidden: tuple[Annotated[int, Field(gt=0)], ...] = Field(
        default=(64, 64),
        description="Units of each hidden layer of an mlp, filters of each block of a cnn.",
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.1, description="Share of units dropped after each hidden layer."
    )
    passes: Annotated[int, Field(gt=0, le=1000)] = Field(
        default=1,
        description="Answers averaged for each row, each with another mask of dropped units (MC dropout): "
        "what they disagree about is the epistemic uncertainty. 1 drops none.",
    )
    embedding: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=0,
        description="Learned numbers that stand for each category of a table; 0: a unit for each category.",
    )
    precision: Literal["auto", "float32", "mixed"] = Field(
        default="auto",
        description="Of the backbone in training: 'mixed' computes in bfloat16, 'auto' does so on a GPU "
        "that is made for it (compute capability 8.0 or more). What is exported computes in float32.",
    )
    class_weight: Literal["none", "balanced"] = Field(
        default="none",
        description="'balanced' weighs each row by rows / (K · rows of its label) in training; "
        "calibration divides the weights out again.",
    )

    @field_validator("backbone")
    @classmethod
    def _known_backbone(cls, backbone: str) -> str:
        module, colon, function = backbone.rpartition(":")
        if backbone not in BACKBONES and not (module and colon and function.isidentifier()):
            raise ValueError(
                f"no backbone is named {backbone!r}{nearest(backbone, BACKBONES)} "
                f"(allowed: {', '.join(BACKBONES)}, or 'module:function' of your own)"
            )
        return backbone


class Tracking(Closed):
    """Where experiments and models are kept."""

    uri: str = Field(
        default="",
        description='MLflow\'s, or "$NAME" of the environment variable that holds it; default: '
        "MLFLOW_TRACKING_URI, else SQLite in this folder.",
    )
    experiment: str = Field(default="", description="Default: the model's name.")

    @field_serializer("uri", when_used="json")
    def _shown(self, uri: str) -> str:
        """What is written as JSON is seen in Prefect's UI."""
        return without_password(uri)


class Config(Closed):
    """One model: its data, what is tried, what mistakes cost, where it is kept."""

    name: Name = Field(description="Name of the registered model.")
    data: Data
    split: Split = Split()
    model: Model = Model()
    search: Search = Search()
    decision: Decision = Decision()
    gate: Gate = Gate()
    tracking: Tracking = Tracking()
    notify: Notify = Field(default=Notify(), exclude=True)  # who is told is no part of what a run is

    @model_validator(mode="after")
    def _space_fits(self) -> Self:
        for key, values in self.search.space.ranges.items():
            section: BaseModel = self.model if key in Model.model_fields else self.search
            for value in values.ends:
                try:
                    section.__class__.model_validate({**dict(section), key: value})
                except ValidationError as error:
                    message = error.errors()[0]["msg"].removeprefix("Value error, ")
                    raise ValueError(f"search.space.{key}: {message}, got {value!r}") from error
        return self

    @model_validator(mode="after")
    def _split_one_way(self) -> Self:
        ways = {
            "split.column": self.split.column,
            "data.time": self.data.time,
            "data.group": self.data.group,
        }
        given = [key for key, value in ways.items() if value]
        if len(given) > 1:
            raise ValueError(f"rows are split one way: {' and '.join(given)} cannot both be given")
        if self.split.cuts and not self.data.time:
            raise ValueError("split.cuts need data.time, the column that they cut")
        return self
