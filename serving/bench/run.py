"""A measurement: what a service can do at most, how long it takes at a rate, and whether it is right."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from serving.artifact import Artifact
from serving.bench.answers import Expected, Verdict, judge
from serving.bench.drive import Done
from serving.bench.generators import Generators, Watcher
from serving.bench.plan import Plan
from serving.bench.speech import speech_of
from serving.client import Client
from serving.errors import ArtifactError, OrdinalError
from serving.manifest import Manifest
from serving.model_info import ModelInfo
from serving.random_rows import random_rows

POOL = 64
"""Different requests, sent in turn."""


@dataclass(frozen=True, eq=False)
class Measured:
    """What came out.

    Attributes:
        plan: What was asked for.
        target: The model that was asked.
        rate: Requests a second, where a load was sent; half of `saturated` where the plan names none.
        saturated: The closed loop, where the plan names no rate.
        load: The open loop; None where it was ended before.
        verdict: On the replies to it; None without an artifact to compare them with.
        moved: Whether the model is another file by now, where replies were wrong.
    """

    plan: Plan
    target: ModelInfo
    rate: float
    saturated: Done | None
    load: Done | None
    verdict: Verdict | None
    moved: bool = False


async def measure(plan: Plan, watcher: Watcher) -> Measured:
    """Measure a service until it is done, or until SIGINT ends it early.

    Raises:
        Unavailable: Nobody answers at the address.
        ModelNotFound: It serves no such model or version.
        ArtifactError: `plan.artifact` may not be served, or is not the file that is served.
        OrdinalError: Not a single request was answered in the search for a rate, or anything else.
    """
    artifact = None if plan.artifact is None else await asyncio.to_thread(Artifact, plan.artifact, "cpu")
    target = await asyncio.to_thread(_ask, plan)
    if artifact is not None and artifact.digest != target.digest:
        raise ArtifactError(
            f"{artifact.path}: must be the file that is served, or answers cannot be compared; its digest "
            f"is {artifact.digest}, that of {target.name} version {target.version} is {target.digest}"
        )
    manifest = Manifest.from_json(json.dumps(target.manifest), origin=plan.address)
    speech = speech_of(plan.protocol)
    random = np.random.default_rng(plan.seed)
    pool = [random_rows(manifest, plan.rows, random) for _ in range(POOL)]
    requests = tuple(
        speech.request(manifest, rows, plan.model or target.name, plan.version) for rows in pool
    )
    expected = None if artifact is None else await asyncio.to_thread(Expected, artifact, pool, speech)
    path = speech.stream if plan.stream else speech.method
    rate, saturated, load = plan.rate or 0.0, None, None
    with Generators(plan, path, requests, watcher) as generators, _interrupts(generators):
        if plan.rate is None:
            saturated = await generators.saturate()
            rate = saturated.load.rate / 2
            if not rate and not generators.stopped:
                said = "; ".join(map(str, saturated.failures())) or "nothing was sent"
                raise OrdinalError(f"{plan.address}: no request was answered: {said}")
        if rate and not generators.stopped:
            load = await generators.follow(rate)
    verdict, moved = None, False
    if load is not None and expected is not None:
        verdict = await asyncio.to_thread(judge, load.seen, expected)
        if verdict.wrong:
            moved = (await asyncio.to_thread(_ask, plan)).digest != target.digest
    return Measured(plan, target, rate, saturated, load, verdict, moved)


def _ask(plan: Plan) -> ModelInfo:
    with Client(plan.address, connections=1, retry=False, **plan.access.arguments) as client:
        return client.model(plan.model, plan.version)


@contextlib.contextmanager
def _interrupts(generators: Generators) -> Iterator[None]:
    """Let SIGINT end the load; a second one ends the program."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        generators.stop()

    loop.add_signal_handler(signal.SIGINT, stop)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
