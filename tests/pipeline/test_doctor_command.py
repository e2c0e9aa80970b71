"""`doctor` as a process, on set-ups that are broken for real."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from planted import ROOT, Place, corrupt, dead_port, half_a_core, listener, small_disk, with_schema

from pipeline.doctor import addresses

if TYPE_CHECKING:
    from registered import Store
    from trained import Exported


@dataclass(frozen=True)
class Expected:
    """The finding that a fault has to have: parts of its sentence and of its mend."""

    name: str
    severity: str
    found: str
    mend: str
    arguments: tuple[str, ...] = ()


Fault = Callable[[Place, ExitStack], Expected]


def fastapi_too_new(place: Place, _: ExitStack) -> Expected:
    """FastAPI that Prefect's metadata allows, and that breaks its server."""
    place.install("fastapi", "0.155.0")
    return Expected("packages", "error", "fastapi 0.155.0", 'pip install "fastapi')


def protobuf_too_new(place: Place, _: ExitStack) -> Expected:
    """A protobuf that TensorFlow cannot read its own messages with."""
    place.install("protobuf", "8.1.0")
    return Expected("packages", "error", "protobuf 8.1.0", 'pip install "protobuf')


def both_runtimes(place: Place, _: ExitStack) -> Expected:
    """Plain onnxruntime beside onnxruntime-gpu."""
    place.install("onnxruntime", "1.31.0")
    return Expected("onnxruntime", "error", "same module", "pip uninstall -y onnxruntime-gpu onnxruntime")


def both_stacks(place: Place, _: ExitStack) -> Expected:
    """Wheels of CUDA 12 and 13 in one environment."""
    place.install("nvidia-cudnn-cu12", "9.28.0")
    place.install("nvidia-cuda-runtime", "13.0.5")
    return Expected("cuda", "error", "nvidia-cudnn-cu12", "requirements-train-gpu.lock")


def telemetry_on(place: Place, _: ExitStack) -> Expected:
    """A variable that takes back what our commands set."""
    place.environment["MLFLOW_DISABLE_TELEMETRY"] = "false"
    return Expected("telemetry", "warning", "lets MLflow send", "export MLFLOW_DISABLE_TELEMETRY=true")


def store_corrupt(place: Place, _: ExitStack) -> Expected:
    """MLflow's default store, with some pages overwritten."""
    corrupt(place.folder / "mlflow.db")
    return Expected("tracking", "error", "is damaged", "mv ")


def store_newer(place: Place, _: ExitStack) -> Expected:
    """A store that a later MLflow has migrated."""
    with_schema(place.folder / "mlflow.db", "ffffffffffff")
    return Expected("tracking", "error", "of a newer MLflow", "install the MLflow that made it")


def store_locked(place: Place, stack: ExitStack) -> Expected:
    """A store that another process does not let go of."""
    with_schema(place.folder / "mlflow.db", "0584bdc529eb")
    program = (
        "import sqlite3\ndatabase = sqlite3.connect('mlflow.db', isolation_level=None)\n"
        "database.execute('begin exclusive')\nprint('held', flush=True)\ninput()"
    )
    holder = stack.enter_context(place.process(program))
    return Expected("tracking", "warning", f"by process {holder.pid}", f"kill {holder.pid}")


def store_server_dead(place: Place, _: ExitStack) -> Expected:
    """An MLflow server that is down, whose address has a password."""
    at = f"127.0.0.1:{dead_port()}"
    place.environment["MLFLOW_TRACKING_URI"] = f"http://me:s3cr3t@{at}"
    return Expected("tracking", "error", f"{at} (by MLFLOW_TRACKING_URI) does not answer", "start it")


def prefect_dead(place: Place, _: ExitStack) -> Expected:
    """A Prefect server that is down."""
    port = dead_port()
    place.environment["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
    return Expected("prefect", "error", "does not answer", f"prefect server start --port {port}")


def prefect_database_corrupt(place: Place, _: ExitStack) -> Expected:
    """The database of Prefect's embedded servers, with some pages overwritten."""
    corrupt(place.folder / "prefect" / "prefect.db")
    return Expected("prefect", "error", "is damaged", "mv ")


def port_taken(place: Place, stack: ExitStack) -> Expected:
    """The service's port in the hands of something else."""
    port = stack.enter_context(listener())
    place.environment["ORDINAL_PORT"] = str(port)
    return Expected(
        "ports", "warning", f"{port}, of the service, is taken by process {os.getpid()}", "kill "
    )


def run_killed(place: Place, stack: ExitStack) -> Expected:
    """A run whose process was killed with SIGKILL."""
    program = (
        "from pipeline.run_folder import RunFolder\nwith RunFolder.held('wine', 'mark'):\n"
        "    print('held', flush=True)\n    input()"
    )
    stack.enter_context(place.process(program)).send_signal(signal.SIGKILL)
    stack.close()  # it is waited for
    return Expected("runs", "warning", "a run of wine ended before its time", "rm -r ")


def promotion_hangs(place: Place, stack: ExitStack) -> Expected:
    """A process that holds the lock of a promotion."""
    program = (
        "from filelock import FileLock\nlock = FileLock('.mlflow.db.promote-wine.lock')\n"
        "lock.acquire()\nprint('held', flush=True)\ninput()"
    )
    holder = stack.enter_context(place.process(program))
    return Expected("locks", "warning", f"is held by process {holder.pid}", f"kill {holder.pid}")


def disk_full(place: Place, stack: ExitStack) -> Expected:
    """A folder of temporary files with 4 MB."""
    disk = place.folder / "tmp"
    if not stack.enter_context(small_disk(disk)):
        pytest.skip("mounting a tmpfs takes root")
    place.environment["TMPDIR"] = str(disk)
    return Expected("disk", "error", f"{disk} (temporary files) has 4 MB left", "export TMPDIR=")


def no_files_left(place: Place, stack: ExitStack) -> Expected:
    """A folder of temporary files with room for 20 files."""
    disk = place.folder / "tmp"
    if not stack.enter_context(small_disk(disk, "3g", ",nr_inodes=20")):
        pytest.skip("mounting a tmpfs takes root")
    place.environment["TMPDIR"] = str(disk)
    return Expected("disk", "error", "more files", "export TMPDIR=")


def disk_read_only(place: Place, stack: ExitStack) -> Expected:
    """A home of Prefect on a disk that cannot be written."""
    disk = place.folder / "ro"
    if not stack.enter_context(small_disk(disk, "3g", ",ro")):
        pytest.skip("mounting a tmpfs takes root")
    place.environment["PREFECT_HOME"] = str(disk)
    return Expected("prefect", "error", "cannot be written", "export PREFECT_HOME=")


def proxy_in_between(place: Place, _: ExitStack) -> Expected:
    """A proxy through which Prefect's embedded server would be asked."""
    place.environment["http_proxy"] = "http://proxy.example.com:3128"
    return Expected("environment", "error", "127.0.0.1", "export no_proxy=localhost,127.0.0.1")


def other_backend(place: Place, _: ExitStack) -> Expected:
    """Keras on another backend."""
    place.environment["KERAS_BACKEND"] = "jax"
    return Expected("environment", "error", "got 'jax'", "export KERAS_BACKEND=tensorflow")


def shadowed(place: Place, _: ExitStack) -> Expected:
    """A package of somebody else that is called `serving`."""
    theirs = place.folder / "theirs"
    (theirs / "serving").mkdir(parents=True)
    place.site.append(theirs)
    return Expected("environment", "error", "in place of ours", f"take {theirs} out of PYTHONPATH")


def other_cuda(place: Place, _: ExitStack) -> Expected:
    """CUDA 11 on the loader's path."""
    folder = place.folder / "cuda-11" / "lib64"
    folder.mkdir(parents=True)
    (folder / "libcudart.so.11").touch()
    place.environment["LD_LIBRARY_PATH"] = str(folder)
    return Expected("environment", "warning", "CUDA 11", f"take {folder} out of LD_LIBRARY_PATH")


def rows_missing(place: Place, _: ExitStack) -> Expected:
    """A config whose rows are not there."""
    text = 'name = "wine"\n[data]\nsource = "wine.csv"\nlabel = "quality"\n'
    (place.folder / "wine.toml").write_text(text, encoding="utf-8")
    return Expected("config", "error", "'wine.csv' is not there", "relative to the config", ("wine.toml",))


def too_many_workers(place: Place, _: ExitStack) -> Expected:
    """A config with more threads than any machine has cores, and more workers than fit in memory."""
    text = 'name = "wine"\n[data]\nsource = "digits"\n[search]\nworkers = 1024\nthreads = 1024\n'
    (place.folder / "wine.toml").write_text(text, encoding="utf-8")
    return Expected("machine", "warning", "1024 workers of 1024 threads", "threads = ", ("wine.toml",))


def config_mistyped(place: Place, _: ExitStack) -> Expected:
    """A config with a key that is none."""
    text = 'name = "wine"\n[data]\nsource = "digits"\n[search]\nepoch = 3\n'
    (place.folder / "wine.toml").write_text(text, encoding="utf-8")
    return Expected(
        "config", "error", "did you mean 'epochs'?", "ordinal-pipeline validate wine.toml", ("wine.toml",)
    )


FAULTS: tuple[Fault, ...] = (
    fastapi_too_new,
    protobuf_too_new,
    both_runtimes,
    both_stacks,
    telemetry_on,
    store_corrupt,
    store_newer,
    store_locked,
    store_server_dead,
    prefect_dead,
    prefect_database_corrupt,
    port_taken,
    run_killed,
    promotion_hangs,
    disk_full,
    no_files_left,
    disk_read_only,
    proxy_in_between,
    other_backend,
    shadowed,
    other_cuda,
    rows_missing,
    too_many_workers,
    config_mistyped,
)
QUICK = (both_runtimes, store_server_dead)  # the others find theirs too, in processes of their own


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A healthy set-up."""
    return Place(tmp_path)


@contextmanager
def _planted(fault: Fault, place: Place) -> Iterator[Expected]:
    with ExitStack() as stack:
        yield fault(place, stack)


@pytest.mark.parametrize(
    "fault",
    [pytest.param(one, id=one.__name__, marks=[] if one in QUICK else pytest.mark.slow) for one in FAULTS],
)
def test_a_planted_fault_is_found_with_its_mend(fault: Fault, place: Place) -> None:
    """The command names each fault, says what mends it, and ends with status 1 for errors alone."""
    with _planted(fault, place) as expected:
        found = place.found(*expected.arguments)
    matching = [
        one for one in found if one["name"] == expected.name and one["severity"] == expected.severity
    ]
    assert any(expected.found in one["found"] and expected.mend in one["mend"] for one in matching), found
    assert "s3cr3t" not in json.dumps(found)
    order = [("error", "warning", "ok").index(one["severity"]) for one in found]
    assert order == sorted(order)


def test_a_healthy_set_up_has_no_error(place: Place) -> None:
    """Nothing is wrong here, every check says so, and nothing is left in the folder."""
    done = place.run()
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1].startswith("0 errors, "), done.stdout
    for name in ("packages", "onnxruntime", "telemetry", "tracking", "prefect", "machine", "environment"):
        assert f"✓ {name}" in done.stdout, done.stdout
    assert list(place.folder.iterdir()) == []


def test_it_runs_where_nothing_else_does(place: Place) -> None:
    """Without pydantic, typer, rich, packaging, MLflow and Prefect it still says what is wrong."""
    for module in ("pydantic", "typer", "rich", "packaging", "mlflow", "prefect", "filelock"):
        place.break_module(module)
    (place.folder / "wine.toml").write_text('name = "wine"', encoding="utf-8")
    done = place.run("wine.toml", module="pipeline.doctor")
    assert done.stderr == ""
    assert done.returncode == 1
    assert "✗ packages     versions cannot be compared without packaging" in done.stdout
    assert "pydantic does not work here: pydantic is of another version" in done.stdout
    assert "mend: pip install packaging" in done.stdout
    assert "✓ tracking" in done.stdout


@pytest.mark.slow
def test_the_command_itself_needs_no_mlflow_and_no_prefect(place: Place) -> None:
    """The large packages may be broken; with --imports that is found."""
    for module in ("mlflow", "prefect"):
        place.break_module(module)
    assert place.run().returncode == 0
    done = place.run("--imports")
    assert done.returncode == 1
    assert "mlflow cannot be imported: ImportError: mlflow is of another version" in done.stdout
    assert "prefect.server.api.server cannot be imported" in done.stdout
    assert "onnxruntime can be imported" in done.stdout


@pytest.mark.slow
def test_the_cores_of_a_cgroup_count(place: Place) -> None:
    """A container with half a core is told that its one worker has more threads than that."""
    program = (
        "import subprocess, sys\nprint('ready', flush=True)\ninput()\n"
        "done = subprocess.run([sys.executable, '-m', 'pipeline', 'doctor'], stdout=subprocess.PIPE)\n"
        "print(done.stdout.decode())"
    )
    with place.process(program) as process, half_a_core(process.pid) as limited:
        if not limited:
            pytest.skip("limiting a process takes root and a cgroup file system that can be written")
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        out = process.stdout.read()
    assert "more than the 0.5 of" in out, out


@pytest.mark.slow
def test_a_run_that_mlflow_shows_as_running_is_named(place: Place) -> None:
    """Its process was killed: MLflow cannot know, and the doctor tells; one that lives is left alone."""
    program = (
        "import socket, sys\nfrom pathlib import Path\nfrom pipeline.run_folder import RunFolder\n"
        "from pipeline.tracking.runs import FOLDER, HOST, Experiment\n"
        "with RunFolder.held('wine', 'mark') as folder:\n"
        "    tags = {HOST: socket.gethostname(), FOLDER: str(folder.path.resolve())}\n"
        "    Experiment('', 'wine').begin('retrain wine', tags)\n"
        "    print('held', flush=True)\n    input()"
    )
    with place.process(program) as process:
        alive = place.found()
        assert not [one for one in alive if "RUNNING" in one["found"]]
        (run,) = [one for one in alive if one["name"] == "runs"]
        assert run["severity"] == "ok"
        assert f"by process {process.pid}" in run["found"]
        process.kill()
        process.wait()
        found = place.found()
    (left,) = [one for one in found if "RUNNING" in one["found"]]
    assert left["severity"] == "warning"
    assert "retrain wine (" in left["found"]
    assert "whole and can be written" in next(one["found"] for one in found if one["name"] == "tracking")


@pytest.mark.slow
def test_the_embedded_server_of_a_killed_run_is_named(place: Place) -> None:
    """It is found by its command and its parent, and its mend ends it."""
    program = (
        "import os, signal\nfrom prefect.server.api.server import SubprocessASGIServer\n"
        "server = SubprocessASGIServer()\nserver.start(timeout=200)\n"
        "open('pid', 'w').write(str(server.server_process.pid))\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run(
        [sys.executable, "-c", program], cwd=place.folder, env=place.all_variables(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=240, check=False,
    )  # fmt: skip
    pid = int((place.folder / "pid").read_text())
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        place.environment["PREFECT_API_URL"] = f"http://127.0.0.1:{words[words.index('--port') + 1]}/api"
        (server,) = [one for one in place.found() if "PREFECT_API_URL" in one["found"]]
        assert (server["severity"], "answers" in server["found"]) == ("ok", True)
        del place.environment["PREFECT_API_URL"]
        (left,) = [one for one in place.found() if f"process {pid}" in one["found"]]
        assert left["name"] == "prefect"
        assert left["mend"] == f"kill {pid}"
    finally:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_a_champion_without_its_file_is_named(versions: Store, tmp_path: Path) -> None:
    """The alias leads to a file that was changed, or removed; before, all is well."""
    from pipeline.tracking import registry

    place = Place(tmp_path)
    store = versions.copy(tmp_path)
    registry.set_alias(store.uri, "digits", "champion", 2)
    fetched = tmp_path / "kept"
    file = registry.fetch(store.uri, "digits", fetched).path
    (tmp_path / "model.toml").write_text('name = "digits"\n[data]\nsource = "digits"\n', encoding="utf-8")
    (source,) = store.rows("select storage_location from model_versions where version = 2")[0]
    stored = Path(source.removeprefix("file://")) / "model.onnx"

    def champion() -> tuple[str, str]:
        (one,) = [one for one in place.found("model.toml") if one["name"] == "champion"]
        return one["severity"], one["found"]

    severity, words = champion()
    assert (severity, "version 2 of digits, its champion, is whole" in words) == ("ok", True)
    stored.write_bytes(file.read_bytes()[:-100])
    try:
        assert champion()[0] == "error"
        stored.unlink()
        severity, words = champion()
        assert (severity, "has no file" in words) == ("error", True)
    finally:
        shutil.copy(file, stored)  # other tests have it too


@pytest.mark.slow
def test_a_store_that_is_a_server_is_asked_over_http(exported: Exported, tmp_path: Path) -> None:
    """Runs that were left, a champion, and the same champion once the server has lost its file."""
    from pipeline.tracking import registry
    from pipeline.tracking.runs import FOLDER, HOST, Experiment

    place = Place(tmp_path)
    with listener() as port:
        pass
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)],
        cwd=tmp_path, env=place.all_variables(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    uri = f"http://127.0.0.1:{port}"
    place.environment["MLFLOW_TRACKING_URI"] = uri
    try:
        for _ in range(240):
            if addresses.ask(uri, "/health").status == 200:
                break
            time.sleep(0.5)
        tags = {HOST: socket.gethostname(), FOLDER: "/no/such/folder"}
        experiment = Experiment(uri, "digits")
        run = experiment.begin("retrain digits", tags)
        logged = registry.log(experiment, run, exported.path, exported.manifest)
        (tmp_path / "model.toml").write_text(
            'name = "digits"\n[data]\nsource = "digits"\n', encoding="utf-8"
        )
        assert "digits has no champion yet" in str(place.found("model.toml"))
        version = registry.register(uri, logged, "digits", "words", {})
        registry.set_alias(uri, "digits", "champion", version)
        by_name = {one["name"]: one for one in place.found("model.toml")}
        assert by_name["tracking"]["severity"] == "ok"
        assert run.id in by_name["runs"]["found"]
        assert by_name["champion"]["severity"] == "ok"
        assert "mlflow-artifacts:/" in by_name["champion"]["found"]
        (kept,) = tmp_path.glob("mlartifacts/**/model.onnx")
        kept.unlink()
        (champion,) = [one for one in place.found("model.toml") if one["name"] == "champion"]
        assert champion["severity"] == "error"
        assert "has no model.onnx on the server" in champion["found"]
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def test_the_command_is_quick_to_import() -> None:
    """The doctor imports neither MLflow, Prefect, TensorFlow nor pydantic before it looks."""
    program = "import pipeline.doctor.examine, pipeline.doctor.page, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded & {"mlflow", "prefect", "tensorflow", "pydantic", "rich", "numpy", "onnxruntime"} == set()
