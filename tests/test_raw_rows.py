"""Rows of a CSV as they stand there: one answer from Keras, the ONNX file, and over the wire."""

from __future__ import annotations

import csv
import dataclasses
import statistics
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from servers import run_server
from trained import Exported, export_untrained, train_and_export

from pipeline import ensemble, evaluate, preprocess
from pipeline.config import Config, Split
from pipeline.data import Dataset, load
from pipeline.export import categories, verify
from serving.artifact import Artifact
from serving.client import Client

NUMBERS = ("length", "mass", "old")
CATEGORIES = ("colour", "shape")


def _write(path: Path, rows: int = 600) -> list[dict[str, str]]:
    """Write rows of numbers, truth values, categories and gaps, whose label depends on most of them."""
    random = np.random.default_rng(0)
    colours = np.array(["red", "green", "blue, dark", 'say "grey"', ""])
    shapes = np.array(["○", "□", "△"])
    found = []
    for _ in range(rows):
        length, mass = random.normal(10, 3), random.lognormal()
        colour, shape = random.integers(5), random.integers(3)
        old = bool(random.random() < 0.3)
        grade = (length - 10) / 3 + colour / 2 - shape + old + random.normal(0, 0.3)
        found.append(
            {
                "length": "" if random.random() < 0.1 else f"{length:.3f}",
                "colour": str(colours[colour]),
                "old": str(old).lower(),
                "grade": ("poor", "fair", "good", "best")[int(np.digitize(grade, [-0.8, 0.5, 1.6]))],
                "mass": f"{mass:.5g}",
                "shape": str(shapes[shape]),
            }
        )
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(found[0]))
        writer.writeheader()
        writer.writerows(found)
    return found


def _config(path: Path, **model: object) -> Config:
    return Config.model_validate(
        {
            "name": "things",
            "data": {"source": str(path), "label": "grade", "labels": ["poor", "fair", "good", "best"]},
            "model": {"hidden": [16], "dropout": 0, **model},
            "search": {"epochs": 5, "learning_rate": 0.01, "losses": ["rps"], "trials": 1},
        }
    )


@pytest.fixture(scope="module", params=[0, 3], ids=["units", "embedding"])
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[list[dict[str, str]], Dataset, Exported, Client]]:
    """The rows of a CSV, what was read of them, a network trained on it and its artifact, served."""
    folder = tmp_path_factory.mktemp("things")
    rows = _write(folder / "things.csv")
    config = _config(folder / "things.csv", embedding=request.param)
    data = load(config)
    exported = train_and_export(config, data, folder)
    with run_server(exported.path) as server, Client(server.address) as client:
        yield rows, data, exported, client


def _columns(rows: list[dict[str, str]]) -> dict[str, list[float] | list[str]]:
    """Return rows by column as somebody would who knows the CSV and nothing of the model."""
    numbers = {"": float("nan"), "true": 1.0, "false": 0.0}
    columns: dict[str, list[float] | list[str]] = {
        name: [numbers[row[name]] if row[name] in numbers else float(row[name]) for row in rows]
        for name in NUMBERS
    }
    return columns | {name: [row[name] for row in rows] for name in CATEGORIES}


def _keras(exported: Exported, features: np.ndarray) -> np.ndarray:
    return np.exp(ensemble.answer(exported.model, features)).mean(axis=1)


def test_raw_rows_over_the_wire_are_answered_as_the_training_frame_is(
    made: tuple[list[dict[str, str]], Dataset, Exported, Client],
) -> None:
    """Gaps, truth values, quoted texts and all: every row of the file, in every part."""
    rows, data, exported, client = made
    keras = _keras(exported, data.features)
    reply = client.predict(_columns(rows))
    np.testing.assert_allclose(reply.probabilities, keras, atol=1e-6)
    every = np.arange(len(rows))
    onnx = Artifact(exported.path, "cpu").run(data.raw(every))
    np.testing.assert_allclose(onnx.probabilities, keras, atol=1e-6)
    assert (
        verify.verify(exported.path, exported.model, exported.conformal, data.features, data.raw(every))
        < 1e-5
    )


def test_a_category_that_training_has_not_seen_is_no_unit_at_all(
    made: tuple[list[dict[str, str]], Dataset, Exported, Client],
) -> None:
    """Unseen texts are answered as a row is whose column has the code of the unknown."""
    rows, data, exported, client = made
    strange = [{**row, "colour": "ultraviolet", "shape": "○○"} for row in rows[:20]]
    features = data.features[:20].copy()
    features[:, 3:] = -1
    reply = client.predict(_columns(strange))
    np.testing.assert_allclose(reply.probabilities, _keras(exported, features), atol=1e-6)


def test_each_way_to_write_a_missing_text_is_the_same(
    made: tuple[list[dict[str, str]], Dataset, Exported, Client],
) -> None:
    """An empty text, NA and None are one and the same gap, which training has seen in this column."""
    rows, _, _, client = made
    replies = []
    for text in ("", "NA", None):
        columns = _columns(rows[:9]) | {"colour": [text] * 9}
        replies.append(client.predict(columns).probabilities)
    np.testing.assert_array_equal(replies[0], replies[1])
    np.testing.assert_array_equal(replies[0], replies[2])


def test_the_units_are_those_of_a_slow_oracle(tmp_path: Path) -> None:
    """Median and companion for a gap, mean 0 and deviation 1, a unit for each category and its gap."""
    rows = _write(tmp_path / "things.csv")
    data = load(_config(tmp_path / "things.csv"))
    train = [rows[row] for row in data.parts.train]
    units: list[list[float]] = []
    for row in rows:
        own: list[float] = []
        for name in ("length", "old", "mass"):  # as they stand in the file
            seen = [_number(one[name]) for one in train if one[name]]
            median = statistics.median(seen)
            filled = [_number(one[name]) if one[name] else median for one in train]
            value = _number(row[name]) if row[name] else median
            own.append((value - statistics.fmean(filled)) / statistics.pstdev(filled))
        own.append(float(row["length"] == ""))
        for name in CATEGORIES:
            known = sorted({one[name] for one in train} - {""})
            own += [float(row[name] == category) for category in known]
            own += [float(row[name] == "")] if name == "colour" else []
        units.append(own)
    found = preprocess.fit(data)(data.features).numpy()
    np.testing.assert_allclose(found, units, atol=2e-5)


def _number(text: str) -> float:
    return float(text == "true") if text in ("true", "false") else float(text)


def test_what_is_fitted_comes_from_training_rows_alone(tmp_path: Path) -> None:
    """Other cells in other parts change no scale, no median, no category, no code and no range."""
    rows = _write(tmp_path / "things.csv")
    before = load(_config(tmp_path / "things.csv"))
    changed = before.cells.copy()
    for part in ("validation", "calibration", "test"):
        changed[getattr(before.parts, part), 0] = 1e6
        changed[getattr(before.parts, part), 1] = len(before.columns[1].texts or ())
    strange = dataclasses.replace(before.columns[1], texts=(*(before.columns[1].texts or ()), "strange"))
    columns = (before.columns[0], strange, *before.columns[2:])
    after = dataclasses.replace(before, cells=changed, columns=columns)
    assert after.inputs == before.inputs
    assert preprocess.fit(after).get_config() == preprocess.fit(before).get_config()
    assert len(rows) == len(before.y)


@pytest.mark.parametrize("embedding", [0, 2])
def test_gaps_that_training_has_not_are_answered_and_told(embedding: int, tmp_path: Path) -> None:
    """A number becomes the median and a category an unknown one, in every part and in what is served."""
    rows = _write(tmp_path / "things.csv")
    parts = ["train", "train", "validation", "calibration", "test"]
    for number, row in enumerate(rows):
        row["length"] = row["length"] or "10"
        row["part"] = parts[number % 5]
        if row["part"] != "train" and number % 3 == 0:
            row["mass"], row["shape"] = "", "NA"
    with (tmp_path / "gaps.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    settings = _config(tmp_path / "gaps.csv", embedding=embedding)
    config = settings.model_copy(update={"split": Split(column="part")})
    data = load(config)
    (note,) = [note for note in data.notes if "gaps that no training row has" in note]
    assert "'mass' in 120 rows, 'shape' in 120 rows" in note
    exported = train_and_export(config, data, tmp_path)
    every = np.arange(len(rows))
    raw = data.raw(every)
    assert verify.verify(exported.path, exported.model, exported.conformal, data.features, raw) < 1e-5
    keras = _keras(exported, data.features)
    assert np.isfinite(keras).all()
    scores = evaluate.evaluate(Artifact(exported.path, "cpu"), data).metrics
    assert np.isfinite([scores["nll"], scores["rps"], scores["realised_cost"]]).all()
    median = statistics.median(float(row["mass"]) for row in rows if row["part"] == "train")
    filled = [{**row, "mass": row["mass"] or str(median)} for row in rows]
    with run_server(exported.path) as server, Client(server.address) as client:
        reply = client.predict(_columns(rows))
        told = client.predict(_columns(filled))
    np.testing.assert_allclose(reply.probabilities, keras, atol=1e-6)
    np.testing.assert_allclose(told.probabilities, keras, atol=1e-5)


def test_very_many_categories_are_coded_column_by_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a table of all texts in all columns would be large, each column has one of its own."""
    rows = _write(tmp_path / "things.csv")
    config = _config(tmp_path / "things.csv")
    data = load(config)
    whole = export_untrained(config, data, tmp_path)
    monkeypatch.setattr(categories, "MOST_CODES", 0)
    (tmp_path / "parted").mkdir()
    parted = export_untrained(config, data, tmp_path / "parted")
    raw = data.raw(np.arange(len(rows)))
    raw["categorical"][:50] = "never seen"
    answers = [Artifact(one.path, "cpu").run(raw).probabilities for one in (whole, parted)]
    kept = _keras(whole, data.features)[50:]
    np.testing.assert_allclose(answers[0][50:], kept, atol=1e-6)
    np.testing.assert_allclose(answers[1][50:], _keras(parted, data.features)[50:], atol=1e-6)
    coders = [
        sum(node.op_type == "LabelEncoder" for node in onnx.load(one.path).graph.node)
        for one in (whole, parted)
    ]
    assert coders == [1, len(CATEGORIES)]
