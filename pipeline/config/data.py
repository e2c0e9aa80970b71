"""The part of the configuration that says where rows come from, and how they are parted."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline.config.fields import Closed, Pixels, Share, Text
from pipeline.topology import Kind

BUILT_IN = ("digits", "diabetes", "mnist")
"""The sources that have a name; every other one is a path."""

MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "?")
"""Texts that stand for a missing value, unless the config names others."""


class Data(Closed):
    """Where the rows come from, and what their labels mean."""

    source: str = Field(
        description="A .csv, .tsv or .parquet table, a .npz file with arrays x and y, a folder of images "
        "LABEL/….png or .jpg, a folder of the four IDX files of MNIST or of a set in its format; or "
        "'digits' (scikit-learn's 1,797 scanned digits), 'diabetes' (442 patients, progression in five "
        "grades), 'mnist' (70,000 digits, which Keras downloads on first use). A path is relative to this "
        "file, one given by --set too."
    )
    label: str = Field(default="", description="Of a table: the column that holds the label.")
    labels: tuple[Text, ...] = Field(
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

    features: tuple[str, ...] = Field(
        default=(), description="Columns to learn from; default: every one that has no other role."
    )
    drop: tuple[str, ...] = Field(
        default=(),
        description="Columns to leave out. What is learned from is what a split by content hashes: another "
        "choice of columns, or of their order in the file, is another split.",
    )
    categorical: tuple[str, ...] = Field(
        default=(),
        description="Columns of numbers that are names of something, such as postal codes. Columns of "
        "texts are categories without being named here.",
    )
    missing: tuple[str, ...] = Field(
        default=MISSING, description="Texts that stand for a missing value; also in rows that are served."
    )
    unknown: Literal["accept", "refuse"] = Field(
        default="accept",
        description="Whether a served row may have a category that is not known: one that no training row "
        "has, or one beyond the 1,000 most frequent of its column.",
    )
    encoding: str = Field(default="utf-8", description="Of a text file, as Python names it.")
    group: str = Field(
        default="", description="Column that names what rows belong to; rows of one group never part."
    )
    time: str = Field(
        default="",
        description="Column of numbers or dates: the latest rows are for testing, those before for "
        "calibration, those before for validation.",
    )
    weight: str = Field(
        default="",
        description="Column that says what a row counts for in training; scores count rows alike.",
    )
    image_size: tuple[Pixels, Pixels] | None = Field(
        default=None,
        description="Height and width that images of a folder are brought to; default: their own where all "
        "have the same, else 64 × 64.",
    )

    @field_validator("labels", mode="before")
    @classmethod
    def _as_texts(cls, labels: object) -> object:
        # A label is a text, and [1, 2, 3] says plainly enough which.
        if not isinstance(labels, list):
            return labels
        return [str(label) if type(label) in (int, float) else label for label in labels]

    @model_validator(mode="after")
    def _one_role_each(self) -> Self:
        roles: dict[str, str] = {}
        for role, columns in (
            ("label", (self.label,)),
            ("group", (self.group,)),
            ("time", (self.time,)),
            ("weight", (self.weight,)),
            ("drop", self.drop),
            ("features", self.features),
        ):
            for column in columns:
                before = roles.setdefault(column, role)
                if column and before != role and {before, role} != {"group", "features"}:
                    raise ValueError(f"column {column!r} cannot be both {before} and {role}")
        for column in self.categorical:
            role = roles.get(column, "features") if column else "features"
            if column not in self.features and (self.features or role != "features"):
                raise ValueError(
                    f"column {column!r} is in categorical, and not a feature"
                    + (f": it is {role}" if role != "features" else "; name it in features too")
                )
        if len(set(self.features)) != len(self.features):
            raise ValueError(f"a feature is named twice: {list(self.features)}")
        return self

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, encoding: str) -> str:
        try:
            "".encode(encoding)  # which looks for codecs of texts alone, not for base64
        except (LookupError, UnicodeError) as error:
            raise ValueError(f"no encoding is named {encoding!r}; try utf-8, latin-1 or cp1252") from error
        return encoding

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
    """How rows are parted: by a hash of seed and group or row content, by time, or by a column.

    By a hash or a column a row never changes sides; by time it does not where `cuts` are given.
    """

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
    column: str = Field(
        default="",
        description="Column that names each row's part: train, validation, calibration or test.",
    )
    cuts: tuple[str | float | datetime | date, ...] = Field(
        default=(),
        description="With data.time: where validation, calibration and test begin, three numbers or dates; "
        "then rows stay where they are when data grows. Default: by the shares.",
    )

    @model_validator(mode="after")
    def _three_cuts(self) -> Self:
        if self.cuts and len(self.cuts) != 3:
            raise ValueError(
                f"cuts are three, where validation, calibration and test begin; got {len(self.cuts)}"
            )
        return self

    @model_validator(mode="after")
    def _leaves_training_rows(self) -> Self:
        if self.test + self.validation + self.calibration >= 1:
            raise ValueError(
                "test, validation and calibration leave nothing to train on: "
                f"{self.test} + {self.validation} + {self.calibration}"
            )
        return self
