"""Each example, and each table of one's own: from the TOML to an answer that was served."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from prefect.testing.utilities import prefect_test_harness
from servers import run_server

from pipeline import flow
from pipeline.config import Config, load_config
from pipeline.data import load
from serving.client import Client, Prediction

BRIEF = ("search.epochs=2", 'search.losses=["rps"]', "search.trials=1")


@pytest.fixture(scope="module", autouse=True)
def _prefect() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="module")
def tables(root: Path) -> Path:
    """The folder of public tables, which is not part of the repository."""
    folder = root.parent / "shared" / "data" / "tables"
    if not folder.is_dir():
        pytest.skip("needs the folder of public tables beside the repository")
    return folder


def _served(config: Config, rows: Mapping[str, Sequence[object]] | None = None) -> Prediction:
    """Retrain, serve what was registered, and ask it about raw rows, or some of the data set's own."""
    result = flow.retrain(config)
    with run_server(Path(result.artifact)) as server, Client(server.address) as client:
        if rows is None:
            data = load(config)
            raw = data.raw(data.parts.test[:5])
            (array,) = raw.values()
            answer = client.predict(array)
        else:
            answer = client.predict(rows)
    np.testing.assert_allclose(answer.probabilities.sum(axis=1), 1, atol=1e-5)
    for decision in answer.decisions.values():
        assert set(decision.chosen) <= set(decision.actions)
    return answer


def _rows(path: Path, label: str, texts: bool = False) -> dict[str, list[object]]:
    """Return the first rows of a CSV as they stand there, without the label."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row, _ in zip(csv.DictReader(file), range(3), strict=False)]
    return {
        name: [row[name] if texts else float(row[name]) for row in rows]
        for name in rows[0]
        if name != label
    }


def _stored(path: Path) -> tuple[str, ...]:
    return (f'tracking.uri="sqlite:///{path / "mlflow.db"}"',)


@pytest.mark.slow
def test_cars(root: Path, tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Categories as texts: raw rows in, one of four grades out."""
    monkeypatch.chdir(tmp_path)
    source = tables / "car-categorical.csv"
    config = load_config(
        root / "examples" / "car.toml", (*BRIEF, *_stored(tmp_path), f"data.source={source}")
    )
    answer = _served(config, _rows(source, "class", texts=True))
    assert answer.labels == ("unacc", "acc", "good", "vgood")


TABLES = {
    "car-categorical": ("class", '["unacc", "acc", "good", "vgood"]', 4),
    "winequality-red": ("quality", "[3, 4, 5, 6, 7, 8]", 6),
    "LEV": ("y", "", 5),
    "cement_strength": ("response", "", 5),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_a_table_needs_twelve_lines_at_most(
    name: str, tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a CSV, wherever its label stands, to an answer to its own raw rows."""
    monkeypatch.chdir(tmp_path)
    label, labels, classes = TABLES[name]
    lines = [
        f'name = "{name}"',
        "[data]",
        f'source = "{tables / name}.csv"',
        f'label = "{label}"',
        *([f"labels = {labels}"] if labels else []),
        "[search]",
        'losses = ["rps"]',
        "trials = 1",
        "epochs = 3",
        "[tracking]",
        f'uri = "sqlite:///{tmp_path / "mlflow.db"}"',
    ]
    assert len(lines) <= 12
    (tmp_path / "model.toml").write_text("\n".join(lines), encoding="utf-8")
    rows = _rows(tables / f"{name}.csv", label, texts=name == "car-categorical")
    answer = _served(load_config(tmp_path / "model.toml"), rows)
    assert answer.probabilities.shape == (3, classes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("digits", ()),
        ("digits-cyclic", ()),
        ("diabetes", ("model.passes=3",)),
        ("backbone", ("model.passes=2",)),
        ("digits-triage", ()),
    ],
)
def test_an_example_runs(
    name: str, changes: tuple[str, ...], root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What needs nothing but the repository, on a small budget."""
    monkeypatch.chdir(tmp_path)
    config = load_config(root / "examples" / f"{name}.toml", (*BRIEF, *_stored(tmp_path), *changes))
    _served(config)


@pytest.mark.slow
def test_wine(root: Path, tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns of numbers, class weights that are divided out again."""
    monkeypatch.chdir(tmp_path)
    source = tables / "winequality-red.csv"
    changes = (*BRIEF, *_stored(tmp_path), f"data.source={source}")
    answer = _served(load_config(root / "examples" / "wine.toml", changes), _rows(source, "quality"))
    assert answer.labels == ("3", "4", "5", "6", "7", "8")


@pytest.mark.slow
def test_images_of_a_folder(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example's script writes the digits as PNG files; they come back resized, and are learned."""
    monkeypatch.chdir(tmp_path)
    script = root / "examples" / "digit_images.py"
    spec = importlib.util.spec_from_file_location("digit_images", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.write(tmp_path / "images") == 1797
    changes = (*BRIEF, *_stored(tmp_path), f"data.source={tmp_path / 'images'}", "model.hidden=[4]")
    config = load_config(root / "examples" / "images.toml", changes)
    assert load(config).features.shape == (1797, 16, 16, 1)
    assert _served(config).labels == tuple("0123456789")


@pytest.mark.slow
def test_mnist(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The IDX files in the place of Keras' download."""
    folder = root.parent / "shared" / "data" / "mnist"
    if not folder.is_dir():
        pytest.skip("needs the IDX files of MNIST beside the repository")
    monkeypatch.chdir(tmp_path)
    small = ("search.epochs=1", "split.train_rows=300", "model.hidden=[2]", "split.validation=0.01")
    changes = (*BRIEF, *_stored(tmp_path), *small, f"data.source={folder}")
    assert _served(load_config(root / "examples" / "mnist.toml", changes)).labels == tuple("0123456789")
