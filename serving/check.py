"""Whether an artifact may be served: loaded as the service loads it, run on random rows, and timed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving import repository
from serving.artifact import CUDA, Answer, Artifact
from serving.compared import Compared, compare
from serving.errors import ArtifactError
from serving.manifest import Manifest, rows_needed
from serving.quote import listed
from serving.random_rows import Rows, random_rows
from serving.resolve import resolve
from serving.settings import Settings

BATCHES = (1, 32, 512)
_WARM_UP = 5
_RUNS = 50
_ENOUGH = 2.0  # seconds for each batch size, after which a slow model's runs are cut off
_FEWEST = 5
_ALONE = 4  # rows that are answered once more by themselves
_EXACT, _ROUNDED = 1e-4, 1e-2  # how far answers may be off; TF32 keeps 10 bits


@dataclass(frozen=True)
class Timing:
    """How long a run of a batch took."""

    batch: int
    runs: int
    median_seconds: float
    percentile_95_seconds: float


@dataclass(frozen=True)
class Checked:
    """What is known of an artifact that may be served."""

    name: str
    version: str
    aliases: tuple[str, ...]
    path: Path
    size: int  # bytes
    digest: str
    provider: str
    choice: str  # why it is that one, where there was a choice
    gpu: Compared | None
    manifest: Manifest
    timings: tuple[Timing, ...]
    warnings: tuple[str, ...]

    def as_json(self) -> str:
        """Return one JSON object on one line."""
        content: dict[str, Any] = {
            "name": self.name,
            "version": self.version,
            "aliases": self.aliases,
            "file": str(self.path),
            "bytes": self.size,
            "sha256": self.digest,
            "provider": self.provider,
            "choice": self.choice,
            "gpu": None if self.gpu is None else asdict(self.gpu),
            "timings": [asdict(timing) for timing in self.timings],
            "warnings": self.warnings,
            "manifest": self.manifest.model_dump(mode="json"),
        }
        return json.dumps(content) + "\n"


async def check(model: str, settings: Settings, seed: int = 0) -> Checked:
    """Resolve MODEL, load it, check its answers to random rows, and time it.

    Raises:
        RegistryError: Where a `models:/` address cannot be resolved.
        ArtifactError: Where the file may not be served.
        DeviceError: Where the device asked for cannot be used, or answers otherwise than the CPU.
    """
    (served,) = repository.load(await resolve([model], settings), settings.device, settings.gpu)
    artifact = served.artifact
    random = np.random.default_rng(seed)
    compared, on_gpu = None, artifact.provider == CUDA
    check_answers(artifact, random, _ROUNDED if on_gpu and settings.gpu_tf32 else _EXACT)
    artifact.warm(settings.max_batch_rows)
    if on_gpu:
        compared = compare(artifact, settings.gpu, random_rows(artifact.manifest, BATCHES[-1], random))
    return Checked(
        name=served.name,
        version=served.version,
        aliases=served.aliases,
        path=artifact.path,
        size=artifact.path.stat().st_size,
        digest=artifact.digest,
        provider=artifact.provider,
        choice=artifact.choice,
        gpu=compared,
        manifest=artifact.manifest,
        timings=tuple(
            _timing(artifact, random_rows(artifact.manifest, batch, random)) for batch in BATCHES
        ),
        warnings=(*_warnings(artifact.manifest), *(compared.warnings() if compared else ())),
    )


def check_answers(artifact: Artifact, random: np.random.Generator, slack: float = _EXACT) -> None:
    """Check what the graph says about random rows like those seen in training, under every profile.

    Products and sums may be off by so much, of 1.

    Raises ArtifactError, naming what an answer must be, and what it was.
    """
    manifest = artifact.manifest
    rows = random_rows(manifest, BATCHES[-1], random)
    answers = {}
    for name, profile in manifest.profiles.items():
        cost = np.array(profile.cost, np.float32)[np.newaxis, np.newaxis]  # (1, 1, K, A)
        answers[name] = _run(artifact, rows, cost)
        _check_sane(answers[name], manifest, name, artifact.path, slack)
    left_out, named = _run(artifact, rows), answers[manifest.default_profile]
    if left_out.expected_cost.shape != named.expected_cost.shape or not np.allclose(
        left_out.expected_cost, named.expected_cost, rtol=slack
    ):
        raise ArtifactError(
            f"{artifact.path}: where no costs are asked for, the graph must decide by the default profile "
            f"{manifest.default_profile!r}, but its expected costs are others"
        )
    asked = _run(artifact, rows, coverage=np.array([manifest.interval.coverage], np.float32)).interval
    if not np.array_equal(left_out.interval, asked):
        raise ArtifactError(
            f"{artifact.path}: where no coverage is asked for, the graph must take the manifest's, "
            f"{manifest.interval.coverage:g}, but its intervals are others"
        )
    for row in range(_ALONE):
        alone = _run(artifact, {name: array[row : row + 1] for name, array in rows.items()})
        if not np.allclose(alone.probabilities, left_out.probabilities[row], atol=slack / 10):
            raise ArtifactError(
                f"{artifact.path}: a row must be answered alike alone and among others, but in a batch of "
                f"{BATCHES[-1]} random rows row {row} has other probabilities than alone"
            )


def _run(
    artifact: Artifact,
    rows: Rows,
    cost: NDArray[np.float32] | None = None,
    coverage: NDArray[np.float32] | None = None,
) -> Answer:
    try:
        return artifact.run(rows, cost, coverage)
    except Exception as error:  # onnxruntime raises bare classes of its own for each failure
        batch = len(next(iter(rows.values())))
        raise ArtifactError(
            f"{artifact.path}: a run of {batch} random rows fails: {str(error).strip()}"
        ) from error


def _check_sane(answer: Answer, manifest: Manifest, profile: str, path: Path, slack: float) -> None:
    labels, actions = len(manifest.labels), len(manifest.profiles[profile].actions)
    outputs = {name: value for name, value in answer._asdict().items() if value is not None}
    for name, value in outputs.items():
        if len(value) != BATCHES[-1]:
            raise ArtifactError(
                f"{path}: output {name!r} must answer each row, for {BATCHES[-1]} rows it has {len(value)}"
            )
    p = answer.probabilities
    within = _whole_row((answer.interval >= 0) & (answer.interval < labels))
    if manifest.topology.kind == "linear":
        within &= answer.interval[:, 0] <= answer.interval[:, 1]
    chosen = _whole_row((answer.decision >= 0) & (answer.decision < actions))
    # NaN fails every comparison, and an infinite probability does not sum to 1.
    simplex = _whole_row(p >= 0) & np.isclose(p.sum(axis=1), 1, atol=1e-4)
    cost = np.array(manifest.profiles[profile].cost)
    expected = answer.expected_cost[:, 0]
    close = _whole_row(np.abs(expected - p @ cost) <= slack * max(cost.max(), 1e-30))
    taken = np.take_along_axis(expected, np.clip(answer.decision, 0, actions - 1), axis=1)[:, 0]
    gap = np.sort(expected, axis=1)[:, 1] - expected.min(axis=1)
    musts: list[tuple[str, NDArray[np.bool_], NDArray[Any]]] = [  # what, which rows do, what came
        ("probabilities must not be negative, and sum to 1", simplex, p),
        (
            f"the decision by {profile!r} must be one of actions 0 … {actions - 1}",
            chosen,
            answer.decision,
        ),
        (f"the expected costs of {profile!r} must be Σ p·cost", close, answer.expected_cost),
        (f"the decision by {profile!r} must cost least", taken == expected.min(axis=1), answer.decision),
        (
            f"the margin of {profile!r} must be what the runner-up costs more",
            np.isclose(answer.margin[:, 0], gap, rtol=slack, atol=slack * max(cost.max(), 1e-30)),
            answer.margin,
        ),
        (f"the interval must go from a label to a label of 0 … {labels - 1}", within, answer.interval),
    ]
    for name, value in outputs.items():
        if value.dtype.kind == "f":
            musts.append((f"output {name!r} must be finite", _whole_row(np.isfinite(value)), value))
    for must, good, came in musts:
        if not good.all():
            raise ArtifactError(
                f"{path}: {must}; for a random row within the ranges seen in training it was "
                f"{listed(np.ravel(came[np.argmin(good)]).tolist())}"
            )


def _whole_row(holds: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return `(batch,)`: whether it holds for all numbers of a row."""
    return np.asarray(holds.reshape(len(holds), -1).all(axis=1))


def _timing(artifact: Artifact, rows: Rows) -> Timing:
    took: list[float] = []
    for _ in range(_WARM_UP + _RUNS):
        start = time.perf_counter()
        answer = _run(artifact, rows)
        took.append(time.perf_counter() - start)
        if sum(took) > _ENOUGH and len(took) >= _WARM_UP + _FEWEST:
            break
    measured = took[_WARM_UP:]
    median, percentile_95 = np.percentile(measured, (50, 95)).tolist()
    return Timing(len(answer.probabilities), len(measured), median, percentile_95)


def _warnings(manifest: Manifest) -> Iterator[str]:
    loss, interval = manifest.best.loss.name, manifest.interval
    if not manifest.best.proper:
        yield (
            f"the loss of the best member, {loss!r}, is not strictly proper: probabilities, and decisions "
            "made by them, are to be trusted only as far as calibration has mended them"
        )
    needed = rows_needed(interval.coverage)
    if interval.rows < needed:
        yield (
            f"a coverage of {interval.coverage:g} takes at least {needed} calibration rows, there were "
            f"{interval.rows}: every interval of this coverage holds every label"
        )
