"""How a service is spoken to: rows become the bytes of a request, bytes of a reply become arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.artifact import Answer
from serving.bench.plan import Protocol
from serving.manifest import Manifest
from serving.random_rows import Rows

Outputs = dict[str, NDArray[np.generic]]
"""What a reply holds, named as the artifact's outputs, `(rows, …)` each."""


@dataclass(frozen=True)
class Speech:
    """One of the protocols that a service speaks.

    Attributes:
        method: Path of the unary method.
        stream: Path of the method that takes many requests on a stream; empty where there is none.
        request: Bytes of a request for rows of a model of that manifest, under a name and a version.
        outputs: What a reply holds. Raises ValueError or DecodeError where its bytes are no reply.
        expected: What a reply should hold, where this is what a local run answers.
    """

    method: str
    stream: str
    request: Callable[[Manifest, Rows, str, str], bytes]
    outputs: Callable[[bytes], Outputs]
    expected: Callable[[Answer], Outputs]


def speech_of(protocol: Protocol) -> Speech:
    """Return how a protocol is spoken; each loads messages of its own."""
    if protocol == "inference":
        from serving.bench import inference_speech

        return inference_speech.SPEECH
    from serving.bench import ordinal_speech

    return ordinal_speech.SPEECH
