"""Requests whose every answer is compared with a local run of the artifact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from serving.artifact import Artifact
from serving.bench.answers import Expected, Seen
from serving.bench.ordinal_speech import SPEECH
from serving.random_rows import Rows, random_rows
from serving.wire import ordinal_pb2 as wire

POOL = 64


@dataclass(frozen=True)
class Requests:
    """Different requests of one row for any of some models of the same inputs, under a name of each.

    `sent` are their bytes, which name no model: whichever is served answers, and says which it is.
    """

    rows: tuple[Rows, ...]
    sent: tuple[bytes, ...]
    expected: Mapping[str, Expected]

    def wrong(self, seen: Seen) -> tuple[int, str]:
        """Return how many replies are not what the model that they name answers, and what the first is."""
        wrong, example = 0, ""
        for request, came in enumerate(seen.replies):
            for reply, times in came.items():
                name = wire.PredictResponse.FromString(reply).model
                fault = self.expected[name].wrong(request, reply)
                if fault:
                    wrong += times
                    example = example or f"{name}: {fault}"
        return wrong, example


def requests(*paths: Path) -> Requests:
    """Return requests for these artifacts."""
    artifacts = [Artifact(path, "cpu") for path in paths]
    manifest, random = artifacts[0].manifest, np.random.default_rng(0)
    rows = tuple(random_rows(manifest, 1, random) for _ in range(POOL))
    return Requests(
        rows,
        tuple(SPEECH.request(manifest, one, "", "") for one in rows),
        {one.manifest.name: Expected(one, rows, SPEECH) for one in artifacts},
    )
