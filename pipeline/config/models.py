"""The TOML of one model, as frozen, closed models: a mistyped key is an error that names its neighbour."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from pipeline.config.data import Data, Split
from pipeline.config.decision import Decision
from pipeline.config.fields import Closed, Name, Share
from pipeline.errors import nearest


class Named(BaseModel):
    """A loss or a head by name; every further key is a parameter of it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters, without the name."""
        return dict(self.model_extra or {})

    def __str__(self) -> str:
        given = ", ".join(f"{key}={value}" for key, value in self.parameters.items())
        return f"{self.name}({given})" if given else self.name


def _named(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


Spec = Annotated[Named, BeforeValidator(_named)]


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


class Search(Closed):
    """What is tried."""

    losses: tuple[Spec, ...] = Field(
        default=(Named(name="cross_entropy"),),
        min_length=1,
        description="Losses, or methods that are a loss on a head, by name, or tables of a name and its "
        "parameters.",
    )
    heads: tuple[Spec, ...] = Field(
        default=(Named(name="softmax"),),
        min_length=1,
        description="Heads by name, or tables of a name and its parameters; a method brings its own.",
    )
    trials: Annotated[int, Field(gt=0, le=100_000)] = Field(
        default=6,
        description="Number of trainings: each loss on each head with one seed, then again with the next.",
    )
    ensemble: Annotated[int, Field(gt=0)] = Field(
        default=1, description="How many of the best trials answer together, in one artifact."
    )
    epochs: Annotated[int, Field(gt=0)] = Field(default=200, description="Most epochs of a trial.")
    patience: Annotated[int, Field(gt=0)] = Field(
        default=20, description="Epochs without a better validation loss after which a trial stops."
    )
    batch_size: Annotated[int, Field(gt=0)] = Field(default=64, description="Rows of a training step.")
    learning_rate: Annotated[float, Field(gt=0)] = Field(default=1e-3, description="Of Adam.")
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(
        default=0, description="Seed of the first round of trials; each round adds one."
    )
    seconds: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        description="No trial begins once so many seconds have passed since the first; default: no limit.",
    )
    workers: Annotated[int, Field(gt=0, le=1024)] = Field(
        default=1, description="Trials at a time. Not used yet: there is one."
    )
    refit: bool = Field(
        default=False,
        description="Train the chosen trials once more, on the rows of training and validation together, "
        "for as many epochs as were best; calibration stays as it was fitted.",
    )

    @model_validator(mode="after")
    def _enough_for_the_ensemble(self) -> Self:
        if self.ensemble > self.trials:
            raise ValueError(
                f"an ensemble of {self.ensemble} needs as many trials, there are {self.trials}"
            )
        return self


class Gate(Closed):
    """What a candidate must show to become the champion. Not used yet: every candidate becomes it."""

    metric: Literal["realised_cost"] = Field(
        default="realised_cost", description="What decides, on the labels of test rows; lower is better."
    )
    margin: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="By how much the candidate must win."
    )
    confidence: Share = Field(default=0.95, description="Of the interval of the difference.")
    slice_margin: Annotated[float, Field(ge=0)] = Field(
        default=0.05, description="By how much the candidate may be worse on a slice."
    )
    min_slice_rows: Annotated[int, Field(gt=0)] = Field(
        default=50, description="Slices with fewer rows are only reported."
    )
    latency_ms: Annotated[float, Field(gt=0)] = Field(
        default=50, description="Most milliseconds of an answer."
    )


class Tracking(Closed):
    """Where experiments and models are kept."""

    uri: str = Field(
        default="", description="MLflow's; default: MLFLOW_TRACKING_URI, else SQLite in this folder."
    )
    experiment: str = Field(default="", description="Default: the model's name.")


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

    @property
    def unused(self) -> tuple[str, ...]:
        """Keys that were given and that nothing uses yet."""
        gate = [f"gate.{key}" for key in sorted(self.gate.model_fields_set)]
        return (*(["search.workers"] if self.search.workers > 1 else []), *gate)

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
