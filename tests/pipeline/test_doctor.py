"""What the doctor makes of what it sees, check by check."""

from __future__ import annotations

import http.server
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import corrupt, dead_port, listener, small_disk, with_schema

from pipeline.doctor import (
    addresses,
    cgroups,
    cuda,
    disk,
    examine,
    installed,
    left,
    machine,
    packages,
    page,
    ports,
    prefect_server,
    prefect_settings,
    processes,
    project,
    sqlite,
    telemetry,
    tracking,
    variables,
)
from pipeline.doctor.cuda import Devices
from pipeline.doctor.finding import Finding, error, ok, warning
from pipeline.doctor.installed import Package
from pipeline.doctor.machine import Machine

OWN = Package(
    "ordinal", "0.1.0", ("numpy<3,>=2", 'keras<3.16,>=3.15; extra == "train"', 'ray; extra == "scale"')
)
GOOD = (OWN, Package("numpy", "2.4.0"), Package("keras", "3.15.1", ("numpy",)))


def _bad(found: Iterator[Finding]) -> list[Finding]:
    return [one for one in found if one.severity != "ok"]


# --- packages -------------------------------------------------------------------------------------------


def test_packages_within_their_ranges_are_one_ok() -> None:
    """An extra that nobody needs may be missing."""
    assert list(packages.check(GOOD)) == [ok("packages", "3 packages are within the ranges of one another")]


@pytest.mark.parametrize(
    ("added", "severity", "found", "mend"),
    [
        (Package("numpy", "1.26"), "error", "ordinal needs numpy<3,>=2", 'pip install "numpy<3,>=2"'),
        (Package("ray", "2.60", ("numpy>=9",)), "warning", "ray 2.60 needs numpy>=9", '"numpy>=9"'),
        (Package("keras", "3.15.1", ("absl",)), "error", "absl, and it is not installed", '"absl"'),
        (Package("numpy", ""), "error", "of an unknown version", 'pip install "numpy'),
        (Package("other", "1", ("not a requirement!",)), "ok", "4 packages", ""),
        (Package("other", "1", ("absl",)), "ok", "4 packages", ""),  # nothing that we need
    ],
)
def test_a_package_outside_of_a_range_is_found(
    added: Package, severity: str, found: str, mend: str
) -> None:
    """The first of a name on sys.path counts; only what we need is an error."""
    (one,) = packages.check((replace(added, folder="/first"), *GOOD))
    assert one.severity == severity
    assert found in one.found
    assert mend in one.mend


def test_missing_packages_are_told_together() -> None:
    """One finding, one command."""
    (one,) = packages.check((OWN,))
    assert one == error("packages", "not installed: keras, numpy", 'pip install "ordinal[train]"')


def test_two_versions_in_one_folder_are_found() -> None:
    """As an installation that was interrupted leaves them; in two folders they are an overlay."""
    twice = (Package("numpy", "2.3", folder="/a"), Package("numpy", "2.4.0", folder="/a"))
    (one,) = packages.check((*GOOD, *twice))
    assert one.severity == "warning"
    assert "numpy is installed twice in /a: 2.3 and 2.4.0" in one.found


def test_our_own_distribution_may_be_missing() -> None:
    """Then nothing is known of what it needs."""
    (one,) = packages.check(())
    assert "the distribution ordinal is not installed" in one.found


def test_the_installed_packages_are_read() -> None:
    """Ours is among them, with its requirements."""
    own = installed.first(installed.packages())["ordinal"]
    assert own.python == "<3.14,>=3.11"
    assert any(one.startswith("fastapi") for one in own.requires)


def test_a_module_that_its_twin_took_along_is_found() -> None:
    """Metadata say that it is installed, and Python finds no code."""
    names = {"onnxruntime-gpu": Package("onnxruntime-gpu", "1.31.1")}
    assert [one.severity for one in packages.twins(names.values())] == ["ok"]
    gone = list(packages._module("no_such_module", names["onnxruntime-gpu"], "onnxruntime-gpu>=1.31,<1.32"))
    assert gone[0].mend == 'pip install --force-reinstall --no-deps "onnxruntime-gpu>=1.31,<1.32"'


# --- CUDA -----------------------------------------------------------------------------------------------

CU12 = (Package("nvidia-cudnn-cu12", "9.28"), Package("nvidia-cublas-cu12", "12.9"))
CU13 = (Package("nvidia-cudnn-cu13", "9.28"), Package("nvidia-cublas", "13.1"))


def test_one_stack_is_no_finding_and_two_are_an_error() -> None:
    """Placeholders without a suffix, of version 0.0, are no CUDA 13."""
    assert (
        list(cuda.stacks((*CU12, Package("nvidia-cublas", "0.0.1"), Package("nvidia-ml-py", "13")))) == []
    )
    assert list(cuda.stacks(CU13)) == []
    (one,) = cuda.stacks((*CU12, *CU13))
    assert "nvidia-cublas-cu12, nvidia-cudnn-cu12" in one.found
    assert "nvidia-cublas, nvidia-cudnn-cu13" in one.found


@pytest.mark.parametrize(
    ("seen", "wheels", "severity", "found"),
    [
        (Devices(0), CU12, "ok", "no NVIDIA device"),
        (Devices(0, "580.65"), (), "warning", "no device is visible in here"),
        (Devices(2, "580.65", ""), CU12, "warning", "CUDA_VISIBLE_DEVICES='' hides 2"),
        (Devices(2, "580.65", "-1"), CU12, "warning", "CUDA_VISIBLE_DEVICES='-1' hides 2"),
        (Devices(1, "580.95.05", None, (), 1), CU12, "ok", "NVIDIA devices visible: 1"),
        (Devices(1, "510.1", None, (), 1), CU12, "error", "CUDA 12 needs 525.60 or newer"),
        (Devices(1, "570.1", None, (), 0), CU13, "error", "CUDA 13 needs 580.65 or newer"),
        (Devices(1, "580.95", None, ("libcudnn.so.9",), 1), (), "warning", "does not find libcudnn.so.9"),
        (Devices(1, "580.95", None, (), 0), CU12, "warning", "TensorFlow sees none: the CPU trains"),
        (Devices(1, "580.95", None, (), None, "no module"), CU12, "warning", "sees none: no module"),
        (Devices(1, "580.95", None, ("libcudnn.so.9",), 1), CU12, "ok", "visible: 1"),
        (Devices(1, "580.95", None, (), 0), CU13, "ok", "visible: 1"),  # it serves, and trains nothing
    ],
)
def test_a_device_that_is_not_used_is_found(
    seen: Devices, wheels: tuple[Package, ...], severity: str, found: str
) -> None:
    """For want of a driver, of libraries, or since it is hidden."""
    (one,) = cuda.judge(seen, wheels)
    assert one.severity == severity
    assert found in one.found


def test_devices_are_counted_by_their_files(tmp_path: Path) -> None:
    """TensorFlow is not asked where they are hidden."""
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    version = tmp_path / "driver" / "nvidia" / "version"
    version.parent.mkdir(parents=True)
    version.write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue Sep 23\nGCC 12.2.0\n"
    )
    seen = cuda.look({"CUDA_VISIBLE_DEVICES": ""}, tmp_path, tmp_path)
    assert seen == Devices(2, "580.95.05", "")


# --- telemetry and Prefect's settings ---------------------------------------------------------------------


@pytest.mark.parametrize("value", ["true", "1", "True"])
def test_telemetry_that_is_off_is_no_finding(tmp_path: Path, value: str) -> None:
    """In each spelling that both packages take."""
    environment = {"DO_NOT_TRACK": value, "MLFLOW_DISABLE_TELEMETRY": value}
    settings = prefect_settings.read({"PREFECT_HOME": str(tmp_path)}, tmp_path)
    assert _bad(telemetry.check(environment, settings)) == []


@pytest.mark.parametrize("name", telemetry.SWITCHES)
def test_each_switch_of_telemetry_is_found(tmp_path: Path, name: str) -> None:
    """Set to the contrary of what our commands set."""
    wrong = "true" if name in ("PREFECT_SERVER_ANALYTICS_ENABLED", "RAY_USAGE_STATS_ENABLED") else "0"
    settings = prefect_settings.read({"PREFECT_HOME": str(tmp_path)}, tmp_path)
    (one,) = _bad(telemetry.check({name: wrong}, settings))
    assert one.found.startswith(f"{name}='{wrong}' lets ")
    assert one.mend.startswith(f"export {name}=")


def test_our_commands_set_what_the_doctor_asks_for() -> None:
    """One table in pipeline.environment, one here: they agree."""
    from pipeline import environment

    for name, switch in telemetry.SWITCHES.items():
        assert environment.DEFAULTS[name] == switch.default
        assert switch.default in switch.keeps


def test_prefect_is_read_in_its_own_order(tmp_path: Path) -> None:
    """Environment, .env, prefect.toml, pyproject.toml, profile."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {"PREFECT_HOME": str(home)}
    (home / "profiles.toml").write_text(
        'active = "mine"\n[profiles.mine]\nPREFECT_API_URL = "http://5"\n'
        "PREFECT_SERVER_ANALYTICS_ENABLED = true\n"
    )
    read = prefect_settings.read
    server = read(environment, tmp_path).server
    assert server is not None
    assert (server.value, server.place) == ("http://5", f"profile 'mine' of {home / 'profiles.toml'}")
    (one,) = _bad(telemetry.check(environment, read(environment, tmp_path)))
    assert "is 'True' in profile 'mine'" in one.found
    for name, text, value in (
        ("pyproject.toml", '[tool.prefect.api]\nurl = "http://4"\n', "http://4"),
        ("prefect.toml", '[api]\nurl = "http://3"\n', "http://3"),
        (".env", "export PREFECT_API_URL='http://2'\n", "http://2"),
    ):
        (tmp_path / name).write_text(text)
        server = read(environment, tmp_path).server
        assert server is not None
        assert server.value == value
    server = read({**environment, "PREFECT_API_URL": "http://1"}, tmp_path).server
    assert server is not None
    assert server.value == "http://1"


def test_a_profile_that_is_no_toml_is_found(tmp_path: Path) -> None:
    """Prefect only warns, and goes on with other settings than were meant."""
    (tmp_path / "profiles.toml").write_text("active = ")
    settings = prefect_settings.read({"PREFECT_HOME": str(tmp_path)}, tmp_path)
    (one,) = _bad(prefect_server.check(settings))
    assert "profiles.toml is not read" in one.found


# --- addresses --------------------------------------------------------------------------------------------


@given(
    st.sampled_from(["http", "postgresql+psycopg2", "https"]),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1).map(lambda text: f"§{text}§"),
)
def test_no_password_is_ever_shown(scheme: str, password: str) -> None:
    """Whatever stands in it, and in the query."""
    text = addresses.shown(f"{scheme}://me:{password}@db.example.com:5432/mlflow?password={password}")
    assert "§" not in text
    assert text.startswith(f"{scheme}://…")


@contextmanager
def _answering(status: int, text: str) -> Iterator[tuple[str, list[str | None]]]:
    logins: list[str | None] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            logins.append(self.headers["Authorization"])
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}", logins
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "text", "severity", "found"),
    [
        (200, "OK", "ok", "answers"),
        (200, "<html>", "error", "is no MLflow server"),
        (404, "", "error", "is no MLflow server"),
        (401, "", "error", "asks for another login"),
    ],
)
def test_what_a_store_over_http_says_is_judged(status: int, text: str, severity: str, found: str) -> None:
    """A user in the address is a login, and is not shown."""
    with _answering(status, text) as (at, logins):
        (one,) = tracking.check(f"http://me:secret@{at}", "the config", {})
    assert one.severity == severity
    assert found in one.found
    assert "secret" not in one.found + one.mend
    assert logins == [addresses.basic("me:secret")]


@pytest.mark.parametrize(
    ("status", "text", "severity"),
    [(200, "true", "ok"), (200, "OK", "error"), (404, "", "error"), (403, "", "error")],
)
def test_what_a_server_of_prefect_says_is_judged(
    tmp_path: Path, status: int, text: str, severity: str
) -> None:
    """Something else on its port is found too."""
    with _answering(status, text) as (at, _):
        environment = {"PREFECT_API_URL": f"http://{at}/api", "PREFECT_HOME": str(tmp_path)}
        (one,) = prefect_server.check(prefect_settings.read(environment, tmp_path))
    assert one.severity == severity


def test_a_port_that_does_not_speak_http_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database's port, say."""
    monkeypatch.setattr(addresses, "SECONDS", 0.2)
    with listener() as port:
        trouble = addresses.ask(f"http://127.0.0.1:{port}", "/health").trouble
    assert "no answer in 0.2 s" in trouble


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("file:///srv/mlruns", "is a folder"),
        ("mlruns", "is a folder"),
        ("postgresql+nosuchdriver://me:secret@db/mlflow", "needs the package nosuchdriver"),
        ("sqlite:////no/such/folder/mlflow.db", "there is no folder /no/such/folder"),
    ],
)
def test_a_store_that_cannot_be_is_an_error(uri: str, found: str) -> None:
    """With what says so."""
    (one,) = tracking.check(uri, "MLFLOW_TRACKING_URI", {})
    assert one.severity == "error"
    assert found in one.found
    assert "secret" not in one.found


def test_a_database_that_is_down_is_an_error() -> None:
    """Its port is asked, by a driver that is there: any module will do."""
    port = dead_port()
    (one,) = tracking.check(f"mysql+json://me:secret@127.0.0.1:{port}/mlflow", "the config", {})
    assert f"no database answers at 127.0.0.1:{port}" in one.found
    assert "secret" not in one.found


def test_the_store_is_found_as_mlflow_finds_it(tmp_path: Path) -> None:
    """Config, variable, an old folder of files, SQLite."""
    assert tracking.address("http://a", {"MLFLOW_TRACKING_URI": "http://b"}, tmp_path)[0] == "http://a"
    assert tracking.address("", {"MLFLOW_TRACKING_URI": "http://b"}, tmp_path)[0] == "http://b"
    assert tracking.address("", {}, tmp_path)[0] == f"sqlite:///{tmp_path}/mlflow.db"
    (tmp_path / "mlruns" / "0").mkdir(parents=True)
    (tmp_path / "mlruns" / "0" / "meta.yaml").touch()
    assert tracking.address("", {}, tmp_path) == ((tmp_path / "mlruns").as_uri(), "the folder mlruns")


# --- SQLite -----------------------------------------------------------------------------------------------


def test_the_schemas_of_mlflow_are_read_without_it() -> None:
    """One head, which MLflow's own migration scripts lead to."""
    found = sqlite.revisions("mlflow", "store/db_migrations/versions")
    assert found is not None
    assert found.head in found.known
    assert len(found.known) > 50
    assert sqlite.revisions("no_such_package", "versions") is None


@pytest.mark.parametrize(
    ("place", "severity", "found"),
    [("MLflow's default", "ok", "the first retrain makes it"), ("the config", "warning", "is not there")],
)
def test_a_store_that_is_not_there_yet(tmp_path: Path, place: str, severity: str, found: str) -> None:
    """Nobody has named the default one, but who names a file means one that is there."""
    (one,) = tracking.check(f"sqlite:///{tmp_path}/mlflow.db", place, {})
    assert one.severity == severity
    assert found in one.found
    assert list(tmp_path.iterdir()) == []


def test_the_schema_of_a_store_is_judged(tmp_path: Path) -> None:
    """Older, newer, none at all, and as it must be."""
    path = tmp_path / "mlflow.db"
    schemas = sqlite.revisions("mlflow", "store/db_migrations/versions")
    assert schemas is not None
    older = min(schemas.known - {schemas.head})
    for revision, words in (
        (older, "of an older MLflow"),
        ("f" * 12, "of a newer"),
        (schemas.head, "is whole"),
    ):
        path.unlink(missing_ok=True)
        with_schema(path, revision)
        before = path.read_bytes()
        (one,) = tracking.check(f"sqlite:///{path}", "the config", {})
        assert words in one.found
        assert path.read_bytes() == before
    with closing(sqlite3.connect(path)) as database:
        database.execute("drop table alembic_version")
        database.execute("create table cats (name text)")
        database.commit()
    (one,) = tracking.check(f"sqlite:///{path}", "the config", {})
    assert (one.severity, "of something else" in one.found) == ("warning", True)


def test_broken_files_are_found(tmp_path: Path) -> None:
    """Damaged pages, another kind of file, a folder."""
    path = tmp_path / "prefect.db"
    corrupt(path)
    (one,) = sqlite.judge("prefect", "the database", sqlite.look(path))
    assert "is damaged" in one.found
    path.write_text("no database at all, but a text that is long enough to be none" * 20)
    (one,) = sqlite.judge("prefect", "the database", sqlite.look(path))
    assert "file is not a database" in one.found
    (one,) = sqlite.judge("prefect", "the database", sqlite.look(tmp_path))
    assert "is no file" in one.found


# --- disks ------------------------------------------------------------------------------------------------


def test_a_small_disk_is_told_in_degrees(tmp_path: Path) -> None:
    """Little room is a warning, hardly any an error, and what data needs is counted in."""
    room = disk.Room("the working folder", tmp_path, 100 * disk.GB, 10**6)
    assert [one.severity for one in disk.judge([room])] == ["ok"]
    for free, needed, severity in (
        (disk.GB, 0, "warning"),
        (100 * disk.GB, 200 * disk.GB, "warning"),
        (disk.MB, 0, "error"),
    ):
        assert [one.severity for one in disk.judge([replace(room, free=free)], needed)] == [severity]
    assert [one.severity for one in disk.judge([replace(room, files=3)])] == ["error"]
    assert [one.severity for one in disk.judge([replace(room, kind="nfs4")])] == ["warning"]
    assert [one.severity for one in disk.judge([replace(room, files=None)])] == ["ok"]  # btrfs counts none


def test_a_disk_without_a_byte_is_found(tmp_path: Path) -> None:
    """Written to the brim, for real; a folder that is still to be made lies on it too."""
    with small_disk(tmp_path / "disk", "1m") as mounted:
        if not mounted:
            pytest.skip("mounting a tmpfs takes root")
        with pytest.raises(OSError, match="No space"):
            (tmp_path / "disk" / "full").write_bytes(b"x" * 2_000_000)
        seen = disk.look("artifacts", tmp_path / "disk" / "not" / "yet")
    assert (seen.free, seen.kind, seen.trouble) == (0, "tmpfs", "")


def test_a_tmpdir_that_cannot_be_used_is_found(tmp_path: Path) -> None:
    """Python passes over it without a word."""
    (one,) = disk.temporary({"TMPDIR": str(tmp_path / "gone")})
    assert one.severity == "warning"
    assert one.mend == f"mkdir -p {tmp_path / 'gone'}, or unset TMPDIR"


# --- processes, ports, runs -------------------------------------------------------------------------------


def test_who_listens_on_a_port_is_told() -> None:
    """The number of the process, and its command."""
    with listener() as port:
        taken, by = processes.listening(port)
        assert taken
        assert by is not None
        assert by.pid == os.getpid()
    assert processes.listening(port) == (False, None)


def test_ports_are_those_that_are_set(tmp_path: Path) -> None:
    """The default ones of what is not asked for elsewhere."""
    home = {"PREFECT_HOME": str(tmp_path)}
    settings = prefect_settings.read({**home, "PREFECT_SERVER_API_PORT": "4300"}, tmp_path)
    found = ports.wanted({"ORDINAL_PORT": "6000"}, settings, "sqlite:///mlflow.db")
    assert [one.number for one in found] == ["4200", "4300", "5000", "6000"]
    settings = prefect_settings.read({**home, "PREFECT_API_URL": "http://127.0.0.1:4200/api"}, tmp_path)
    assert [one.number for one in ports.wanted({}, settings, "http://localhost:5000")] == ["50051"]
    (one,) = ports.check(ports.wanted({"ORDINAL_PORT": "http"}, settings, "http://localhost:5000"))
    assert one.found == "ORDINAL_PORT must be a port, 0 … 65535, got 'http'"


def test_a_command_line_is_shown_without_passwords() -> None:
    """Processes are given addresses of stores."""
    command = ("mlflow", "server", "--backend-store-uri", "postgresql://me:secret@db/mlflow")
    one = processes.Process(7, 1, 0, command)
    assert str(one) == "process 7 (mlflow server --backend-store-uri postgresql://…@db/mlflow)"


def test_a_run_folder_that_was_half_written_is_found(tmp_path: Path) -> None:
    """Nothing would go on with it."""
    folder = tmp_path / ".ordinal" / "runs" / "wine" / "2026-11-26T031502.281304-4711"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{")
    (one,) = left.judge_folders(left.folders(tmp_path))
    assert one.mend == f"rm -r {folder}"


def test_a_schedule_that_nobody_serves_is_found(tmp_path: Path) -> None:
    """Its run was cut off, and the note of it is still there."""
    folder = tmp_path / left.SCHEDULES
    folder.mkdir(parents=True)
    (folder / "wine.lock").touch()
    assert list(left.locks(tmp_path, None)) == []
    (folder / "wine.json").write_text("{}")
    (one,) = left.locks(tmp_path, None)
    assert "a scheduled run of wine was cut off" in one.found


# --- the machine ------------------------------------------------------------------------------------------

MACHINE = Machine("3.11.7", "linux", "x86_64", "glibc", True, 8, None, 64 * machine.GB, None)


@pytest.mark.parametrize(
    ("changed", "workers", "threads", "severity", "found"),
    [
        ({}, 1, 0, "ok", "8 cores"),
        ({}, 4, 2, "ok", "for 4 workers"),
        ({"python": "3.10.2"}, 1, 0, "error", "Python must be >=3.11,<3.14, this is 3.10.2"),
        ({"system": "darwin", "processor": "arm64"}, 1, 0, "error", "this is darwin on arm64"),
        ({"libc": ""}, 1, 0, "error", "must be glibc"),
        ({"avx": False}, 1, 0, "error", "has no AVX"),
        ({}, 4, 3, "warning", "4 workers of 3 threads are more than 8 cores"),
        ({"limit": 2.0}, 1, 0, "warning", "1 worker of 8 threads are more than the 2 of 8 cores"),
        ({"limit": 2.0}, 2, 1, "ok", "the 2 of 8 cores"),
        ({"memory": machine.GB}, 1, 0, "warning", "1.0 GB of memory free are less than the 2.0 GB"),
        ({"allowed": 3 * machine.GB}, 4, 2, "warning", "3.0 GB of memory that the cgroup allows"),
    ],
)
def test_what_the_machine_lacks_is_told(
    changed: dict[str, object], workers: int, threads: int, severity: str, found: str
) -> None:
    """Against what the config asks of it."""
    seen = replace(MACHINE, **changed)  # type: ignore[arg-type]
    (one,) = machine.judge(seen, ">=3.11,<3.14", workers, threads)
    assert one.severity == severity
    assert found in one.found


def test_a_mend_for_too_many_threads_fits() -> None:
    """What the mend says, set, is no finding any more."""
    (one,) = machine.judge(replace(MACHINE, limit=3.0), "", 8, 0)
    assert one.mend == "in the config: [search] workers = 3, threads = 1"
    assert _bad(machine.judge(replace(MACHINE, limit=3.0), "", 3, 1)) == []


def test_cgroups_of_both_versions_are_read(tmp_path: Path) -> None:
    """A limit of a group above counts too; "max" and version 1's huge number are none."""
    newer, older = tmp_path / "2", tmp_path / "1"
    for path, text in (
        (newer / "a" / "cpu.max", "max 100000\n"),
        (newer / "a" / "b" / "cpu.max", "150000 100000\n"),
        (newer / "a" / "memory.max", "2000000000\n"),
        (newer / "a" / "b" / "memory.max", "max\n"),
        (older / "cpu" / "cpu.cfs_quota_us", "-1\n"),
        (older / "cpu" / "a" / "cpu.cfs_quota_us", "50000\n"),
        (older / "cpu" / "a" / "cpu.cfs_period_us", "100000\n"),
        (older / "memory" / "memory.limit_in_bytes", "9223372036854771712\n"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert cgroups.cpus(newer, {"": "/a/b"}) == 1.5
    assert cgroups.memory(newer, {"": "/a/b"}) == 2_000_000_000
    assert cgroups.cpus(older, {"cpu": "/a", "memory": "/"}) == 0.5
    assert cgroups.memory(older, {"cpu": "/a", "memory": "/"}) is None
    assert cgroups.cpus(older, {"cpu": "/"}) is None


def test_this_machine_is_looked_at() -> None:
    """The tests run on one that is as it must be."""
    seen = machine.look()
    assert (seen.system, seen.processor, seen.libc, seen.avx) == ("linux", "x86_64", "glibc", True)
    assert seen.cores > 0
    assert seen.memory > 10**8


# --- variables --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "servers", "found"),
    [
        ({"KERAS_BACKEND": "torch"}, {}, "got 'torch'"),
        ({"TF_USE_LEGACY_KERAS": "1"}, {}, "TF_USE_LEGACY_KERAS"),
        (
            {"HTTPS_PROXY": "http://p"},
            {"PREFECT_API_URL": "https://prefect/api"},
            "prefect (PREFECT_API_URL)",
        ),
        ({"http_proxy": "http://p"}, {"PREFECT_API_URL": "http://127.0.0.1/api"}, "127.0.0.1"),
        (
            {"http_proxy": "http://p", "no_proxy": "127.0.0.1"},
            {"MLFLOW_TRACKING_URI": "http://10.0.0.7:5000"},
            "10.0.0.7 (MLFLOW_TRACKING_URI)",
        ),
    ],
)
def test_a_variable_that_breaks_something_is_found(
    tmp_path: Path, setting: dict[str, str], servers: dict[str, str], found: str
) -> None:
    """Each with the command that sets it right."""
    (one,) = variables.check(setting, tmp_path, servers, ())
    assert found in one.found
    assert one.mend.startswith(("export ", "unset "))


def test_variables_that_break_nothing_are_left_alone(tmp_path: Path) -> None:
    """A proxy with its exceptions, our own folder in PYTHONPATH, the right CUDA."""
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "libcudart.so.12").touch()
    environment = {
        "http_proxy": "http://p",
        "no_proxy": "localhost,127.0.0.1,.internal",
        "PYTHONPATH": f"{tmp_path}:/somewhere",
        "LD_LIBRARY_PATH": f":{tmp_path}:/no/such/folder",
        "KERAS_BACKEND": "tensorflow",
        "TF_USE_LEGACY_KERAS": "0",
    }
    servers = {
        "MLFLOW_TRACKING_URI": "http://mlflow.internal:5000",
        "PREFECT_API_URL": "https://a.example.com",
    }
    assert _bad(variables.check(environment, tmp_path, servers, (12,))) == []
    (one,) = _bad(variables.check(environment, tmp_path, servers, (13,)))
    assert "with CUDA 12; wanted is 13" in one.found


# --- the whole --------------------------------------------------------------------------------------------


def test_whom_a_config_notifies_is_looked_for(tmp_path: Path) -> None:
    """A program that is not there, a variable that is not set; what is secret is not shown."""
    path = tmp_path / "model.toml"
    head = 'name = "m"\n[data]\nsource = "digits"\n[notify]\n'
    for line, found in (
        ('command = ["/no/such/program", "x"]', "'/no/such/program', which is no program here"),
        ('webhook = "$NO_SUCH_VARIABLE"', "NO_SUCH_VARIABLE is not set"),
        ('webhook = "https://no-such-host.invalid/secret"', "at no-such-host.invalid, which is not found"),
        ('command = ["true"]', ""),
    ):
        path.write_text(head + line)
        config, problems = project.read(path)
        assert config is not None, problems
        told = list(project.notify(config))
        assert [found in one.found for one in told] == ([True] if found else [])
        assert not any("secret" in one.found + one.mend for one in told)


def test_a_check_that_fails_is_a_finding(tmp_path: Path) -> None:
    """The others are still made."""

    def check(_: examine.World) -> Iterator[Finding]:
        yield ok("disk", "this much was seen")
        raise RuntimeError("nobody thought of that")

    found = examine.guarded("disk", check, examine.World({}, tmp_path, None))
    assert found[0] == ok("disk", "this much was seen")
    assert found[1].severity == "warning"
    assert "RuntimeError: nobody thought of that" in found[1].found


def test_only_an_error_is_status_1() -> None:
    """Warnings do not change it."""
    assert page.status([ok("a", "b"), warning("a", "b", "c")]) == 0
    assert page.status([ok("a", "b"), error("a", "b", "c")]) == 1
