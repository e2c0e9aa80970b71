"""Where Keras takes its random numbers from."""

from __future__ import annotations

import contextlib
import random
import sys
import threading
from collections.abc import Iterator

import keras

_ONE_AT_A_TIME = threading.Lock()


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Make what is built inside depend on the seed alone.

    Initial weights and dropout without a seed of their own draw one from Python's `random`, one for the
    whole process. Other threads draw from it too (Prefect's, for its web socket), and any draw
    between two layers gives all that follow other weights. So Keras gets a generator that nobody else has.
    """
    # Keras has no setting for it; a test draws from another thread and would see it fail.
    of_keras = sys.modules[keras.random.SeedGenerator.__module__]
    with _ONE_AT_A_TIME:
        keras.utils.set_random_seed(seed)  # what networks of the user's own may draw from besides
        shared = of_keras.python_random
        of_keras.python_random = random.Random(seed)  # type: ignore[attr-defined]
        try:
            yield
        finally:
            of_keras.python_random = shared  # type: ignore[attr-defined]
