"""What a model is fed, as its manifest describes it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic.config import JsonDict

from serving.closed import Closed
from serving.quote import listed, quoted

_Category = Annotated[str, Field(min_length=1)]
_UNIQUE: JsonDict = {"uniqueItems": True}
_DTYPES = {"numeric": ("float32",), "categorical": ("string",), "image": ("float32", "uint8")}


class Input(Closed):
    """One input of the graph, without its batch dimension."""

    name: Literal["numeric", "categorical", "image"]
    dtype: Literal["float32", "uint8", "string"]
    shape: tuple[Annotated[int, Field(gt=0)], ...] = Field(min_length=1)
    features: tuple[str, ...] = Field(
        default=(), description="Column names in order; empty for images.", json_schema_extra=_UNIQUE
    )
    ranges: tuple[tuple[float, float], ...] = Field(
        default=(),
        description="Lowest and highest value seen in training: one pair a feature that is a number, or "
        "one for an image.",
    )
    missing: tuple[str, ...] = Field(
        default=(),
        description="Features whose values may be missing, as some were in training. In 'numeric' NaN "
        "stands for a missing value, in 'categorical' an empty text or one of missing_texts.",
        json_schema_extra=_UNIQUE,
    )
    missing_texts: tuple[str, ...] = Field(
        default=(),
        description="Texts that stand for a missing value, beside the empty one: in the input "
        "'categorical', and of features that are numbers in files of rows.",
        json_schema_extra=_UNIQUE,
    )
    categories: tuple[
        Annotated[tuple[_Category, ...], Field(min_length=1, json_schema_extra=_UNIQUE)], ...
    ] = Field(
        default=(),
        description="Of 'categorical' only: for each feature the categories seen in training, in the "
        "graph's order.",
    )
    unknown_allowed: bool = Field(
        default=True,
        description="Of 'categorical' only: whether a category that is not among them is taken, as "
        "unknown to the graph, or refused.",
    )

    @model_validator(mode="after")
    def _features_fit(self) -> Self:
        for what, names in (
            ("features", self.features),
            ("missing", self.missing),
            ("missing_texts", self.missing_texts),
        ):
            if len(set(names)) != len(names):
                raise ValueError(f"{what} must differ, two have the same name: {list(names)}")
        known = set(self.features)
        others = [name for name in self.missing if name not in known]
        if others:
            raise ValueError(f"missing must name features of this input, and {listed(others)} are none")
        if self.dtype not in _DTYPES[self.name]:
            raise ValueError(f"{self.name} must be {' or '.join(_DTYPES[self.name])}, got {self.dtype}")
        if self.name == "image":
            if len(self.shape) != 3 or self.features or len(self.ranges) != 1:
                raise ValueError(
                    "an image is [height, width, channels], with one range and no feature names"
                )
            return self
        if len(self.shape) != 1 or len(self.features) != self.shape[0]:
            raise ValueError(
                f"a {self.name} input names each feature: shape {list(self.shape)}, "
                f"{len(self.features)} names"
            )
        ranges = self.shape[0] if self.name == "numeric" else 0
        if len(self.ranges) != ranges:
            raise ValueError(f"{ranges} features that are numbers but {len(self.ranges)} ranges")
        return self

    @model_validator(mode="after")
    def _categories_fit(self) -> Self:
        if self.name != "categorical":
            if self.categories or not self.unknown_allowed:
                raise ValueError(f"a {self.name} input has no categories, and so no unknown ones to refuse")
            return self
        if len(self.categories) != len(self.features):
            raise ValueError(
                f"{len(self.features)} features but {len(self.categories)} lists of categories"
            )
        absent = set(self.missing_texts)
        for feature, categories in zip(self.features, self.categories, strict=True):
            if len(set(categories)) != len(categories):
                raise ValueError(f"two categories of {quoted(feature)} are the same: {listed(categories)}")
            both = [category for category in categories if category in absent]
            if both:
                raise ValueError(
                    f"categories of {quoted(feature)} cannot stand for a missing value too: {listed(both)}"
                )
        return self
