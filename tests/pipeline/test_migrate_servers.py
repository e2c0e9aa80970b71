"""From SQLite to PostgreSQL and S3, and back: real servers, real damage."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from filled import addresses, contents, fill
from registered import NAME, ROOT, Store
from servers import Process, wait_until
from stores import BUCKET, PASSWORD, Bucket, Database, postgresql, s3

from pipeline import promotion
from pipeline.child import Child
from pipeline.doctor import tracking
from pipeline.doctor.bucket import lacks
from pipeline.errors import InputError
from pipeline.migrate import migrate
from pipeline.tracking import registry
from pipeline.tracking.runs import Experiment
from pipeline.web import free, wait

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def filled(versions: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with something of everything, and its files; to be read only."""
    return fill(versions, tmp_path_factory.mktemp("filled"))


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    """A PostgreSQL for the tests of this file."""
    with postgresql() as running:
        yield running


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    """An S3-compatible store for the tests of this file, which this process may use."""
    with s3() as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.environment.items():
            patch.setenv(name, value)
        patch.setattr("boto3.DEFAULT_SESSION", None)  # it keeps the keys that it found first
        yield running


@pytest.fixture(scope="module")
def moved(filled: Store, database: Database, bucket: Bucket) -> str:
    """The store moved to PostgreSQL and S3; to be read only."""
    target = database.new("moved")
    migrate(filled.uri, target, f"s3://{BUCKET}/moved")
    assert bucket.files("moved/")
    return target


def test_there_and_back_is_the_same(filled: Store, moved: str, bucket: Bucket, tmp_path: Path) -> None:
    """Every row, but for addresses, and every file: in PostgreSQL and S3, and in SQLite made of those."""
    assert contents(moved) == contents(filled.uri)
    assert {one.startswith(f"s3://{BUCKET}/moved/") for one in addresses(moved)} == {True}
    kept = [path for path in (filled.path.parent / "mlartifacts").rglob("*") if path.is_file()]
    assert sorted(bucket.files("moved/").values()) == sorted(path.stat().st_size for path in kept)
    back = f"sqlite:///{tmp_path / 'back' / 'mlflow.db'}"
    assert migrate(moved, back).checked == (f"{NAME}@champion",)
    assert contents(back) == contents(filled.uri)
    copies = [path for path in (tmp_path / "back" / "mlartifacts").rglob("*") if path.is_file()]
    assert sorted(one.read_bytes() for one in copies) == sorted(one.read_bytes() for one in kept)


def test_what_was_lost_is_restored_from_a_backup_and_life_goes_on(
    filled: Store, database: Database, bucket: Bucket, tmp_path: Path
) -> None:
    """After all is dropped, history is the same, what comes goes on, the champion is served."""
    first, backup = database.new("first"), f"sqlite:///{tmp_path / 'backup.db'}"
    migrate(filled.uri, first, f"s3://{BUCKET}/first")
    promotion.promote(first, NAME, 3, why="before the loss")
    history = promotion.history(first, NAME)
    migrate(first, backup)
    database.execute("drop database first with (force)")
    for key in bucket.files("first/"):
        bucket.remove(key)

    again = database.new("again")
    migrate(backup, again, f"s3://{BUCKET}/again")
    assert promotion.history(again, NAME) == history
    known = {row["experiment_id"] for row in contents(backup)["experiments"]}
    experiment = Experiment(again, "new")
    assert int(experiment.id) == max(known) + 1
    with experiment.run("after", {}) as run:
        run.text("words", "page.txt")
    assert f"again/{run.id}/artifacts/page.txt" in bucket.files("again/")
    assert promotion.rollback(again, NAME, why="after").champion == 1
    assert promotion.promote(again, NAME, 2, why="after").champion == 2
    cache = ("--cache", tmp_path / "cache")
    service = Process(f"models:/{NAME}@champion", *cache, env={"ORDINAL_TRACKING_URI": again})
    try:
        service.address()
        assert any("version 2" in line for line in service.log), service.log
        assert not any(PASSWORD in line for line in service.log)
    finally:
        service.popen.terminate()
        assert service.end() == 0
        assert service.popen.stderr is not None
        service.popen.stderr.close()


def test_killed_half_way_it_is_still_empty_and_the_same_call_goes_on(
    filled: Store, database: Database, bucket: Bucket
) -> None:
    """Rows come all at once; files that are there are not copied again."""
    target = database.new("killed")
    program = (
        f"from pipeline.migrate import migrate\nmigrate({filled.uri!r}, {target!r}, 's3://{BUCKET}/killed')"
    )
    migrate_there = [sys.executable, "-c", program]
    # Somebody keeps others from writing to one of the tables: so it stops amidst the rows.
    Experiment(target, "Default")
    with closing(psycopg2.connect(target)) as other, other.cursor() as cursor:
        cursor.execute("lock table metrics in exclusive mode")
        process = subprocess.Popen(migrate_there, env={**os.environ, "PYTHONPATH": str(ROOT)})
        try:
            wait_until(lambda: _waiting(database), 120)
        finally:
            process.kill()
            process.wait()
        other.rollback()
    wait_until(lambda: not _waiting(database))
    assert registry.names(target) == []
    files = len(bucket.files("killed/"))
    done = migrate(filled.uri, target, f"s3://{BUCKET}/killed")
    assert (done.files.files, done.files.copied) == (files, 0)
    assert contents(target) == contents(filled.uri)


def _waiting(database: Database) -> bool:
    """Whether a session in the database waits for a lock."""
    with closing(psycopg2.connect(database.uri("postgres"))) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select count(*) from pg_stat_activity where datname = 'killed' and wait_event_type = 'Lock'"
        )
        row = cursor.fetchone()
        return bool(row and row[0])


def test_a_server_hands_out_what_was_moved_for_it(
    filled: Store, database: Database, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clients need neither the database nor the bucket; without the server its database is refused."""
    target, place = database.new("served"), f"s3://{BUCKET}/served"
    migrate(filled.uri, target, place, proxied=True)
    with pytest.raises(InputError, match="handed out by its server: give the server's address"):
        Experiment(target, "new")
    port = free(0, "a test's MLflow", "--port")
    options = (
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
        "--artifacts-destination",
        place,
    )
    ours = {**os.environ, "MLFLOW_BACKEND_STORE_URI": target, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with Child("mlflow", ["server", *options], ours) as child:
        wait(f"http://127.0.0.1:{port}/health", "MLflow", 120, child)
        for name in bucket.environment:
            monkeypatch.delenv(name)
        at = f"http://127.0.0.1:{port}"
        assert registry.fetch(at, NAME, tmp_path).version == 1
        assert promotion.promote(at, NAME, 2, why="over HTTP").champion == 2
        with Experiment(at, "new").run("after", {}) as run:
            run.text("words", "page.txt")


def test_a_dump_of_postgresql_is_restored(moved: str, database: Database, tmp_path: Path) -> None:
    """The other way to make backups: PostgreSQL's own."""
    ours = {**os.environ, "PGPASSWORD": PASSWORD}
    database.new("restored")
    plain, dump = moved.replace(f":{PASSWORD}", ""), tmp_path / "mlflow.dump"
    tool = str(database.programs / "pg_dump")
    subprocess.run([tool, "--format=custom", f"--file={dump}", f"--dbname={plain}"], env=ours, check=True)
    tool, into = str(database.programs / "pg_restore"), plain.replace("/moved", "/restored")
    subprocess.run([tool, "--no-owner", f"--dbname={into}", str(dump)], env=ours, check=True)
    restored = database.uri("restored")
    assert contents(restored) == contents(moved)
    assert registry.fetch(restored, NAME, tmp_path).version == 1
    assert int(Experiment(restored, "new").id) > 0


def test_doctor_says_what_is_wrong_with_the_servers(
    moved: str, database: Database, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Login, database, schema, the place of files, its bucket, credentials; passwords are never shown."""
    empty = database.new("empty")
    older = database.new("older")
    database.execute("create table alembic_version as select '451aebb31d03' as version_num", "older")
    database.execute(
        "create table experiments as select 0 as experiment_id, '' as artifact_location", "older"
    )
    theirs = database.new("theirs")
    database.execute("create table theirs (x integer)", "theirs")
    local = database.new("local")
    Experiment(local, "Default")

    def found(uri: str, **environment: str) -> tuple[str, str]:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        (one,) = tracking.check(uri, "the config", {**os.environ})
        assert PASSWORD not in one.found + one.mend
        return one.severity, one.found

    for uri, severity, words in (
        (moved, "ok", "can be used, and so can the place of its files, s3://"),
        (empty, "ok", "is empty yet"),
        (database.uri("moved", "wrong"), "error", "refuses the login"),
        (database.uri("nowhere"), "error", 'database "nowhere" does not exist'),
        (older, "error", "of an older MLflow"),
        (theirs, "warning", "tables of something else"),
        (local, "warning", "others do not find them"),
        ("$NO_SUCH_VARIABLE", "error", "which is not set"),
    ):
        place = tracking.address(uri, {}, Path())[0]
        told, said = found(place)
        assert (told, words in said) == (severity, True), said
    version, place = tracking.champion(moved, NAME, "champion", {}) or (0, "")
    assert (version, place.startswith(f"s3://{BUCKET}/moved/")) == (1, True)
    assert not lacks(f"{place}/model.onnx", os.environ)
    assert lacks(f"{place}/other.onnx", os.environ)
    assert tracking.running(moved, "", "here", {}) == []
    with pytest.raises(ConnectionError, match="does not exist"):
        tracking.champion(empty, NAME, "champion", {})
    for changed, words in (
        ({"MLFLOW_S3_ENDPOINT_URL": "http://127.0.0.1:1"}, "does not answer as S3 does: EndpointConn"),
        ({"MLFLOW_S3_ENDPOINT_URL": bucket.endpoint, "AWS_SECRET_ACCESS_KEY": "wrong"}, "refuses the cred"),
    ):
        assert words in found(moved, **changed)[1]
