"""The TOML of one model, as frozen, closed models: a mistyped key is an error that names its neighbour."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from pipeline.config.decision import Decision
from pipeline.config.fields import Closed, Name, Share
from pipeline.topology import Kind


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


BUILT_IN = ("digits", "mnist")
"""The sources that have a name; every other one is a path."""


class Data(Closed):
    """Where the rows come from, and what their labels mean."""

    source: str = Field(
        description="'digits' (scikit-learn's 1,797 scanned digits), 'mnist' (70,000 of them, which Keras "
        "downloads on first use), a .npz file with arrays x and y, or a folder that holds the four IDX "
        "files of MNIST or of a set in its format. A path is relative to this file, one given by --set too."
    )
    labels: tuple[str, ...] = Field(
        default=(), description="The labels in their order; may be left out where they are numbers."
    )
    values: tuple[float, ...] = Field(
        default=(),
        description="Numeric value of each label; default: the numbers themselves, else 0 … K-1.",
    )
    topology: Kind = Field(
        default="linear",
        description="'linear', or 'cyclic' where the last label is next to the first: months, directions.",
    )
    period: Annotated[float, Field(gt=0, strict=True)] | None = Field(
        default=None,
        description="Of 'cyclic': the distance once round, in label values; default: one more equal step.",
    )

    @model_validator(mode="after")
    def _values_fit(self) -> Self:
        if self.values and not self.labels:
            raise ValueError("values need labels, to say which label has which value")
        if self.values and len(self.values) != len(self.labels):
            raise ValueError(f"{len(self.values)} values for {len(self.labels)} labels")
        if any(not low < high for low, high in zip(self.values, self.values[1:], strict=False)):
            raise ValueError(f"values must rise with the labels, got {list(self.values)}")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"a label is named twice: {list(self.labels)}")
        if len(self.labels) == 1:
            raise ValueError("one label leaves nothing to learn; name at least two")
        if self.period is not None and self.topology == "linear":
            raise ValueError("period goes with topology = 'cyclic'")
        return self


class Split(Closed):
    """How rows are parted: by a hash of seed and row content, so that a row never changes sides."""

    test: Share = Field(
        default=0.2,
        description="Share of rows that only the final evaluation sees; a source with a test part of its "
        "own, as MNIST has, keeps that instead.",
    )
    validation: Share = Field(
        default=0.15,
        description="Share of rows for early stopping, temperature and selection; of those that are not "
        "the source's own test part.",
    )
    calibration: Share = Field(
        default=0.15,
        description="Share of rows for the conformal scores of intervals, and for nothing else; counted "
        "as that of validation.",
    )
    train_rows: Annotated[int, Field(gt=0)] | None = Field(
        default=None,
        description="Learn from at most so many training rows, for learning curves and quick trials: a "
        "smaller number takes some of the rows of a larger one, and the other parts stay as they are. "
        "Default: all.",
    )
    seed: int = Field(default=0, description="Another seed is another split.")

    @model_validator(mode="after")
    def _leaves_training_rows(self) -> Self:
        if self.test + self.validation + self.calibration >= 1:
            raise ValueError(
                "test, validation and calibration leave nothing to train on: "
                f"{self.test} + {self.validation} + {self.calibration}"
            )
        return self


class Model(Closed):
    """The backbone below the head."""

    backbone: Literal["mlp", "cnn", "linear"] = Field(
        default="mlp", description="'mlp', 'cnn' (images only) or 'linear'."
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
    class_weight: Literal["none", "balanced"] = Field(
        default="none",
        description="'balanced' weighs each row by rows / (K · rows of its label) in training; "
        "calibration divides the weights out again.",
    )


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


class Config(Closed):
    """One model: its data, what is tried, what mistakes cost, where it is kept."""

    name: Name = Field(description="Name of the registered model.")
    data: Data
    split: Split = Split()
    model: Model = Model()
    search: Search = Search()
    decision: Decision = Decision()
    tracking: Tracking = Tracking()
