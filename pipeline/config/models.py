"""The TOML of one model, as frozen, closed models: a mistyped key is an error that names its neighbour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
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
from pipeline.config.space import Range, Space
from pipeline.errors import nearest


class Named(BaseModel):
    """A loss or a head by name; every further key is a parameter of it, or a range of one."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters, without the name."""
        return dict(self.model_extra or {})

    @property
    def ranges(self) -> dict[str, Range]:
        """Those parameters whose value the search chooses."""
        return {key: value for key, value in self.parameters.items() if isinstance(value, Range)}

    def chosen(self, values: Mapping[str, Any]) -> Named:
        """Return the same with other values of some parameters."""
        return Named(name=self.name, **{**self.parameters, **values})

    def __str__(self) -> str:
        given = ", ".join(f"{key}={shown(value)}" for key, value in self.parameters.items())
        return f"{self.name}({given})" if given else self.name


def shown(value: object) -> str:
    """Return a value as titles show it: a number that was drawn has too many digits."""
    text = str(value)
    return f"{value:.4g}" if isinstance(value, float) and len(text) > 6 else text


def _named(value: object) -> object:
    if isinstance(value, str):
        return {"name": value}
    return {key: Range.of(one) for key, one in value.items()} if isinstance(value, dict) else value


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
        description="Number of trainings. Each loss is tried on each head once, whatever the sampler.",
    )
    sampler: Literal["grid", "tpe", "random"] | None = Field(
        default=None,
        description="What is tried after that: 'grid' the same again with the next seed; 'tpe' what looks "
        "best by Optuna's tree-structured Parzen estimator, 'random' anything, of losses, heads and all "
        "ranges. Default: 'tpe' where something has a range, else 'grid'.",
    )
    space: Space = Field(
        default=Space(), description="Ranges of what else a trial may differ in, see below."
    )
    pruning: Literal["median", "none"] = Field(
        default="median",
        description="'median' ends a trial whose best realised validation cost, uncalibrated, is above the "
        "median of the other trials' at the same epoch; not before five trials have ended and "
        "`patience` epochs have passed.",
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
        description="Of all trials together; those that are not done by then are ended. Default: no limit.",
    )
    workers: Annotated[int, Field(gt=0, le=1024)] = Field(
        default=1, description="Trials at a time, each in a process of its own."
    )
    threads: Annotated[int, Field(ge=0, le=1024)] = Field(
        default=0, description="Threads of each of these processes; 0 shares the cores among them."
    )
    refit: bool = Field(
        default=False,
        description="Train the chosen trials once more, on the rows of training and validation together, "
        "for as many epochs as were best; calibration stays as it was fitted.",
    )

    @property
    def draws(self) -> Literal["grid", "tpe", "random"]:
        """The sampler that is used."""
        ranges = self.space.ranges or any(one.ranges for one in (*self.losses, *self.heads))
        return self.sampler or ("tpe" if ranges else "grid")

    @property
    def after(self) -> str:
        """What comes after each loss on each head, in words."""
        match self.draws:
            case "grid":
                return "then the same with the next seed"
            case "tpe":
                return "then what looks best to Optuna (tpe)"
            case "random":
                return "then any of them"

    @model_validator(mode="after")
    def _no_grid_of_ranges(self) -> Self:
        ranged = [f"{one.name}.{key}" for one in (*self.losses, *self.heads) for key in one.ranges]
        ranged += self.space.ranges
        if self.sampler == "grid" and ranged:
            raise ValueError(
                f"sampler 'grid' draws nothing, but {ranged[0]} has a range: use 'tpe' or 'random'"
            )
        return self

    @model_validator(mode="after")
    def _enough_for_the_ensemble(self) -> Self:
        if self.ensemble > self.trials:
            raise ValueError(
                f"an ensemble of {self.ensemble} needs as many trials, there are {self.trials}"
            )
        return self


class Tracking(Closed):
    """Where experiments and models are kept."""

    uri: str = Field(
        default="", description="MLflow's; default: MLFLOW_TRACKING_URI, else SQLite in this folder."
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
