"""The artifact's description of itself: a JSON document in the ONNX file's `metadata_props["ordinal"]`."""

from __future__ import annotations

import json
import math
from collections import Counter
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from serving.closed import Closed
from serving.errors import ArtifactError
from serving.inputs import Input as Input
from serving.quote import listed

KEY = "ordinal"
SCHEMA_VERSION: Literal[1] = 1
PADDING = 1e30
"""Cost of the actions that fill up a policy with fewer actions than another; every real cost is below."""
ABSTAIN = "abstain"
"""Name of the action that leaves the decision to somebody else."""


class Topology(Closed):
    """How the labels are arranged."""

    kind: Literal["linear", "cyclic"] = "linear"
    period: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Cyclic only: the distance once round, in the unit of the label values."
    )

    @model_validator(mode="after")
    def _period_goes_with_cyclic(self) -> Self:
        if (self.kind == "cyclic") != (self.period is not None):
            raise ValueError("a cyclic topology has a period, and a linear one has none")
        return self


class Profile(Closed):
    """A named cost matrix, `cost[true label][action]`."""

    actions: tuple[str, ...] = Field(min_length=2, json_schema_extra={"uniqueItems": True})
    cost: tuple[tuple[Annotated[float, Field(ge=0, lt=PADDING)], ...], ...]

    @model_validator(mode="after")
    def _rectangular(self) -> Self:
        if len(set(self.actions)) != len(self.actions):
            raise ValueError(f"two actions have the same name: {list(self.actions)}")
        for true_label, row in enumerate(self.cost):
            if len(row) != len(self.actions):
                raise ValueError(
                    f"cost[{true_label}] has {len(row)} entries for {len(self.actions)} actions"
                )
        return self


class TrainedWith(Closed):
    """A loss or a head, with the parameters it had."""

    name: str
    parameters: dict[str, Any] = Field(default={})


class Member(Closed):
    """One of the networks that answer together."""

    loss: TrainedWith
    head: TrainedWith
    proper: bool = Field(description="Whether the loss is a strictly proper score.")
    undone: tuple[Literal["soft_labels", "class_weights"], ...] = Field(
        default=(), description="What calibration has undone of what training did to probabilities."
    )
    run_id: str = Field(description="The MLflow run of its training.")


class Quality(Closed):
    """How far probabilities could be trusted, on rows that calibration was not fitted on."""

    nll: float
    rps: float = Field(description="Divided by K − 1; on a ring the mean over its arcs.")
    ece: float
    threshold_ece: float


class Calibration(Closed):
    """Each pass is softmax(slopes·log p + offsets), after what was undone; then passes are averaged."""

    method: Literal["none", "temperature", "vector"] = "none"
    slopes: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(), description="One for each label; 1 / temperature. Empty where nothing is scaled."
    )
    offsets: tuple[float, ...] = Field(default=(), description="As many.")
    rows: Annotated[int, Field(ge=0)] = Field(default=0, description="That it was fitted on.")
    before: Quality | None = None
    after: Quality | None = None


class Interval(Closed):
    """How the interval of labels is made."""

    kind: Literal["central", "greedy"] = "central"
    coverage: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.9, description="Where a request names none."
    )
    rows: Annotated[int, Field(gt=0)] = Field(description="Calibration rows, which served nothing else.")


def rows_needed(coverage: float) -> int:
    """Return the fewest calibration rows with which an interval of a coverage need not hold every label."""
    return math.ceil(coverage / (1 - coverage) - 1e-9)  # but for rounding


class Provenance(Closed):
    """Where the artifact comes from."""

    data_fingerprint: str = Field(description="SHA-256 of the checked data and its split.")
    refitted: bool = Field(
        default=False,
        description="Whether the networks were trained once more, on the rows of training and validation, "
        "after calibration was fitted.",
    )
    git_commit: str = Field(description="Commit of the code, or 'unknown'.")
    versions: dict[str, str] = Field(description="Version of each package that took part.")
    created: datetime


def _whole_number(value: object) -> object:
    if type(value) is not int:  # true and 1.0 are equal to 1
        raise ValueError(f"must be a whole number, got {value!r}")
    return value


class Manifest(Closed):
    """Everything a loader needs to know about the graph beside it."""

    schema_version: Annotated[Literal[1], BeforeValidator(_whole_number)] = SCHEMA_VERSION
    name: str = Field(min_length=1)
    labels: tuple[str, ...] = Field(
        min_length=2, description="In their order.", json_schema_extra={"uniqueItems": True}
    )
    values: tuple[float, ...] = Field(description="Numeric value of each label.")
    topology: Topology = Topology()
    inputs: tuple[Input, ...] = Field(min_length=1)
    profiles: dict[str, Profile] = Field(min_length=1)
    default_profile: str
    members: tuple[Member, ...] = Field(min_length=1, description="The best first.")
    passes: Annotated[int, Field(gt=0)] = Field(
        default=1, description="Answers that are averaged for each row, of all members together."
    )
    calibration: Calibration = Calibration()
    interval: Interval
    provenance: Provenance

    @model_validator(mode="after")
    def _labels_fit(self) -> Self:
        count = len(self.labels)
        if len(set(self.labels)) != count:
            raise ValueError(f"two labels have the same name: {list(self.labels)}")
        if len(self.values) != count:
            raise ValueError(f"{count} labels but {len(self.values)} values")
        if any(not low < high for low, high in zip(self.values, self.values[1:], strict=False)):
            raise ValueError(f"values must rise with the labels, got {list(self.values)}")
        period = self.topology.period
        if period is not None and not period > self.values[-1] - self.values[0]:
            raise ValueError(f"a period of {period:g} does not reach round the values {list(self.values)}")
        scaling = (len(self.calibration.slopes), len(self.calibration.offsets))
        if scaling != ((0, 0) if self.calibration.method == "none" else (count, count)):
            raise ValueError(
                f"calibration by {self.calibration.method!r} has {scaling[0]} slopes and {scaling[1]} "
                f"offsets for {count} labels"
            )
        if len({i.name for i in self.inputs}) != len(self.inputs):
            raise ValueError(f"two inputs have the same name: {[i.name for i in self.inputs]}")
        features = Counter(feature for spec in self.inputs for feature in spec.features)
        twice = [feature for feature, times in features.items() if times > 1]
        if twice:
            raise ValueError(f"a feature belongs to one input, and {listed(twice)} to several")
        for name, profile in self.profiles.items():
            if len(profile.cost) != count:
                raise ValueError(f"profile {name!r} has {len(profile.cost)} rows for {count} labels")
        if self.default_profile not in self.profiles:
            raise ValueError(
                f"default profile {self.default_profile!r} is not one of {sorted(self.profiles)}"
            )
        return self

    @property
    def best(self) -> Member:
        """The first member: the trial that was best alone."""
        return self.members[0]

    @property
    def order(self) -> str:
        """The labels for reading: `a < b < c` on a line, `a → b → c` round a ring."""
        return (" < " if self.topology.kind == "linear" else " → ").join(self.labels)

    def to_json(self) -> str:
        """The manifest as it stands in the file."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str, *, origin: str) -> Manifest:
        """Parse and check a manifest; `origin` names the file in the error.

        Raises ArtifactError, naming the place and what is wrong with it.
        """
        try:
            manifest = cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            if first["loc"] == ("schema_version",):
                raise ArtifactError(
                    f"{origin}: its manifest has schema version {first['input']!r}; "
                    f"this version of ordinal understands {SCHEMA_VERSION}"
                ) from error
            place = ".".join(str(part) for part in first["loc"]) or "manifest"
            raise ArtifactError(f"{origin}: {place}: {first['msg']}") from error
        if "schema_version" not in manifest.model_fields_set:
            raise ArtifactError(
                f"{origin}: its manifest has no schema version; "
                f"this version of ordinal understands {SCHEMA_VERSION}"
            )
        return manifest


RULES = (
    "there are as many values as labels",
    "values rise from label to label",
    "a cyclic topology has a period, a linear one has none",
    "a period is longer than the way from the first value to the last",
    "the input 'numeric' is float32 and has a shape of one number, and that many features and ranges",
    "the input 'categorical' is string and has a shape of one number, and that many features and lists of "
    "categories, but no ranges",
    "the input 'image' is float32 or uint8 and has a shape of three numbers, no features, and one range",
    "only the input 'categorical' has categories, and only it may refuse unknown ones",
    "missing names features of its own input",
    "no category stands for a missing value",
    "no two inputs have the same name",
    "no two inputs have a feature of the same name",
    "a profile has a row of costs for each label",
    "a row of costs has one for each action",
    "default_profile is the name of one of the profiles",
    "calibration has a slope and an offset for each label, or none where its method is none",
)
"""What a manifest must be beyond its JSON Schema, which cannot compare one place with another."""


def json_schema() -> str:
    """The manifest's JSON Schema, draft 2020-12; `make docs` writes it to serving/manifest.schema.json."""
    content = Manifest.model_json_schema()
    content |= {
        "required": ["schema_version", *content["required"]],
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Manifest of an ordinal artifact, schema version {SCHEMA_VERSION}",
        "description": f"The JSON document in metadata_props[{KEY!r}] of the ONNX file. What this schema "
        f"cannot say, a loader checks as well: {'; '.join(RULES)}.",
    }
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
