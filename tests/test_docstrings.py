"""The examples in docstrings are run as typed."""

from __future__ import annotations

import doctest
import importlib

import numpy as np
import pytest


@pytest.mark.parametrize(
    "name",
    [
        "pipeline.errors",
        "pipeline.metrics",
        "pipeline.losses.cross_entropy",
        "pipeline.losses.expected_value",
        "pipeline.losses.distance",
    ],
)
def test_examples_print_what_they_say(name: str) -> None:
    """Each module listed has examples, and all of them hold."""
    result = doctest.testmod(importlib.import_module(name), extraglobs={"np": np})
    assert result.attempted > 0
    assert result.failed == 0
