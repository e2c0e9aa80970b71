"""A candidate beside a champion that is not what the registry says any more."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import pytest
from mlflow.tracking import MlflowClient
from registered import NAME, Store

from pipeline import candidate
from pipeline.config import Config
from pipeline.data import Dataset
from pipeline.errors import StoreError
from pipeline.gate import Check, Verdict

MEASURED = Check("latency", True, "answers in 3 ms")


@pytest.fixture
def judge(config: Config, data: Dataset, tmp_path: Path) -> Callable[..., Verdict]:
    """Judges the artifact of a store against one of its versions."""

    def judged(store: Store, champion: int, uri: str = "") -> Verdict:
        session: Any = SimpleNamespace(
            config=config, data=data, experiment=SimpleNamespace(uri=uri or store.uri)
        )
        return candidate.judge(store.artifact, champion, [MEASURED], session, tmp_path)

    return judged


@pytest.fixture
def own(store: Store) -> Path:
    """The file of version 4, which is of this store alone."""
    store.register()
    place = MlflowClient(store.uri).get_model_version_download_uri(NAME, "4")
    path = Path(mlflow.artifacts.download_artifacts(place, tracking_uri=store.uri), "model.onnx")
    assert path.is_file()
    return path


def _by_hand(store: Store, source: Path) -> int:
    """Register a folder without a run, as somebody may in MLflow's UI."""
    return int(MlflowClient(store.uri).create_model_version(NAME, str(source)).version)


def _cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_cut_short, "cut short: it carries no"),
        (Path.unlink, "has no model.onnx: it was not made by retrain"),
    ],
    ids=["damaged", "gone"],
)
def test_a_champion_that_cannot_be_loaded_is_a_check_that_fails(
    spoil: Callable[[Path], None], reason: str, store: Store, own: Path, judge: Callable[..., Verdict]
) -> None:
    """The verdict says why and what to do, and keeps what was measured."""
    spoil(own)
    verdict = judge(store, 4)
    assert (verdict.champion, verdict.rows, verdict.passed) == (4, 0, False)
    assert verdict.checks[1:] == (MEASURED,)
    (words,) = verdict.reasons
    assert reason in words
    assert words.endswith("`ordinal-pipeline promote digits VERSION --why TEXT` promotes by hand")


def test_a_folder_that_is_gone_is_told_too(
    store: Store, tmp_path: Path, judge: Callable[..., Verdict]
) -> None:
    """A version that somebody registered of files which nobody has any more."""
    verdict = judge(store, _by_hand(store, tmp_path / "gone"))
    assert [check.name for check in verdict.checks] == ["champion", "latency"]


def test_a_champion_without_a_run_may_have_seen_any_row(
    store: Store, own: Path, judge: Callable[..., Verdict]
) -> None:
    """One that was registered by hand is compared on all rows, and that is told."""
    verdict = judge(store, _by_hand(store, own.parent))
    assert "it is not known which of the" in verdict.checks[0].words
    assert "cost" in [check.name for check in verdict.checks]


def test_a_run_that_is_gone_is_not_known(store: Store, judge: Callable[..., Verdict]) -> None:
    """A champion whose run was deleted for good is compared all the same."""
    with closing(sqlite3.connect(store.path)) as database, database:
        database.execute(f"update model_versions set run_id = '{'0' * 32}' where version = 3")
    assert "it is not known which of the" in judge(store, 3).checks[0].words


def test_rows_that_cannot_be_read_are_not_known(
    store: Store, tmp_path: Path, judge: Callable[..., Verdict]
) -> None:
    """A run whose list of rows is damaged is as good as one that has none."""
    logged = store.add()
    (tmp_path / "seen.npz").write_bytes(b"nothing")
    MlflowClient(store.uri).log_artifact(logged.run_id, str(tmp_path / "seen.npz"), "data")
    assert "it is not known which of the" in judge(store, store.register(logged)).checks[0].words


def test_a_store_that_is_gone_is_no_fault_of_the_champion(
    store: Store, judge: Callable[..., Verdict]
) -> None:
    """It ends the run, which can then be gone on with."""
    with pytest.raises(StoreError, match="cannot be used: "):
        judge(store, 3, uri="sqlite:////proc/none/mlflow.db")
