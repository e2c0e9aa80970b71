"""What is about sweeps on Ray and needs no cluster; tests/test_ray_sweep.py has one."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.cluster import software
from pipeline.config import Config, Search
from pipeline.errors import InputError, PipelineError
from pipeline.sweep import cluster, remote
from pipeline.sweep.on_node import Kept, Own, Started
from pipeline.sweep.switchboard import FORGOTTEN, Switchboard
from pipeline.sweep.tried import Begun, Reached


def _search(address: str, **changes: Any) -> Search:
    return Search.model_validate({"backend": "ray", "address": address, **changes})


def test_ray_takes_an_address() -> None:
    """Without one the config is refused, with what an address may be."""
    with pytest.raises(ValidationError, match="needs an address of the cluster"):
        _search("")


@pytest.mark.parametrize("address", ["host", "host:port", "http://host:6379", ":6379"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    """Before anybody is asked."""
    message = f"must be HOST:PORT, ray://HOST:PORT or auto, got {address!r}"
    with pytest.raises(InputError, match=message), cluster.joined(_search(address)):
        pass


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nobody_answers_is_told_at_once(scheme: str) -> None:
    """Ray itself would try for minutes."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"{scheme}127.0.0.1:{free.getsockname()[1]}"
    message = f"nothing answers at {address}: Connection refused"
    with pytest.raises(PipelineError, match=message), cluster.joined(_search(address)):
        pass


@pytest.mark.parametrize("package", ["ray", "prefect_ray"])
def test_a_missing_package_names_the_extra(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray is no part of what training takes."""
    monkeypatch.setitem(sys.modules, package, None)  # as where it is not installed
    message = rf"the package {package}, .* pip install \"ordinal\[scale\]\""
    with pytest.raises(InputError, match=message), cluster.joined(_search("auto")):
        pass


def test_what_is_installed_is_compared() -> None:
    """The first difference is told; code counts as well as versions."""
    ours = software.installed(("numpy", "no-such-package"))()
    assert ours["numpy"]
    assert ours["no-such-package"] == ""
    assert software.difference(ours, dict(ours)) == ""
    assert "must have numpy" in software.difference(ours, {**ours, "numpy": "1.0"})
    assert "has none: install the same lock" in software.difference(ours, {})
    assert "must have ordinal's code" in software.difference(ours, {**ours, "ordinal's code": "other"})


def test_where_trials_are_trained_is_no_part_of_a_run() -> None:
    """A run goes on elsewhere: what is fingerprinted and shown is the same."""
    document = {"name": "t", "data": {"source": "digits"}}
    elsewhere = {"backend": "ray", "address": "host:6379"}
    configs = [Config.model_validate({**document, "search": one}) for one in ({}, elsewhere)]
    assert configs[0].model_dump_json() == configs[1].model_dump_json()


def test_workers_limit_what_is_handed_in_only_where_they_are_given() -> None:
    """Their default is for processes of this machine."""
    assert _search("host:6379").places is None
    assert _search("host:6379", workers=1).places == 1


def test_the_switchboard_passes_messages_and_answers() -> None:
    """Each training hears its own answers; one that is forgotten is told to end."""

    async def talk() -> None:
        board = Switchboard()
        telling = [asyncio.create_task(board.tell(key, f"of {key}")) for key in ("a", "b")]
        assert await board.hear("b") == "of b"
        assert await board.hear("a") == "of a"
        await board.answer("b", True)
        assert await telling[1]
        await board.forget("a")
        assert not await telling[0]
        hearing = asyncio.create_task(board.hear("b"))
        await asyncio.sleep(0)
        await board.forget("b")
        assert await hearing is FORGOTTEN

    asyncio.run(talk())


def test_a_module_has_the_name_on_nodes_that_it_has_here(tmp_path: Path) -> None:
    """Keras finds a layer of the user's own by it, in the process that exports."""
    path = tmp_path / "net.py"
    path.write_text("def build(shape, classes): ...\n", encoding="utf-8")
    from pipeline import backbones

    assert backbones._of_file(path).__name__ == Own(str(path.resolve()), path.read_bytes()).name


def test_a_training_that_is_done_again_is_heard_of_once(tmp_path: Path) -> None:
    """What it has told is not told again; a backup outlives its node."""
    heard: list[object] = []

    def hear(message: object) -> bool:
        heard.append(message)
        return True

    nodes: Any = SimpleNamespace(cluster=SimpleNamespace(ray=None))
    nothing: Any = None
    training = remote._Training(
        nodes, nothing, nothing, tmp_path / "0.keras", tmp_path / "0-fit", None, hear
    )
    before, after = [Begun({}), Reached(10, 0.5), Reached(20, 0.4)], [Reached(30, 0.3)]
    for message in (Started("a"), *before, Kept("training.npz", b"20"), Started("b"), *before, *after):
        assert training._hear(message)
    assert heard == [*before, *after]
    assert training._kept == Kept("training.npz", b"20")


def test_a_server_that_a_node_does_not_reach_is_told() -> None:
    """With the reason; what listens is reached."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/api"
        assert cluster.reached(url)() == ""
    assert cluster.reached(url)() == "Connection refused"
