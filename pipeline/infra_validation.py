"""Before a candidate is promoted it is started as it would be served, and asked over gRPC.

`ordinal-serving serve` runs as a process of its own on a free port of this machine. Its answers must be
those of onnxruntime in this process, and come soon enough.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.agreement import compare
from pipeline.errors import ExportError, PipelineError
from pipeline.gate.verdict import Check
from pipeline.service import SECONDS, Service
from pipeline.topology import Topology
from serving.artifact import CPU, Answer, Artifact
from serving.client import Client, OrdinalError, Prediction

TIMED = 200
"""Requests of one row whose latency is taken."""

ENOUGH = 100
"""Of these, without which there is no 95th percentile to speak of."""

CHALLENGER = "challenger"
"""Alias of the newest candidate, in the registry and where it is served."""

ATTEMPTS = 3
"""Times that the latency is taken where it is too long, the best of which counts: a machine that was busy
meanwhile makes a candidate slower, and nothing makes it quicker than it is."""

_WARM_UP = 20  # requests
_SINGLY = 60  # rows that are also asked about in small requests
_TIES = 0.01  # share of intervals that another device may round the other way
_OUTPUTS: Final = (
    "probabilities",
    "expected_value",
    "decision",
    "action_costs",
    "interval",
    "uncertainty",
)

Rows = Mapping[str, NDArray[np.generic]]


def validate(
    path: Path,
    rows: Rows,
    latency_ms: float,
    *,
    name: str,
    version: int | None = None,
    device: str = "cpu",
) -> tuple[Check, ...]:
    """Serve a candidate, ask it, and say whether it may be promoted for all that serving knows.

    Golden requests are one of all rows, and requests of 3 rows and of a single one about the first 60. All
    that comes over the wire must be what onnxruntime answers here, on the CPU, to the same batch:
    probabilities, expected values, decisions that are no ties, costs, margins, intervals, uncertainty. Rows
    that the model's manifest tells the service to refuse are left out. The start, the golden requests and
    the timed ones may take a minute each.

    Args:
        path: The `.onnx` file, as the registry keeps it.
        rows: Raw rows as `Dataset.raw` gives them, `(rows, *shape)` of each input; at most some hundred.
        latency_ms: Most milliseconds of the 95th percentile of requests of one row, as a client sees them,
            in the best of three attempts.
        name: Of the registered model, which requests name.
        version: In the registry, for words.
        device: Where the service runs the model: "auto", "cpu" or "cuda".

    Returns:
        Two checks: `service`, whether it starts and answers as it should; `latency`, only told where it
        does not answer. Whatever is wrong with the candidate is in a check, and no exception.

    Raises:
        ValueError: Where there is no row to ask about.
    """
    if not all(len(array) for array in rows.values()) or not rows:
        raise ValueError("infra validation needs at least one row to ask about")
    titled = name if version is None else f"{name} version {version}"
    with Service(path, CHALLENGER, device) as service:
        try:
            address = service.address()
            artifact = Artifact(path, "cpu")
            asked = askable(artifact, rows)
            with Client(address, connections=1, retry=False) as client:
                try:
                    answered = _golden(client, artifact, asked, name, titled)
                except ExportError as error:
                    answered = Check("service", False, f"{titled} is served, but {error}")
                return answered, _latency(client, artifact, asked, name, latency_ms)
        except (OrdinalError, PipelineError) as error:
            words = f"{titled} cannot be served: {error}{service.last_words()}"
    return (
        Check("service", False, words),
        Check("latency", None, f"the latency of {titled} is not known, since it cannot be served"),
    )


def askable(artifact: Artifact, rows: Rows) -> dict[str, NDArray[np.generic]]:
    """Return the rows that the service may not refuse: those without categories that must be known.

    Raises PipelineError where none is left.
    """
    good = np.ones(len(next(iter(rows.values()))), bool)
    for spec in artifact.manifest.inputs:
        if spec.dtype == "string" and not spec.unknown_allowed:
            absent = {"", *spec.missing_texts}
            for texts, categories in zip(rows[spec.name].T, spec.categories, strict=True):
                good &= np.array([text in absent or text in categories for text in texts])
    if not good.any():
        raise PipelineError(f"it refuses unknown categories, and each of {len(good)} rows has one")
    return {name: array[good] for name, array in rows.items()}


def _golden(client: Client, artifact: Artifact, rows: Rows, name: str, titled: str) -> Check:
    """Raise ExportError where the service differs, OrdinalError where it does not answer."""
    count = len(next(iter(rows.values())))
    few = min(count, _SINGLY)
    end = time.monotonic() + SECONDS
    worst, provider = 0.0, ""
    for size, about, what in (
        (count, count, "all rows at once"),
        (3, few, "batches of 3"),
        (1, few, "single rows"),
    ):
        expected, actual = [], []
        for batch in _batches(rows, size, about):
            reply = client.predict(
                _request(artifact, batch),
                name,
                CHALLENGER,
                outputs=_OUTPUTS,
                timeout=end - time.monotonic(),
            )
            actual.append(_answer(reply))
            expected.append(_here(artifact, batch))
            provider = reply.provider
        try:
            worst = max(worst, _compare(_joined(expected), _joined(actual), artifact, provider))
        except ExportError as error:
            raise ExportError(f"asked about {what}, {error}") from error
    return Check(
        "service",
        True,
        f"{titled} is served as {CHALLENGER} on {provider}, and its answers to {count} rows at once, "
        f"batches of 3 and single rows are onnxruntime's (largest difference {worst:.1g})",
        {"rows": count, "requests": 1 + -(-few // 3) + few, "difference": worst},
    )


def _compare(expected: Answer, actual: Answer, artifact: Artifact, provider: str) -> float:
    """Return the largest relative difference; raise ExportError where it is too large."""
    described = artifact.manifest
    names = ("onnxruntime", "the service")
    worst = compare(expected, actual, Topology(described.values, described.topology.period), names)
    differing = int((expected.interval != actual.interval).any(axis=1).sum())
    allowed = 0.0 if provider == CPU else _TIES
    if differing > allowed * len(expected.interval):
        raise ExportError(
            f"interval: {differing} of {len(expected.interval)} intervals of the service differ from "
            "onnxruntime's"
        )
    return worst


def _latency(client: Client, artifact: Artifact, rows: Rows, name: str, latency_ms: float) -> Check:
    requests = [_request(artifact, row) for row in _batches(rows, 1, _SINGLY)]
    end = time.monotonic() + SECONDS
    attempts = [_timed(client, requests, name, end)]
    while len(attempts) < ATTEMPTS and time.monotonic() < end and _p95(attempts[-1]) > latency_ms:
        attempts.append(_timed(client, requests, name, end))
    whole = [taken for taken in attempts if len(taken) >= _WARM_UP + ENOUGH]
    if not whole:
        return Check(
            "latency",
            False,
            f"within {SECONDS:g} s only {len(attempts[0])} requests of one row were answered, and the "
            f"latency takes {_WARM_UP + ENOUGH}",
            {"requests": len(attempts[0])},
        )
    best = min(whole, key=_p95)
    median, high, count = float(np.median(best[_WARM_UP:])), _p95(best), len(best) - _WARM_UP
    passed = high <= latency_ms
    limit = f"within the {latency_ms:g} ms" if passed else f"more than the {latency_ms:g} ms"
    again = f" in the best of {len(attempts)} attempts" if len(attempts) > 1 else ""
    return Check(
        "latency",
        passed,
        f"one row is answered in {median:.2f} ms at the median and {high:.2f} ms at the 95th percentile of "
        f"{count} requests{again}, {limit} that are allowed",
        {"median_ms": median, "p95_ms": high, "limit_ms": latency_ms, "requests": count},
    )


def _timed(client: Client, requests: Sequence[Any], name: str, end: float) -> list[float]:
    """Return the milliseconds of requests, those to warm up first; fewer where it gets later than `end`."""
    taken: list[float] = []
    for turn in range(_WARM_UP + TIMED):
        begin = time.perf_counter()
        client.predict(requests[turn % len(requests)], name, CHALLENGER, timeout=SECONDS)
        taken.append(1e3 * (time.perf_counter() - begin))
        if time.monotonic() > end:
            break
    return taken


def _p95(taken: Sequence[float]) -> float:
    return float(np.percentile(taken[_WARM_UP:], 95))


def _batches(rows: Rows, size: int, about: int) -> Iterator[dict[str, NDArray[np.generic]]]:
    """Yield the first rows, `size` at a time."""
    for start in range(0, min(about, len(next(iter(rows.values())))), size):
        yield {name: array[start : min(start + size, about)] for name, array in rows.items()}


def _request(artifact: Artifact, rows: Rows) -> NDArray[np.generic] | dict[str, NDArray[np.generic]]:
    """Return rows as a client would send them: images, or each column of a table by its name."""
    specs = artifact.manifest.inputs
    if not specs[0].features:
        return rows[specs[0].name]
    return {
        feature: rows[spec.name][:, place] for spec in specs for place, feature in enumerate(spec.features)
    }


def _here(artifact: Artifact, rows: Rows) -> Answer:
    try:
        return artifact.run(rows)
    except Exception as error:  # onnxruntime raises bare classes of its own for each failure
        raise PipelineError(f"onnxruntime fails on rows that the service answers: {error}") from error


def _answer(reply: Prediction) -> Answer:
    """Return a reply as the graph would have given it."""
    (decision,) = reply.decisions.values()
    assert decision.action_costs is not None
    assert reply.interval is not None
    assert reply.uncertainty is not None
    costs = decision.action_costs.copy()
    # What the decision costs is told once more, by itself, and must be right there too.
    costs[np.arange(len(costs)), decision.action] = decision.expected_cost
    return Answer(
        reply.probabilities,
        reply.expected_value,
        costs[:, np.newaxis],
        decision.action[:, np.newaxis].astype(np.int64),
        decision.margin[:, np.newaxis],
        np.stack([reply.interval.lower, reply.interval.upper], axis=1).astype(np.int64),
        np.stack([reply.uncertainty.aleatoric, reply.uncertainty.epistemic], axis=1),
        reply.resultant,
    )


def _joined(parts: Sequence[Answer]) -> Answer:
    outputs = zip(*parts, strict=True)
    return Answer(*(None if each[0] is None else np.concatenate(each) for each in outputs))  # type: ignore[arg-type]
