"""`ordinal-pipeline score --ray` on a real cluster of two nodes, and where there is none."""

from __future__ import annotations

import json
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from commands import Command, started
from pyarrow import csv as arrow
from pyarrow import parquet
from ray_cluster import Cluster, cluster
from scored import Score, read
from tables import write_csv

from pipeline.scoring import parcels
from pipeline.scoring.inputs import Block, Uneven
from pipeline.scoring.parts import Part, beside

ROWS = 200_000
MANY = ("--keep", "id", "--batch-rows", "500")


def test_a_cluster_that_is_not_there_is_one_sentence(score: Score, tmp_path: Path) -> None:
    """It is known at once, and the status says whether the address is none or nobody answers."""
    rows = write_csv(
        tmp_path / "rows.csv", {"size": [1.0], "weight": [2], "colour": ["red"], "shape": ["round"]}
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for address, status, said in (
        ("cluster", 2, "--ray must be HOST:PORT, ray://HOST:PORT or auto, got 'cluster'"),
        ("http://head:8265", 2, "--ray must be HOST:PORT"),
        (f"127.0.0.1:{port}", 1, f"--ray: nothing answers at 127.0.0.1:{port}: Connection refused; `ray"),
        (f"ray://127.0.0.1:{port}", 1, f"nothing answers at ray://127.0.0.1:{port}: Connection refused"),
    ):
        ended = score(rows, tmp_path / "out.csv", "--ray", address)
        assert (ended.status, said in ended.said) == (status, True), ended.said
        assert not list(tmp_path.glob("out*"))


def test_ray_that_is_not_installed_is_one_sentence(
    score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names what to install; without --ray it is not missed."""
    rows = write_csv(
        tmp_path / "rows.csv", {"size": [1.0], "weight": [2], "colour": ["red"], "shape": ["round"]}
    )
    monkeypatch.setitem(sys.modules, "ray", None)
    ended = score(rows, tmp_path / "out.csv", "--ray", "auto")
    assert ended.status == 2
    assert 'needs the package ray, which is not installed: pip install "ordinal[scale]"' in ended.said
    assert score(rows, tmp_path / "out.csv").status == 0


def test_blocks_and_parts_are_the_same_after_their_way() -> None:
    """A slice travels without what it is a slice of; types and uneven rows are kept."""
    long = pa.array(["a"] * 100_000)
    columns = {"x": pa.array([1.5, None]), "s": long[5:7], "d": pa.array(["p", "q"]).dictionary_encode()}
    block = Block(columns, np.array([3, 5]), (Uneven(4, "one,two", "has 2 fields"),), 0.5)
    parcel = parcels.of_block(block)
    assert parcel[0].size < 5000
    found = parcels.block(parcel)
    assert found.columns == columns
    assert found.numbers.tolist() == [3, 5]
    assert found.uneven == block.uneven
    part = Part(pa.RecordBatch.from_pydict(columns), b"4,x\n", "row 4 has 2 fields", 1)
    back = parcels.part(parcels.of_part(part))
    assert back.answers.equals(part.answers)
    assert (back.rejected, back.first, back.set_aside) == (part.rejected, part.first, part.set_aside)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    """Two nodes of a CPU each."""
    with cluster() as running:
        yield running


@pytest.fixture(scope="module")
def rows(fruit_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with rows of fruit, a few of them bad, as CSV and Parquet, and what this machine answers."""
    folder = tmp_path_factory.mktemp("rows")
    random = np.random.default_rng(3)
    size = random.normal(size=ROWS)
    size[random.random(ROWS) < 0.001] = np.nan  # bad
    table = pa.table(
        {
            "id": np.arange(ROWS),
            "size": size,
            "weight": random.normal(size=ROWS),
            "colour": random.choice(["red", "green"], ROWS),
            "shape": ["round"] * ROWS,
        }
    )
    parquet.write_table(table, folder / "rows.parquet", row_group_size=70_001)
    arrow.write_csv(table, folder / "rows.csv")
    with (folder / "rows.csv").open("a") as file:
        file.write("too,few\n")
    for name, more in (
        ("parquet", MANY),
        ("csv", ("--keep-all", "--profile", "sell", "--coverage", "0.7")),
    ):
        with started(
            folder, "score", str(fruit_model), f"rows.{name}", f"local-{name}.parquet", *more
        ) as one:
            assert one.finish()[0] == 0, one.log
    return folder


def _same(rows: Path, kind: str, out: Path) -> None:
    """Compare an output with that of this machine: all rows, in order, each once, and the same numbers."""
    local = rows / f"local-{kind}.parquet"
    here, there = read(local), read(out)
    assert there.schema == here.schema
    for name in here.column_names:
        if pa.types.is_floating(here.schema.field(name).type):
            np.testing.assert_allclose(there[name].to_numpy(), here[name].to_numpy(), rtol=0, atol=1e-6)
        else:
            assert there[name].equals(here[name]), name
    assert beside(out).read_bytes() == beside(local).read_bytes()
    assert not out.with_name(f"{out.name}.parts").exists()


def _wait_for_parts(one: Command, out: Path, many: int) -> None:
    """Return once so many parts are there."""
    end = time.monotonic() + 240
    while len(list(out.with_name(f"{out.name}.parts").glob("*.arrow"))) < many:
        assert one.process.poll() is None, one.log
        assert time.monotonic() < end, one.log
        time.sleep(0.02)


@pytest.mark.slow
def test_a_cluster_answers_as_this_machine_does(
    nodes: Cluster, rows: Path, fruit_model: Path, tmp_path: Path
) -> None:
    """All options hold, from a machine that is no node too; nothing of Ray is among what is said."""
    given = ("--keep-all", "--profile", "sell", "--coverage", "0.7", "--json")
    command = ("score", str(fruit_model), str(rows / "rows.csv"), "out.parquet", *given)
    with started(tmp_path, *command, "--ray", nodes.client_address) as one:
        status, told = one.finish()
    assert status == 0, one.log
    _same(rows, "csv", tmp_path / "out.parquet")
    summary = json.loads(told)
    assert summary["scored"] + summary["set_aside"] == ROWS + 1
    said = [line for line in one.log.splitlines() if not line.startswith(("waiting for Ray", "rows.csv: "))]
    assert len(said) == 2, one.log


@pytest.mark.slow
def test_a_node_that_dies_and_a_driver_that_is_killed_cost_no_row(
    nodes: Cluster, rows: Path, fruit_model: Path, tmp_path: Path
) -> None:
    """Ended by SIGTERM, by SIGKILL, and with half of the cluster gone it comes to the end of one run."""
    out = tmp_path / "out.parquet"
    command = (
        "score",
        str(fruit_model),
        str(rows / "rows.parquet"),
        out.name,
        *MANY,
        "--ray",
        nodes.address,
    )
    with started(tmp_path, *command) as one:
        _wait_for_parts(one, out, 20)
        one.process.send_signal(signal.SIGTERM)
        assert one.finish()[0] == 143, one.log
        assert one.log.endswith("ended before its time: the same command goes on from here\n")
        assert len(one.lines) <= 3, one.log
    with started(tmp_path, *command) as one:
        _wait_for_parts(one, out, 120)
        one.kill()
    with started(tmp_path, *command, "--json") as one:
        one.wait_for("going on with what is in")
        _wait_for_parts(one, out, 200)
        nodes.nodes[1].kill()
        status, told = one.finish()
    assert status == 0, one.log
    assert json.loads(told)["before"] >= 120 * 500
    _same(rows, "parquet", out)
    _nothing_left(nodes)


def _nothing_left(nodes: Cluster) -> None:
    """Wait until no process of a node works for a driver that is gone."""
    end = time.monotonic() + 60
    while working := [
        pid for pid in nodes.nodes[0].pids if _title(pid).startswith(("ray::Desk", "ray::Map"))
    ]:
        assert time.monotonic() < end, working
        time.sleep(0.2)


def _title(pid: int) -> str:
    """Return what a process calls itself."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


@pytest.mark.slow
def test_nodes_of_other_software_are_told(
    nodes: Cluster, rows: Path, fruit_model: Path, tmp_path: Path
) -> None:
    """Answers would depend on where a row is scored; the sentence names both versions."""
    other = tmp_path / "other" / "onnxruntime_gpu-0.0.1.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime-gpu\nVersion: 0.0.1\n")
    root = Path(__file__).parents[2]
    command = ("score", str(fruit_model), str(rows / "rows.parquet"), "out.parquet", "--ray", nodes.address)
    with started(tmp_path, *command, PYTHONPATH=f"{other.parent}:{root}") as one:
        assert one.finish()[0] == 2, one.log
    *_, last = one.log.splitlines()
    assert "must have onnxruntime-gpu 0.0.1, as this machine has, and has 1." in last
    assert not list(tmp_path.glob("out*"))
