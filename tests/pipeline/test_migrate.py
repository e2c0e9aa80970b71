"""A store of MLflow copied to another database and another folder."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from filled import addresses, contents, fill
from mlflow.tracking import MlflowClient
from registered import NAME, Store

from pipeline import promotion
from pipeline.__main__ import main
from pipeline.errors import InputError, StoreError
from pipeline.migrate import migrate
from pipeline.tracking import registry, store
from pipeline.tracking.files import Place
from pipeline.tracking.runs import Experiment, Run
from serving.seal import check_seal


@pytest.fixture(scope="module")
def filled(versions: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with something of everything, and its files; to be read only."""
    return fill(versions, tmp_path_factory.mktemp("filled"))


@pytest.fixture
def source(filled: Store, tmp_path: Path) -> Store:
    """The same, to be changed; its files stay where they are."""
    (tmp_path / "source").mkdir()
    return filled.copy(tmp_path / "source")


def _target(folder: Path) -> str:
    return f"sqlite:///{folder / 'target' / 'mlflow.db'}"


def test_all_of_a_store_arrives(filled: Store, tmp_path: Path) -> None:
    """Rows are the same but for addresses, so are files and the source, and life goes on."""
    before = filled.path.read_bytes()
    target = _target(tmp_path)
    done = migrate(filled.uri, target)
    assert filled.path.read_bytes() == before
    assert contents(target) == contents(filled.uri)
    root = (tmp_path / "target" / "mlartifacts").as_uri()
    assert {one.startswith(f"{root}/") for one in addresses(target)} == {True}
    kept = [path for path in (filled.path.parent / "mlartifacts").rglob("*") if path.is_file()]
    copies = [path for path in (tmp_path / "target" / "mlartifacts").rglob("*") if path.is_file()]
    assert sorted(one.read_bytes() for one in copies) == sorted(one.read_bytes() for one in kept)
    assert (done.files.files, done.files.copied, done.notes) == (len(kept), len(kept), ())
    assert done.checked == (f"{NAME}@champion",)

    assert promotion.history(target, NAME) == promotion.history(filled.uri, NAME)
    fetched = registry.fetch(target, NAME, tmp_path)
    assert (fetched.version, check_seal(fetched.path)) == (1, registry.version_seal(filled.uri, NAME, 1))
    assert promotion.promote(target, NAME, 3, why="here").champion == 3
    assert promotion.rollback(target, NAME, why="here too").champion == 1
    known = {row["experiment_id"] for row in contents(filled.uri)["experiments"]}
    assert int(Experiment(target, "new").id) == max(known) + 1


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["ordinal-pipeline", "migrate", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def test_the_command_tells_what_it_did(
    filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An address may be in a variable; a second time the target is not empty."""
    monkeypatch.setenv("THE_TARGET", _target(tmp_path))
    assert _run(monkeypatch, filled.uri, "$THE_TARGET") == 0
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"{_target(tmp_path)} has all " in last
    assert f"seals hold of {NAME}@champion" in last
    assert _run(monkeypatch, filled.uri, "$THE_TARGET") == 2
    assert "the target must be empty, and" in capsys.readouterr().err
    assert _run(monkeypatch, filled.uri, "$NO_SUCH_TARGET") == 2
    assert "environment variable NO_SUCH_TARGET: it is not set" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("target", "artifacts", "message"),
    [
        ("http://mlflow:5000", "x", "moved by that server's database"),
        ("mysql://me:secret@db/mlflow", "x", "must be a database, sqlite:///FILE or postgresql://"),
        ("sqlite:///other.db", "http://mlflow/files", "must be a folder or an object store"),
        ("sqlite:///other.db", f"s3://bucket/{'p' * 200}", "too long by"),
        ("postgresql://me:secret@127.0.0.1:1/mlflow", "", "say where files of"),
        (
            "postgresql+pg8000://me:secret@db/mlflow",
            "x",
            r"No module named 'pg8000'; pip install 'ordinal\[tr",
        ),
        ("postgresql://me:secret@127.0.0.1:1/mlflow", "x", "cannot be used: connection to server at"),
    ],
)
def test_what_cannot_be_a_target_is_refused(
    filled: Store,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    target: str,
    artifacts: str,
    message: str,
) -> None:
    """With what must hold, and without a password."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        migrate(filled.uri, target, artifacts)
    assert "secret" not in str(caught.value)


def test_a_source_that_is_missing_or_none_is_refused(filled: Store, tmp_path: Path) -> None:
    """Nothing is made by looking."""
    missing, other = tmp_path / "none.db", tmp_path / "other.db"
    with pytest.raises(InputError, match=f"there is no file {missing}"):
        migrate(f"sqlite:///{missing}", _target(tmp_path))
    assert not missing.exists()
    with closing(sqlite3.connect(other)) as database:
        database.execute("create table theirs (x)")
    with pytest.raises(InputError, match="is no store of MLflow"):
        migrate(f"sqlite:///{other}", _target(tmp_path))
    with pytest.raises(InputError, match="holds tables of something else, such as theirs"):
        migrate(filled.uri, f"sqlite:///{other}")
    with pytest.raises(InputError, match="must be two databases"):
        migrate(filled.uri, f"sqlite:///{filled.path.parent}/../{filled.path.parent.name}/mlflow.db")


@pytest.mark.slow
def test_runs_that_go_on_are_told_or_copied_as_they_are(source: Store, tmp_path: Path) -> None:
    """What comes while it copies is a warning; runs that go on are refused, but for a backup."""
    begun: list[Run] = []

    def work(_: str) -> None:
        if not begun:
            begun.append(Experiment(source.uri, "others").begin("at work", {}))

    (note,) = migrate(source.uri, _target(tmp_path), say=work).notes
    assert "was written to meanwhile (runs +1, tags +1 rows), and that is not copied" in note
    backup = f"sqlite:///{tmp_path / 'backup.db'}"
    with pytest.raises(InputError, match=rf"going on, or were killed: at work \({begun[0].id[:8]}\)"):
        migrate(source.uri, backup)
    migrate(source.uri, backup, str(tmp_path / "target" / "mlartifacts"), live=True)
    assert contents(backup) == contents(source.uri)


def test_another_schema_is_refused(source: Store, tmp_path: Path) -> None:
    """One of an older MLflow has to be upgraded first, and by whom it belongs to."""
    with closing(sqlite3.connect(source.path, isolation_level=None)) as database:
        database.execute("update alembic_version set version_num = 'older'")
    with pytest.raises(InputError, match="has the schema older, and the MLflow installed here"):
        migrate(source.uri, _target(tmp_path))


def test_a_champion_that_is_damaged_moves_nothing(filled: Store, tmp_path: Path) -> None:
    """What was copied stays, and once the champion is whole the same call copies what is missing."""
    target, client = _target(tmp_path), MlflowClient(filled.uri)
    champion = Path(client.get_model_version_download_uri(NAME, "1").removeprefix("file://")) / "model.onnx"
    whole = champion.read_bytes()
    try:
        champion.unlink()
        with pytest.raises(StoreError, match=f"{NAME}@champion, version 1, .* has no model.onnx; nothing"):
            migrate(filled.uri, target)
        champion.write_bytes(whole[:-1] + b"!")
        with pytest.raises(StoreError, match="has one that is damaged; nothing is changed: put it back"):
            migrate(filled.uri, target)
    finally:
        champion.write_bytes(whole)
    assert registry.names(target) == []
    copies = tmp_path / "target" / "mlartifacts"
    next(copies.rglob("page #1.txt")).write_bytes(b"cut")
    assert migrate(filled.uri, target).files.copied == 1
    assert next(copies.rglob("page #1.txt")).read_text() == "words"
    assert registry.fetch(target, NAME, tmp_path).path.read_bytes() == whole
    assert contents(target) == contents(filled.uri)


@pytest.mark.slow
def test_files_that_a_server_hands_out_come_and_go(filled: Store, tmp_path: Path) -> None:
    """`--proxied` names the server in the rows, and `--from-artifacts` finds the files without it."""
    served, back = f"sqlite:///{tmp_path}/served.db", f"sqlite:///{tmp_path}/back/mlflow.db"
    migrate(filled.uri, served, str(tmp_path / "kept"), proxied=True)
    assert {one.startswith("mlflow-artifacts:/") for one in addresses(served)} == {True}
    with pytest.raises(InputError, match="say by --from-artifacts where that has them"):
        migrate(served, back)
    migrate(served, back, from_artifacts=str(tmp_path / "kept"))
    assert contents(back) == contents(filled.uri)
    assert registry.fetch(back, NAME, tmp_path).version == 1


def test_an_object_store_that_is_away_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails a run as any store does, and not with a trace."""
    for name, value in {
        "MLFLOW_S3_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret", "AWS_MAX_ATTEMPTS": "1", "AWS_DEFAULT_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)  # it keeps the keys that it found first
    with (
        pytest.raises(StoreError, match=r"Could not connect to the endpoint URL: .http://127\.0\.0\.1:1/"),
        store.reached("s3://bucket/p"),
    ):
        Place("s3://bucket/p").files()
