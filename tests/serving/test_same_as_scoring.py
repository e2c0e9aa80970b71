"""`ordinal-pipeline score` answers the rows of a file as `ordinal-serving predict` does."""

import gzip
import json
import sys

import numpy as np
import pytest
from pyarrow import csv as arrow

from pipeline.__main__ import main as pipeline_main
from serving.__main__ import main as serving_main

from .categorical_artifact import random_columns

LABELS = ("awful", "poor", "fair", "good", "superb")
HEADER = ("größe", "id", "age", "colour", "power", "fuel")


def _written(columns, delimiter, decimal, odd=()):
    """A text file of columns in another order, beside one that no model asks for."""
    rows = [
        [
            str(columns["größe"][row]),
            f'"a{delimiter}b"',
            repr(columns["age"][row]).replace(".", decimal),
            columns["colour"][row],
            "" if np.isnan(columns["power"][row]) else repr(columns["power"][row]).replace(".", decimal),
            columns["fuel"][row],
        ]
        for row in range(len(columns["age"]))
    ]
    lines = [delimiter.join(line) for line in [list(HEADER), *rows, *odd]]
    return "\n".join([*lines, ""])


def _columns(rows=40):
    columns = random_columns(5, rows)
    columns["age"] = np.round(columns["age"], 3).tolist()
    columns["power"] = np.round(columns["power"], 3).tolist()
    return columns


ODD = [
    ["klein", "x", "1e1", " blue ", " true ", "?"],
    [" ? ", "x", "+.5", "red", "n/a", ""],
    ["☃", "", "-2.", "green", "NaN", " n/a"],
    ["groß ", "x", "3", "red", " ", "diesel"],
]
FILES = {
    "commas": (_written(_columns(), ",", ".", ODD), "utf-8"),
    "tabs": (_written(_columns(), "\t", ".", ODD), "utf-8"),
    "decimal commas": (_written(_columns(), ";", ","), "utf-8"),
    "the delimiter is named": ("sep=|\r\n" + _written(_columns(), "|", ","), "utf-8"),
    "sixteen bits": (_written(_columns(), ";", ","), "utf-16"),
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
@pytest.mark.parametrize("name", FILES)
def test_score_and_predict_agree(running, cars, tmp_path, monkeypatch, capsys, name, packed):
    """On probabilities, expected values, decisions and what these cost."""
    text, encoding = FILES[name]
    path = tmp_path / ("rows.csv.gz" if packed else "rows.csv")
    path.write_bytes(gzip.compress(text.encode(encoding)) if packed else text.encode(encoding))
    policies = ("triage", "absolute")
    asked = [word for policy in policies for word in ("--policy", policy)]
    with pytest.raises(SystemExit) as ended:
        serving_main(
            [
                *("predict", "cars", str(path), "--json", "--encoding", encoding, *asked),
                *("--coverage", "0.6", "--address", running.address),
            ]
        )
    assert ended.value.code == 0
    answer = json.loads(capsys.readouterr().out)
    out = tmp_path / "out.csv"
    given = [word for policy in policies for word in ("--profile", policy)]
    command = ["score", str(cars.path), str(path), str(out), "--encoding", encoding, *given]
    monkeypatch.setattr(sys, "argv", ["ordinal-pipeline", *command, "--coverage", "0.6"])
    with pytest.raises(SystemExit) as ended:
        pipeline_main()
    assert ended.value.code == 0, capsys.readouterr().err
    found = arrow.read_csv(out)
    assert found.num_rows == len(answer["probabilities"]) >= 40
    np.testing.assert_allclose(
        np.stack([found[f"p_{label}"] for label in LABELS], axis=1), answer["probabilities"], atol=1e-6
    )
    np.testing.assert_allclose(found["expected_value"], answer["expected_value"], atol=1e-5)
    for policy in policies:
        decision = answer["decisions"][policy]
        sure = np.array(decision["margin"]) > 1e-5
        chosen = np.array(found[f"decision_{policy}"].to_pylist())
        assert (chosen == np.array(decision["chosen"]))[sure].all()
        np.testing.assert_allclose(found[f"expected_cost_{policy}"], decision["expected_cost"], atol=1e-5)
        np.testing.assert_allclose(found[f"margin_{policy}"], decision["margin"], atol=1e-5)


def test_a_model_of_images_is_refused(digits, tmp_path, monkeypatch, capsys):
    """One sentence says what to do."""
    (tmp_path / "rows.csv").write_text("a\n1\n")
    command = ["score", str(digits.path), str(tmp_path / "rows.csv"), str(tmp_path / "out.csv")]
    monkeypatch.setattr(sys, "argv", ["ordinal-pipeline", *command])
    with pytest.raises(SystemExit) as ended:
        pipeline_main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "ordinal-pipeline: model 'digits' takes images, which no CSV or Parquet table holds; serve it, and "
        "ask by ordinal-serving predict\n"
    )
