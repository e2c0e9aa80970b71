"""Files and a real registry that change while they are watched, that break, and that go away."""

import asyncio
import contextlib
import functools
import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import mlflow
import pytest

from serving import watch as module
from serving.cache import RegistryCache
from serving.errors import ArtifactError, RegistryError
from serving.registry import Registry
from serving.resolve import Resolved
from serving.seal import check_seal
from serving.settings import Settings
from serving.watch import Watch

from .registries import MlflowServer, Store, sqlite_store

pytestmark = pytest.mark.slow  # real processes, and seconds of load

CHAMPION = "models:/wine@champion"


def on_a_loop(test):
    """Run a coroutine as a test."""

    @functools.wraps(test)
    def run(*arguments, **fixtures):
        asyncio.run(test(*arguments, **fixtures))

    return run


@contextlib.asynccontextmanager
async def watching(*models, **settings):
    """A watch that has begun, what it found first, and its changes."""
    watch = Watch([str(model) for model in models], Settings(**settings))
    try:
        state = await watch.first()
        yield watch, state, watch.changes()
    finally:
        await watch.close()


async def until(changes, met):
    """Take changes until one is as wanted."""
    async with asyncio.timeout(60):
        async for state in changes:
            if met(state):
                return state
    raise AssertionError("the changes ended")


def warnings(caplog):
    """What was warned of."""
    return [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]


@on_a_loop
async def test_a_file_that_is_replaced_is_a_change(make, tmp_path):
    """Its digest tells; a file that is another one of the same content is none."""
    path = tmp_path / "a.onnx"
    make(path, seed=1)
    async with watching(f"{path}@champion", poll=0.02) as (watch, first, changes):
        (known,) = first.values()
        assert (known.path, known.aliases, known.digest) == (path, ("champion",), check_seal(path))
        coming = asyncio.ensure_future(anext(changes))
        (tmp_path / "same.onnx").write_bytes(path.read_bytes())
        (tmp_path / "same.onnx").replace(path)
        await asyncio.sleep(0.2)
        assert not coming.done()
        make(tmp_path / "b.onnx", seed=2).path.replace(path)
        (now,) = (await asyncio.wait_for(coming, 10)).values()
        assert (now.path, now.aliases, now.digest) == (path, ("champion",), check_seal(path))
        assert now.digest != known.digest
        assert watch.problems == {}


@on_a_loop
async def test_a_file_that_is_no_artifact_changes_nothing(make, tmp_path, caplog):
    """Half written, then gone: told once each, and over when a whole one is there."""
    path = tmp_path / "a.onnx"
    whole = make(path, seed=1).path.read_bytes()
    async with watching(path, poll=0.02) as (watch, first, changes):
        path.write_bytes(whole[: len(whole) // 2])
        assert await until(changes, lambda _: watch.problems) == first
        assert "carries no 'ordinal_sha256' seal" in watch.problems[str(path)]
        path.unlink()
        assert await until(changes, lambda _: "No such file" in watch.problems[str(path)]) == first
        await asyncio.sleep(0.2)
        make(path, seed=2)
        now = await until(changes, lambda state: state != first)
        assert now[str(path)].digest == check_seal(path)
        assert watch.problems == {}
    assert [text.rpartition(": ")[0] for text in warnings(caplog)[1:]] == [
        f"{path}: what is served stays: {path}: cannot be read"
    ]
    assert len(warnings(caplog)) == 2


@on_a_loop
async def test_without_polling_it_looks_when_asked_to(make, tmp_path):
    """And only then."""
    path = make(tmp_path / "a.onnx", seed=1).path
    async with watching(path, poll=0.0) as (watch, first, changes):
        coming = asyncio.ensure_future(anext(changes))
        make(path, seed=2)
        await asyncio.sleep(0.2)
        assert not coming.done()
        watch.look()
        assert await asyncio.wait_for(coming, 10) != first


@on_a_loop
async def test_changes_end_when_the_watch_is_closed(wine):
    """Whoever waits for the next one does not wait for ever."""
    async with watching(wine.path, poll=0.02) as (watch, _, changes):
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0.05)
        await watch.close()
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(waiting, 10)


@on_a_loop
async def test_what_cannot_be_served_fails_the_start(tmp_path, wine):
    """As `resolve` does."""
    for models, error in [
        ((wine.path, tmp_path / "no.onnx"), ArtifactError),
        (("models:/wine",), RegistryError),
        ((CHAMPION,), RegistryError),
    ]:
        settings = {"cache": str(tmp_path), "tracking_uri": f"sqlite:///{tmp_path}/no.db"}
        with pytest.raises(error, match=r"cannot be read|a registry address is|no registry at"):
            async with watching(*models, **settings):
                pass


@on_a_loop
async def test_copies_in_use_are_touched(wine, tmp_path, monkeypatch):
    """Those that were found, and those that are served for want of better ones."""
    monkeypatch.setattr(module, "_TOUCH", 0.05)
    settings = {"cache": str(tmp_path), "tracking_uri": f"sqlite:///{tmp_path}/no.db"}
    cache = RegistryCache(tmp_path, settings["tracking_uri"])
    copies = []
    for number in ("1", "2", "3"):
        with cache.unfinished() as folder:
            file = Path(shutil.copy(wine.path, folder))
            copies.append(cache.keep("wine", number, file, check_seal(file), "").path)
    async with watching("models:/wine/1", **settings) as (watch, _, _):
        watch.hold([Resolved(copies[1], "wine", "2")])
        for copy in copies:
            os.utime(copy, (0, 0))
        async with asyncio.timeout(10):
            while not all(copy.stat().st_atime for copy in copies[:2]):
                await asyncio.sleep(0.05)
    assert [copy.stat().st_mtime for copy in copies] == [0, 0, 0]
    assert copies[2].stat().st_atime == 0


@pytest.fixture(scope="module")
def registered(tmp_path_factory, make):
    """A registry with versions 1 and 2 of `wine`, and a damaged third."""
    folder = tmp_path_factory.mktemp("registry")
    with mock.patch.dict(os.environ, {"MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool"}):
        store = sqlite_store(folder)
        for seed in (1, 2, 3):
            store.add(make(folder / f"{seed}.onnx", seed=seed).path)
        with store.file("3").open("ab") as file:
            file.write(b"damage")
        yield store
        mlflow.set_tracking_uri(None)


@pytest.fixture
def store(registered):
    """The registry; version 2 is the champion."""
    registered.point("champion", "2")
    return registered


@pytest.fixture
def options(store, tmp_path):
    """Settings of a service that looks at the registry often."""
    return {"tracking_uri": store.uri, "cache": str(tmp_path / "cache"), "poll": 0.1}


def version(state):
    """The champion's."""
    return state[CHAMPION].version


@on_a_loop
async def test_an_alias_is_followed(store, options, tmp_path, make, caplog):
    """To whole versions only, and over times when the registry is away or another file."""
    caplog.set_level(logging.INFO, "serving.watch")
    path = make(tmp_path / "a.onnx", seed=7).path
    async with watching(CHAMPION, path, "models:/wine/1", **options) as (watch, first, changes):
        assert list(first) == [CHAMPION, str(path), "models:/wine/1"]
        assert version(first) == "2"

        store.point("champion", "1")
        moved = await until(changes, lambda state: version(state) == "1")
        assert moved[CHAMPION].path == first["models:/wine/1"].path
        assert moved[CHAMPION].digest == check_seal(moved[CHAMPION].path)
        assert moved[CHAMPION].path.read_bytes() == store.file("1").read_bytes()

        store.point("champion", "3")
        assert await until(changes, lambda _: watch.problems) == moved
        assert "models:/wine/3: the content does not agree with its seal" in watch.problems[CHAMPION]
        await asyncio.sleep(0.5)  # some looks more
        store.point("champion", "2")
        assert await until(changes, lambda state: state == first)
        assert watch.problems == {}

        away = store.database.rename(tmp_path / "away.db")
        assert await until(changes, lambda _: watch.problems) == first
        assert "no registry at" in watch.problems[CHAMPION]
        assert not store.database.exists()
        with contextlib.closing(sqlite3.connect(away)) as database, database:
            database.execute("update registered_model_aliases set version = 1")
        (tmp_path / "other.db").write_bytes(away.read_bytes())
        (tmp_path / "other.db").rename(store.database)
        watch.look()
        assert await until(changes, lambda state: version(state) == "1") == moved
        assert watch.problems == {}
    damaged, gone = warnings(caplog)
    assert damaged.startswith(f"{CHAMPION}: what is served stays: models:/wine/3: the content does")
    assert gone.startswith(f"{CHAMPION}: what is served stays: no registry at")
    assert f"{CHAMPION}: found again" in caplog.messages


@on_a_loop
async def test_a_start_without_the_registry(store, options, tmp_path, caplog):
    """Aliases are what they were when it last answered, until it does again."""
    Registry(store.uri, tmp_path / "cache").look([CHAMPION, "models:/wine/1"])
    away = store.database.rename(tmp_path / "away.db")
    try:
        async with watching("models:/wine/1", **options) as (watch, state, _):
            assert state["models:/wine/1"].version == "1"
            assert watch.problems == {}
            assert children() == []
        async with watching(CHAMPION, **options) as (watch, first, changes):
            one = first[CHAMPION]
            assert (one.name, one.version, one.aliases) == ("wine", "2", ("champion",))
            assert check_seal(one.path) == one.digest
            (warned,) = warnings(caplog)
            assert warned == f"{CHAMPION}: what is served stays: {watch.problems[CHAMPION]}"
            assert "no registry at" in warned
            assert f"{CHAMPION} is taken for version 2, as when the registry last answered, on 20" in warned
            away.rename(store.database)
            store.point("champion", "1")
            watch.look()
            assert await until(changes, lambda state: version(state) == "1")
            assert watch.problems == {}
    finally:
        if not store.database.exists():
            away.rename(store.database)


def children(parent=None):
    """Processes that ask the registry, by the id of the process that started them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            started_by = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            ours = started_by == (parent or os.getpid())
            if ours and b"serving.registry" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


@pytest.mark.slow
@on_a_loop
async def test_a_registry_that_answers_is_believed(store, options, tmp_path):
    """No such alias is an answer: what the cache knows does not count."""
    Registry(store.uri, tmp_path / "cache").look([CHAMPION])
    store.client.delete_registered_model_alias("wine", "champion")
    with pytest.raises(RegistryError, match="model 'wine' has no alias 'champion'"):
        async with watching(CHAMPION, **options):
            pass
    assert children() == []


@pytest.mark.slow
@on_a_loop
async def test_a_start_does_not_wait_long_for_a_slow_registry(store, options, tmp_path, monkeypatch):
    """Where the cache knows what it would say; the answer then counts."""
    Registry(store.uri, tmp_path / "cache").look([CHAMPION])
    store.point("champion", "1")
    monkeypatch.setattr(module, "_START", 0.1)
    async with watching(CHAMPION, **options) as (watch, first, changes):
        assert version(first) == "2"
        assert watch.problems[CHAMPION].startswith("the registry has not answered for 0.1 s; models:/wine@")
        assert version(await until(changes, lambda state: state != first)) == "1"
        assert watch.problems == {}


@pytest.mark.slow
@on_a_loop
async def test_the_process_that_asks_may_die_and_hang(store, options, monkeypatch, caplog):
    """It is started again; what was found stays; a signal to all processes does not end it."""
    monkeypatch.setattr(module, "_SILENCE", 0.5)
    async with watching(CHAMPION, **options) as (watch, first, changes):
        (child,) = children()
        os.kill(child, signal.SIGTERM)
        await asyncio.sleep(0.5)
        assert children() == [child]

        os.kill(child, signal.SIGKILL)
        assert await until(changes, lambda _: watch.problems) == first
        ended = "the process that asks the registry ended: killed by signal 9"
        assert watch.problems == {CHAMPION: ended}
        store.point("champion", "1")
        assert await until(changes, lambda state: version(state) == "1")
        assert watch.problems == {}
        assert sum(ended in text for text in warnings(caplog)) == 1

        (again,) = children()
        assert again != child
        os.kill(again, signal.SIGSTOP)
        await until(changes, lambda _: "has been silent for" in watch.problems.get(CHAMPION, ""))
        os.kill(again, signal.SIGCONT)
        await until(changes, lambda _: not watch.problems)
        os.kill(again, signal.SIGSTOP)
    assert children() == []  # closing ends one that hangs, too


PARENT = """
import asyncio, sys
from serving.settings import Settings
from serving.watch import Watch

async def main(uri, cache):
    await Watch(["models:/wine@champion"], Settings(tracking_uri=uri, cache=cache)).first()
    print("watching", flush=True)
    await asyncio.sleep(600)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.slow
def test_the_process_that_asks_ends_with_the_service(store, tmp_path):
    """Also where the service is killed, and cannot end it."""
    command = [sys.executable, "-c", PARENT, store.uri, str(tmp_path / "cache")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout.readline() == "watching\n"
        (child,) = children(parent.pid)
        parent.kill()
    end = time.monotonic() + 10
    while Path(f"/proc/{child}").exists():
        assert time.monotonic() < end, "it goes on"
        time.sleep(0.05)


@pytest.mark.slow
@on_a_loop
async def test_a_registry_over_http(make, tmp_path, caplog):
    """Versions are downloaded; the server may go and come back, and a start does without it."""
    server = MlflowServer(tmp_path)
    options = {"tracking_uri": server.uri, "cache": str(tmp_path / "cache"), "poll": 0.2}
    await asyncio.to_thread(server.start)
    try:
        store = Store(server.uri)
        for seed in (1, 2):
            store.add(make(tmp_path / f"{seed}.onnx", seed=seed).path)
        store.point("champion", "1")
        async with watching(CHAMPION, **options) as (watch, first, changes):
            assert (version(first), first[CHAMPION].digest) == ("1", check_seal(tmp_path / "1.onnx"))
            store.point("champion", "2")
            moved = await until(changes, lambda state: version(state) == "2")
            assert check_seal(moved[CHAMPION].path) == check_seal(tmp_path / "2.onnx")
            server.stop()
            assert await until(changes, lambda _: watch.problems) == moved
            assert f"the registry {server.uri} does not answer" in watch.problems[CHAMPION]
            async with watching(CHAMPION, **options) as (other, state, _):
                assert state == moved
                assert "is taken for version 2" in other.problems[CHAMPION]
            await asyncio.to_thread(server.start)
            store.point("champion", "1")
            watch.look()
            assert await until(changes, lambda state: version(state) == "1") == first
            assert watch.problems == {}
        assert len(warnings(caplog)) == 2
    finally:
        server.stop()
        mlflow.set_tracking_uri(None)
