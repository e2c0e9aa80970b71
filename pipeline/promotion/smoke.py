"""Whether what a service would now get answers as it should."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import PromotionError
from pipeline.tracking import registry
from serving.artifact import Answer, Artifact
from serving.manifest import Input, Manifest

ROWS = 64
_SOME = 0.1  # of the cells that may be missing are
_CLOSE = 1e-5


class Golden(NamedTuple):
    """Rows, an array for each input, and the `(rows, K)` probabilities that they must be answered with."""

    inputs: Mapping[str, NDArray[np.generic]]
    probabilities: NDArray[np.floating]


def try_champion(uri: str, name: str, version: int, golden: Golden | None = None) -> None:
    """Fetch `models:/NAME@champion` as a service does, load it with the service's loader, and run it.

    Args:
        uri: Of MLflow's store.
        name: Of the registered model.
        version: That the alias must lead to.
        golden: Rows whose answers are known; without them, only random rows are asked.

    Raises:
        PromotionError: Where the alias leads elsewhere, the file is not the one that was registered, or
            an answer is wrong.
        PipelineError: Where it cannot be fetched.
        OrdinalError: Where the loader refuses it.
    """
    with tempfile.TemporaryDirectory(prefix="ordinal-") as folder:
        fetched = registry.fetch(uri, name, Path(folder))
        if fetched.version != version:
            raise PromotionError(f"the alias was moved to version {fetched.version} meanwhile")
        artifact = Artifact(fetched.path, "cpu")
        seal = registry.version_seal(uri, name, version)
        if seal is not None and seal != artifact.digest:
            raise PromotionError(f"its file is not the one that was registered: seal {artifact.digest}")
        random = np.random.default_rng(version)
        _check_sane(artifact.run(plausible_rows(artifact.manifest, ROWS, random)))
        if golden is not None:
            _check_same(artifact.run(golden.inputs).probabilities, golden.probabilities)


def _check_sane(answer: Answer) -> None:
    for output in ("probabilities", "expected_value", "expected_cost"):
        if not np.isfinite(getattr(answer, output)).all():
            raise PromotionError(f"it answers plausible rows with {output} that are not finite")
    sums = answer.probabilities.sum(axis=1)
    if (answer.probabilities < 0).any() or not np.allclose(sums, 1, atol=1e-4):
        raise PromotionError("it answers plausible rows with probabilities that are none")


def _check_same(got: NDArray[np.floating], wanted: NDArray[np.floating]) -> None:
    if got.shape != wanted.shape:
        raise PromotionError(
            f"it answers known rows with probabilities of shape {got.shape}, not {wanted.shape}"
        )
    difference = float(np.abs(got - wanted).max())
    if not difference <= _CLOSE:  # NaN is no match either
        raise PromotionError(f"it answers known rows otherwise than before, by {difference:.2g}")


def plausible_rows(
    manifest: Manifest, rows: int, random: np.random.Generator
) -> dict[str, NDArray[np.generic]]:
    """Return random rows such as training saw: within ranges, of known categories, some cells missing."""
    return {spec.name: _plausible(spec, rows, random) for spec in manifest.inputs}


def _plausible(spec: Input, rows: int, random: np.random.Generator) -> NDArray[np.generic]:
    if spec.dtype == "string":
        columns = [
            np.array(each, np.object_)[random.integers(len(each), size=rows)] for each in spec.categories
        ]
        cells = np.stack(columns, axis=1)
        gap: object = ""
    else:
        low, high = np.array(spec.ranges).T  # of each feature, or one for an image
        shares = random.uniform(size=(rows, *spec.shape))
        cells = (low * (1 - shares) + high * shares).astype(spec.dtype)
        gap = np.nan
    for column, feature in enumerate(spec.features):
        if feature in spec.missing:
            cells[random.uniform(size=rows) < _SOME, column] = gap
    return cells
