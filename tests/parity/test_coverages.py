"""Levels that (n + 1)·coverage meets exactly: the rank is that number, and no step further."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import tensorflow as tf
from parity import answers
from parity.answers import ALL
from parity.cases import LINE, Workshop
from servers import run_server

from pipeline.conformal import Conformal
from pipeline.export import graph
from serving.artifact import Artifact
from serving.client import Client


def test_thousandths_of_any_number_of_rows() -> None:
    """Up to 300 calibration rows: ⌈(n + 1)·coverage⌉ in whole numbers, as no thousandth is in float32."""
    coverages = [Fraction(number, 1000) for number in range(1, 1000)]
    asked = tf.constant([float(coverage) for coverage in coverages], tf.float32)
    wrong = []
    for rows in range(1, 301):
        steps = np.append(np.arange(1, rows + 1), 512).astype(np.float32) / 512
        taken = Conformal("central", steps[:-1]).threshold(asked).numpy()
        ranks = [math.ceil((rows + 1) * coverage) for coverage in coverages]
        right = steps[np.array(ranks) - 1]
        wrong += [(rows, float(coverages[at]), ranks[at]) for at in np.flatnonzero(taken != right)]
    assert wrong == [], "calibration rows, coverage, wanted rank"


def test_the_file_and_the_service_take_no_further_step(tmp_path: Path) -> None:
    """Of 24 scores a coverage of 0.6 takes the 15th, 15/32: a label with a score of 0.484 is outside."""
    case = Workshop(tmp_path).identity("line", LINE, "greedy")
    conformal = Conformal("greedy", np.arange(1, 25, dtype=np.float32) / 32)
    path = tmp_path / "few.onnx"
    graph.export(case.exported.model, conformal, case.manifest, path)
    p = [0.484, 0.3, 0.15, 0.05, 0.016]
    assert answers.scores(p, case.topology, conformal)[:2] == [0.0, 0.484]
    rows = np.log([p]).astype(np.float32)
    file = Artifact(path, "cpu").run({"numeric": rows}, coverage=np.array([0.6], np.float32))
    with run_server(path) as server, Client(server.address) as client:
        reply = client.predict(rows, coverage=0.6, outputs=ALL)
    assert answers.of_reply(reply).interval.tolist() == file.interval.tolist() == [[0, 0]]
