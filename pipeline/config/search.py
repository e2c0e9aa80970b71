"""What a run tries, as [search] of the TOML says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from pipeline.config.fields import Closed
from pipeline.config.space import Range, Space


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
        default=1,
        description="Trials at a time, each in a process of its own; on Ray, where this is not given, as "
        "many as the cluster has room for.",
    )
    threads: Annotated[int, Field(ge=0, le=1024)] = Field(
        default=0,
        description="Threads of each of these processes; 0 shares the cores among them, and on Ray is one "
        "CPU of a node for each.",
    )
    backend: Literal["processes", "ray"] = Field(
        default="processes",
        exclude=True,  # what is tried is the same: a run may go on elsewhere
        description="Where trials are trained: 'processes' of this machine, or nodes of a 'ray' cluster.",
    )
    address: str = Field(
        default="",
        exclude=True,
        description="Of the Ray cluster: 'HOST:6379' where this machine is one of its nodes, "
        "'ray://HOST:10001' from any other, 'auto' for the one that runs on this machine or that "
        "RAY_ADDRESS names.",
    )
    replicas: Annotated[int, Field(gt=0, le=64)] = Field(
        default=1,
        description="GPUs that share one training, each with a copy of the network and a part of every "
        "batch: for one large model (`tf.distribute.MirroredStrategy`).",
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
    def places(self) -> int | None:
        """How many trials at a time were asked for; None where nothing was said about it."""
        return self.workers if "workers" in self.model_fields_set else None

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
    def _ray_has_an_address(self) -> Self:
        if self.backend == "ray" and not self.address:
            raise ValueError(
                "backend 'ray' needs an address of the cluster: address = \"HOST:6379\", "
                '"ray://HOST:10001" or "auto"'
            )
        return self

    @model_validator(mode="after")
    def _enough_for_the_ensemble(self) -> Self:
        if self.ensemble > self.trials:
            raise ValueError(
                f"an ensemble of {self.ensemble} needs as many trials, there are {self.trials}"
            )
        return self
