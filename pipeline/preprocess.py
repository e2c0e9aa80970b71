"""What the network does with raw rows first: fitted on the training part only, and part of the graph."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import KerasTensor, ops

from pipeline.data import Dataset


def fit(data: Dataset, embedding: int = 0) -> keras.layers.Layer:
    """Return the layer that brings the rows of `data` to a scale that trains well.

    - Images are divided by the largest absolute pixel.
    - Numbers of a table get mean 0 and standard deviation 1 (constant ones only the mean). A gap becomes
      the median, and columns that have gaps in training get a companion that is 1 where there is one.
    - Each category of a table is a unit that is 1 or 0; or, with `embedding`, some learned numbers. A gap
      is a category of its own where training had some. What training has not seen is 0 in all units.

    Args:
        data: Whose training part is looked at.
        embedding: How many learned numbers stand for a category; 0: a unit for each.

    Returns:
        Rows as `data.features` has them to `(batch, units)`, or to images.
    """
    if data.statistics is None or data.encoding is None:
        return keras.layers.Rescaling(1 / max(_largest_pixel(data), 1e-12), name="scaling")
    numbers, categories = data.statistics, data.encoding.categories.values()
    scale = 1 / np.where(numbers.deviation > 0, numbers.deviation, 1)
    offset = -numbers.mean * scale
    gapped = bool(data.gaps[list(data.encoding.numbers)].any())
    if not gapped and not categories:
        return keras.layers.Rescaling(scale.tolist(), offset.tolist(), name="scaling")
    return Columns(
        fill=numbers.median.tolist(),
        scale=scale.tolist(),
        offset=offset.tolist(),
        gapped=gapped,
        companions=np.flatnonzero(numbers.empty).tolist(),
        codes=[category.codes for category in categories],
        embedding=embedding,
        dtype="float32",  # half precision cannot tell more than 2,048 codes apart
        name="columns",
    )


def _largest_pixel(data: Dataset) -> float:
    ((low, high),) = data.inputs[0].ranges
    return max(abs(low), abs(high))


@keras.saving.register_keras_serializable("ordinal")
class Columns(keras.layers.Layer):
    """Turns `(batch, F + C)`, F numbers and C codes, into `(batch, units)`.

    With x the numbers and g whether they are missing: `scale·(g ? fill : x) + offset`, then g of the
    columns in `companions`, then for category c the units `code_c = 0 … codes_c − 1`, or the row
    `code_c` of a table of `codes_c × embedding` weights. A code beyond those is zero in all of them.
    """

    def __init__(
        self,
        fill: list[float],
        scale: list[float],
        offset: list[float],
        gapped: bool,
        companions: list[int],
        codes: list[int],
        embedding: int = 0,
        **kwargs: Any,
    ) -> None:
        """Take what training rows say.

        Args:
            fill: F numbers.
            scale: F numbers.
            offset: F numbers.
            gapped: Whether a number may be missing.
            companions: Places of those that are told apart where they are.
            codes: How many codes each of C categories has.
            embedding: Weights a code; 0: units.
            **kwargs: Keras' own.
        """
        super().__init__(**kwargs)
        self.fill, self.scale, self.offset = list(fill), list(scale), list(offset)
        self.gapped = gapped
        self.companions, self.codes = list(companions), list(codes)
        self.embedding = embedding

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the table of an embedding; row 0 of the graph's is that of unknown codes."""
        if self.embedding and self.codes:
            shape = (sum(self.codes), self.embedding)
            self.table = self.add_weight(shape=shape, initializer="uniform", name="embedding")
        super().build(input_shape)

    def call(self, rows: KerasTensor) -> KerasTensor:
        """Return the units of some rows."""
        count = len(self.fill)
        parts = []
        if count:
            numbers = rows[:, :count] if self.codes else rows
            missing = ops.isnan(numbers) if self.gapped else None
            if missing is not None:
                numbers = ops.where(missing, _constant(self.fill), numbers)
            parts.append(numbers * _constant(self.scale) + _constant(self.offset))
            if missing is not None and self.companions:
                every = len(self.companions) == count
                told = missing if every else ops.take(missing, self.companions, axis=1)
                parts.append(ops.cast(told, "float32"))
        if self.codes:
            codes = rows[:, count:] if count else rows
            parts.append(self._embedded(codes) if self.embedding else self._units(codes))
        return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=1)

    def _units(self, codes: KerasTensor) -> KerasTensor:
        of_unit = np.repeat(np.arange(len(self.codes)), self.codes)
        code = np.concatenate([np.arange(count) for count in self.codes])
        repeated = ops.take(codes, of_unit, axis=1)
        return ops.cast(ops.equal(repeated, _constant(code)), "float32")

    def _embedded(self, codes: KerasTensor) -> KerasTensor:
        begin = np.concatenate([[0], np.cumsum(self.codes)[:-1]])
        table = ops.concatenate([ops.zeros((1, self.embedding)), self.table], axis=0)
        known = ops.logical_and(codes >= 0, codes < _constant(self.codes))
        row = ops.where(known, codes + _constant(begin + 1), ops.zeros_like(codes))
        found = ops.take(table, ops.cast(row, "int32"), axis=0)  # (batch, C, embedding)
        return ops.reshape(found, (-1, len(self.codes) * self.embedding))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, int]:
        """Return `(batch, units)`."""
        units = len(self.codes) * self.embedding if self.embedding else sum(self.codes)
        return input_shape[0], len(self.fill) + len(self.companions) + units

    def get_config(self) -> dict[str, Any]:
        """Everything `from_config` needs."""
        names = ("fill", "scale", "offset", "gapped", "companions", "codes", "embedding")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _constant(numbers: Any) -> KerasTensor:
    return ops.convert_to_tensor(np.asarray(numbers, np.float32))
