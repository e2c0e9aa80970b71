"""One batch of rows: columns in, a table of answers and what is wrong with other rows out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.errors import InputError, choice
from pipeline.scoring import cells
from pipeline.scoring.cells import Columns
from pipeline.scoring.faults import Faults
from pipeline.scoring.names import free
from serving.artifact import Answer, Artifact
from serving.manifest import PADDING, Input, Manifest, Profile

ROW = "row"
"""The column that says which row of the file an answer is to; the first is 1."""


@dataclass(frozen=True)
class Question:
    """What rows are asked about.

    Attributes:
        profiles: Names of cost profiles to decide by; none for the artifact's default.
        coverage: Of the interval; None for the artifact's.
        commas: Whether texts may have a comma for the decimal point.
        kept: Columns that are copied to the answers.
    """

    profiles: tuple[str, ...] = ()
    coverage: float | None = None
    commas: bool = False
    kept: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Scored:
    """The answers to the good rows of a batch, in their order, and what is wrong with the others."""

    answers: pa.RecordBatch
    faults: Faults


class Scorer:
    """An artifact that answers batches of columns; it has no state, and threads may share it."""

    def __init__(self, artifact: Artifact, question: Question) -> None:
        """Look whether the artifact can be asked that.

        Raises InputError where it takes images, has no such profile, or the coverage is none.
        """
        manifest = artifact.manifest
        _check(manifest, question)
        self.question = question
        self._artifact, self._manifest = artifact, manifest
        self._readers = cells.readers(manifest.inputs, question.commas)
        self._profiles = [
            manifest.profiles[name] for name in question.profiles or (manifest.default_profile,)
        ]
        # What is left to the graph is decided by the very costs that were exported.
        self._cost = _stacked(self._profiles) if question.profiles else None
        coverage = question.coverage
        self._coverage = None if coverage is None else np.array([coverage], np.float32)
        self._none = {name: column[:0] for name, column in self._columns(self._probe()).items()}
        own = {ROW, *self._none}
        taken = own.union(question.kept)
        self._kept = {name: free(name, taken, "input.") if name in own else name for name in question.kept}

    @property
    def inputs(self) -> tuple[Input, ...]:
        """What the artifact is fed."""
        return self._manifest.inputs

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the columns that every batch must have."""
        return tuple(feature for spec in self._manifest.inputs for feature in spec.features)

    def score(self, columns: Columns) -> Scored:
        """Answer a batch.

        Args:
            columns: An array for each feature and each column that is kept, all of the same length; numbers
                or texts as a file has them.
        """
        faults = Faults(len(next(iter(columns.values()))))
        fed: dict[str, NDArray[np.generic]] = {
            reader.name: reader.read(columns, faults) for reader in self._readers
        }
        for name in self._kept:
            if name not in self.features:  # which were looked at
                cells.check_texts(name, columns[name], faults)
        copied = {new: columns[name] for name, new in self._kept.items()}
        if faults.found:
            good = faults.good
            fed = {name: rows[good] for name, rows in fed.items()}
            copied = {name: column.filter(pa.array(good)) for name, column in copied.items()}
        some = len(faults.found) < faults.rows  # a graph need not take none
        answers = self._columns(self._artifact.run(fed, self._cost, self._coverage)) if some else self._none
        made = {**copied, **answers}
        return Scored(pa.RecordBatch.from_arrays(list(made.values()), list(made)), faults)

    def _probe(self) -> Answer:
        """Return the answer to a row of zeros, or of the first categories."""
        row: dict[str, NDArray[np.generic]] = {
            spec.name: np.array([[known[0] for known in spec.categories]], np.object_)
            if spec.dtype == "string"
            else np.zeros((1, *spec.shape), np.float32)
            for spec in self._manifest.inputs
        }
        return self._artifact.run(row, self._cost, self._coverage)

    def _columns(self, answer: Answer) -> dict[str, pa.Array]:
        manifest = self._manifest
        found: dict[str, pa.Array] = {}
        for place, label in enumerate(manifest.labels):
            found[f"p_{label}"] = _array(answer.probabilities[:, place])
        found["expected_value"] = _array(answer.expected_value)
        if answer.resultant is not None:
            found["resultant"] = _array(answer.resultant)
        for place, profile in enumerate(self._profiles):
            own = f"_{self.question.profiles[place]}" if self.question.profiles else ""
            decision = answer.decision[:, place]
            costs = np.take_along_axis(answer.expected_cost[:, place], decision[:, np.newaxis], axis=1)
            found[f"decision{own}"] = _named(decision, profile.actions)
            found[f"expected_cost{own}"] = _array(costs[:, 0])
            found[f"margin{own}"] = _array(answer.margin[:, place])
        for place, name in enumerate(("lower", "upper")):
            found[name] = _named(answer.interval[:, place], manifest.labels)
        for place, name in enumerate(("aleatoric", "epistemic")):
            found[name] = _array(answer.uncertainty[:, place])
        return found


def _check(manifest: Manifest, question: Question) -> None:
    for spec in manifest.inputs:
        if not spec.features:
            raise InputError(
                f"model {manifest.name!r} takes {spec.name}s, which no CSV or Parquet table holds; serve "
                "it, and ask by ordinal-serving predict"
            )
    for name in question.profiles:
        if name not in manifest.profiles:
            raise choice("--profile", "profile of the model is named", name, manifest.profiles)
    if len(set(question.profiles)) < len(question.profiles):
        raise InputError(f"--profile names one twice: {', '.join(question.profiles)}")
    if question.coverage is not None and not 0 < question.coverage < 1:
        raise InputError(f"--coverage must be between 0 and 1, got {question.coverage:g}")


def _stacked(profiles: Sequence[Profile]) -> NDArray[np.float32]:
    """Return all costs, `(1, P, K, A)`, of shorter profiles padded."""
    widest = max(len(profile.actions) for profile in profiles)
    cost = np.full((1, len(profiles), len(profiles[0].cost), widest), PADDING, np.float32)
    for place, profile in enumerate(profiles):
        cost[0, place, :, : len(profile.actions)] = profile.cost
    return cost


def _array(numbers: NDArray[np.float32]) -> pa.Array:
    return pa.array(np.ascontiguousarray(numbers))


def _named(places: NDArray[np.int64], names: Sequence[str]) -> pa.Array:
    """Return names by their places, each name once."""
    narrow = np.int8 if len(names) < 2**7 else np.int32
    return pa.DictionaryArray.from_arrays(
        pa.array(places.astype(narrow)), pa.array(list(names), pa.string())
    )
