"""What goes wrong around the models: contradictions, processes that cannot be started or understood."""

import asyncio
import functools
import logging
import resource
import shutil
import sys

import numpy as np
import pytest

from serving import fleet as fleets
from serving import orders, registry_process
from serving.artifact import Artifact
from serving.cache import Seals
from serving.client import Client
from serving.errors import ArtifactError, RegistryError
from serving.fleet import Fleet
from serving.live import Live
from serving.metrics import Metrics
from serving.orders import Start, Wanted
from serving.ports import Reserved
from serving.registry_process import RegistryProcess
from serving.resolve import Files, Findings, Resolved
from serving.seal import check_seal
from serving.settings import Settings
from serving.watch import Watch
from serving.worker_process import WorkerEnded, WorkerProcess

ROWS = np.zeros((1, 4), np.float32)


def on_a_loop(test):
    """Run a coroutine as a test."""

    @functools.wraps(test)
    def run(*arguments, **fixtures):
        async def bounded():
            async with asyncio.timeout(30):
                await test(*arguments, **fixtures)

        asyncio.run(bounded())

    return run


@pytest.fixture
def instead(tmp_path, monkeypatch):
    """Let processes that are started be a shell script."""

    def put(script):
        path = tmp_path / "instead"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    return put


def replaced(path, made):
    """Let a file be another one at once."""
    shutil.copy(made.path, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


@on_a_loop
async def test_a_replaced_file_under_two_aliases(make, tmp_path):
    """Is served under both; a file that contradicts it is refused, and keeps nothing from being served."""
    first, second, other = (make(tmp_path / f"{seed}.onnx", seed=seed) for seed in range(3))
    beer = make(tmp_path / "beer.onnx", name="beer")
    path = tmp_path / "wine.onnx"
    replaced(path, first)
    models = [f"{path}@champion", f"{path}@stable"]
    files, live = Files(models), Live(Settings())
    wanted = {"other": Resolved(beer.path), **files.look().found}
    live.take(wanted, await live.load(wanted))
    replaced(path, second)
    wanted = {"other": Resolved(other.path), **files.look().found}
    applied = live.take(wanted, await live.load(wanted))
    assert [applied.served[model].digest for model in models] == [check_seal(second.path)] * 2
    assert applied.served["other"].name == "beer"
    assert list(applied.refused) == ["other"]
    assert "is already served from" in applied.refused["other"].reason
    assert {one.name for one in live.repository(applied.refused)} == {"wine", "beer"}


@on_a_loop
async def test_two_files_that_change_places(make, tmp_path):
    """Each is what the other was: nothing contradicts."""
    made = [make(tmp_path / f"{seed}.onnx", seed=seed) for seed in range(2)]
    live = Live(Settings())
    for numbers in (("1", "2"), ("2", "1")):
        pairs = zip("ab", numbers, made, strict=True)
        wanted = {model: Resolved(one.path, "wine", n) for model, n, one in pairs}
        applied = live.take(wanted, await live.load(wanted))
        assert not applied.refused
        assert [one.version for one in applied.served.values()] == list(numbers)


@on_a_loop
async def test_what_a_library_says_is_for_the_log(wine, monkeypatch, caplog):
    """Callers are told that a file cannot be loaded, and no more."""

    def fail(_artifact, _rows):
        raise RuntimeError("secret of this machine")

    monkeypatch.setattr(Artifact, "warm", fail)
    live, wanted = Live(Settings()), {"m": Resolved(wine.path)}
    applied = live.take(wanted, await live.load(wanted))
    assert applied.refused["m"].reason == f"{wine.path}: cannot be loaded; the service's log tells more"
    assert "secret of this machine" in caplog.text


def test_a_file_that_cannot_be_opened_for_a_moment(wine):
    """Is tried again, though it is the same file."""
    seals = Seals()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(ArtifactError, match="Too many open files"):
            seals.digest(wine.path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert seals.digest(wine.path) == check_seal(wine.path)


@pytest.mark.parametrize("said", ["nonsense", "{}", "12345678901234567890" * 20])
@on_a_loop
async def test_a_worker_that_cannot_be_understood(instead, monkeypatch, said):
    """Is killed, and whoever asked it is told."""
    monkeypatch.setattr(orders, "LONGEST", 100)
    instead(f"read start; echo '{said}'; exec sleep 60")
    worker = await WorkerProcess.start(Start(Settings(), 1, counted=False), lambda _: None)
    with pytest.raises(WorkerEnded, match="told what cannot be understood"):
        await worker.apply(Wanted({}))
    await worker.ended()


@on_a_loop
async def test_a_worker_that_cannot_be_started_and_one_that_lacks_a_model(
    make, wine, tmp_path, monkeypatch, caplog
):
    """Are tried again after rests, until they serve what all should."""
    monkeypatch.setattr(fleets, "_RESTS", (0.0, 0.1))
    monkeypatch.setattr(fleets, "_AGAIN", 0.1)
    beer = make(tmp_path / "beer.onnx", name="beer")
    wanted = Wanted({"wine": Resolved(wine.path), "beer": Resolved(beer.path)})

    async def told(text):
        while text not in caplog.text:
            await asyncio.sleep(0.02)

    with Reserved("127.0.0.1", 0) as reserved:
        settings = Settings(port=reserved.port, pause=0.0, grace=1.0)
        fleet = Fleet(settings, Metrics())
        await fleet.start()
        assert not (await fleet.begin(wanted)).refused
        keeping = asyncio.create_task(fleet.keep())
        try:
            with monkeypatch.context() as broken:
                broken.setattr(sys, "executable", str(tmp_path / "nothing"))
                beer.path.rename(tmp_path / "away.onnx")
                await fleet.kill()
                await told("worker 1 cannot be started: ")
            await told("worker 1 cannot serve beer: ")
            (tmp_path / "away.onnx").rename(beer.path)
            async with asyncio.timeout(10):
                while fleet._lacking or not fleet._ready:
                    await asyncio.sleep(0.02)
            with Client(f"127.0.0.1:{reserved.port}") as client:
                answer = await asyncio.to_thread(client.predict, ROWS, "beer")
            assert answer.probabilities.shape == (1, 5)
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await fleet.stop()


@pytest.mark.parametrize("said", ["nonsense", "[]", '{"found": {"a": 1}}', "1234567890" * 20])
@on_a_loop
async def test_the_process_that_asks_cannot_be_understood(instead, monkeypatch, said):
    """It is killed, and another one is started after longer and longer rests."""
    monkeypatch.setattr(registry_process, "_LONGEST_LINE", 100)
    monkeypatch.setattr(registry_process, "_FIRST_REST", 0.01)
    instead(f"echo '{said}'; exec sleep 60")
    asking = RegistryProcess(["models:/a@b"], Settings())
    for _ in range(2):
        with pytest.raises(RegistryError, match="the process that asks the registry must answer with"):
            await asking.answer(Findings.from_line)
    assert asking._ends == 2
    instead("""echo '{"found": {}, "problems": {}}'; read _""")
    assert await asking.answer(Findings.from_line) == Findings({}, {})
    assert asking._ends == 0
    await asking.close()


@on_a_loop
async def test_the_process_that_asks_cannot_be_started(monkeypatch, instead, tmp_path, caplog):
    """The start is refused in a sentence; a watch that goes on tells of it, until it can be started."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(registry_process, "_FIRST_REST", 0.01)
    address = "models:/a@b"
    settings = Settings(cache=str(tmp_path / "cache"))
    with monkeypatch.context() as broken:
        broken.setattr(sys, "executable", str(tmp_path / "nothing"))
        with pytest.raises(RegistryError, match="cannot be started: No such file"):
            await Watch([address], settings).first()
    found = Findings({address: Resolved(tmp_path / "a.onnx", "a", "1", ("b",), "0" * 64)}, {})
    (tmp_path / "line").write_text(found.as_line() + "\n")
    instead(f"cat {tmp_path}/line; read _")
    watch = Watch([address], settings)
    try:
        assert await watch.first() == dict(found.found)
        with monkeypatch.context() as broken:
            broken.setattr(sys, "executable", str(tmp_path / "nothing"))
            watch._process._process.kill()
            changes = watch.changes()
            assert await anext(changes) == dict(found.found)
            assert address in watch.problems
            await asyncio.sleep(0.1)
        while watch.problems:
            await anext(changes)
        assert watch._state == dict(found.found)
    finally:
        await watch.close()
