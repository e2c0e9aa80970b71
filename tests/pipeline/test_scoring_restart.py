"""`ordinal-pipeline score`, killed and begun again, disturbed by others, short of room."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from commands import started
from pyarrow import parquet
from scored import Score, fruit, lines, peak, read
from tables import write_csv

from pipeline.scoring import parts as parts_module
from pipeline.scoring.parts import Parts, beside, held

ROWS, SIZE = 500, 20
GIVEN = ("--keep", "id", "--batch-rows", str(SIZE))


def _rows(path: Path, rows: int = ROWS) -> Path:
    """Write a CSV file with a bad row in every tenth and an uneven one at the end."""
    columns = fruit(rows)
    columns["size"] = ["?" if place % 10 == 3 else x for place, x in enumerate(columns["size"])]
    write_csv(path, columns)
    path.write_text(path.read_text() + "too,few\n")
    return path


class Killed(BaseException):
    """What a test stops a run by, at a place where a process may be killed."""


@pytest.mark.parametrize("name", ["out.csv", "out.csv.gz", "out.parquet"])
@pytest.mark.parametrize("after", [0, 1, 17])
def test_a_run_that_was_cut_off_goes_on(
    score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, after: int
) -> None:
    """Its output and its rejected rows are byte for byte those of one run."""
    rows = _rows(tmp_path / "rows.csv")
    (tmp_path / "whole").mkdir()
    score.well(rows, tmp_path / "whole" / name, *GIVEN)
    whole = [(tmp_path / "whole" / name).read_bytes(), beside(tmp_path / "whole" / name).read_bytes()]
    add = Parts.add

    def cut(self: Parts, index: int, part: parts_module.Part) -> None:
        if index == after:
            (self.folder / "part").write_bytes(b"half of it")
            raise Killed
        add(self, index, part)

    with monkeypatch.context() as patched:
        patched.setattr(Parts, "add", cut)
        with pytest.raises(Killed):
            score(rows, tmp_path / name, *GIVEN)
    assert not (tmp_path / name).exists()
    ended = score(rows, tmp_path / name, *GIVEN)
    assert ended.status == 0
    assert ("going on with what is in" in ended.said) == (after > 0)
    assert [(tmp_path / name).read_bytes(), beside(tmp_path / name).read_bytes()] == whole
    assert not (tmp_path / f"{name}.parts").exists()


@pytest.mark.parametrize("step", ["fsync", "done", "rejected", "output", "parts"])
def test_a_run_that_was_cut_off_at_its_end_ends(
    score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Whatever was in its place by then; that OUT is there is no reason to refuse it."""
    rows, out = _rows(tmp_path / "rows.csv"), tmp_path / "out.csv"
    (tmp_path / "whole").mkdir()
    score.well(rows, tmp_path / "whole" / "out.csv", *GIVEN)
    replace, unlink = Path.replace, Path.unlink

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        if step == "fsync":
            patched.setattr(
                parts_module, "_synchronise", lambda path: killed() if path.name == "output" else None
            )
        elif step == "done":
            patched.setattr(Parts, "leave", killed)
        elif step == "parts":
            patched.setattr(
                Path,
                "unlink",
                lambda self, **_: killed() if self.name == "plan.json" else unlink(self, **_),
            )
        else:
            name = {"rejected": "rejected.csv", "output": "output"}[step]
            patched.setattr(
                Path, "replace", lambda self, to: killed() if self.name == name else replace(self, to)
            )
        with pytest.raises(Killed):
            score(rows, out, *GIVEN)
    ended = score(rows, out, *GIVEN)
    assert ended.status == 0, ended.said
    assert f"{len(lines(beside(out)))} rows are set aside" in ended.said
    assert out.read_bytes() == (tmp_path / "whole" / "out.csv").read_bytes()
    assert beside(out).read_bytes() == beside(tmp_path / "whole" / "out.csv").read_bytes()
    assert not (tmp_path / "out.csv.parts").exists()


def test_parts_of_another_run_are_not_gone_on_with(
    score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the rows or an option have changed, it says so and begins anew."""
    rows, out = _rows(tmp_path / "rows.csv"), tmp_path / "out.csv"

    def cut(after: int) -> None:
        add = Parts.add
        with monkeypatch.context() as patched:
            patched.setattr(
                Parts,
                "add",
                lambda self, i, part: (_ for _ in ()).throw(Killed) if i == after else add(self, i, part),
            )
            with pytest.raises(Killed):
                score(rows, out, *GIVEN)

    cut(5)
    ended = score(rows, out, "--profile", "sell", *GIVEN)
    assert "beginning anew: " in ended.said
    assert "is of a run that differs in --profile\n" in ended.said
    out.unlink()
    beside(out).unlink()
    cut(5)
    _rows(rows, ROWS + 1)
    ended = score(rows, out, *GIVEN)
    assert "differs in the file of rows" in ended.said
    assert read(out)["row"].to_pylist()[-1] == ROWS + 1


def test_a_part_that_is_not_whole_is_done_again(
    score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it may be where the machine itself went down."""
    rows, out = _rows(tmp_path / "rows.csv"), tmp_path / "out.csv"
    with monkeypatch.context() as patched:
        patched.setattr(Parts, "finish", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            score(rows, out, *GIVEN)
    for index, content in ((7, b""), (8, b"ARROW1")):
        (tmp_path / "out.csv.parts" / f"{index:08}.arrow").write_bytes(content)
    ended = score(rows, out, *GIVEN)
    assert ended.status == 0
    assert f"{7 * SIZE} rows of them before" in ended.said
    assert read(out).num_rows == ROWS - ROWS // 10


def test_two_at_once_are_refused(score: Score, tmp_path: Path) -> None:
    """The second one names the process of the first, and leaves what it has."""
    rows, out = _rows(tmp_path / "rows.csv"), tmp_path / "out.csv"
    with held(out):
        ended = score(rows, out)
        assert ended.status == 1
        assert f"another process ({os.getpid()}) is scoring to {out}" in ended.said
        assert (tmp_path / "out.csv.parts").is_dir()
    assert not (tmp_path / "out.csv.parts").exists()
    assert score(rows, out).status == 0


def test_a_file_that_changes_meanwhile_is_told(
    score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers to rows of two states of a file are answers to none of them."""
    rows, out = _rows(tmp_path / "rows.csv"), tmp_path / "out.csv"
    add = Parts.add

    def touch(self: Parts, index: int, part: parts_module.Part) -> None:
        add(self, index, part)
        os.utime(rows, ns=(1, index))

    monkeypatch.setattr(Parts, "add", touch)
    ended = score(rows, out, *GIVEN)
    assert (ended.status, "rows.csv has changed while it was read" in ended.said) == (1, True)
    assert not out.exists()


FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
from pipeline.__main__ import main
main()
"""


@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_nothing_is_lost(
    fruit_model: Path, score: Score, tmp_path: Path
) -> None:
    """What is done is gone on with once there is room."""
    rows, out = _rows(tmp_path / "rows.csv", 5000), tmp_path / "out.csv"
    command = ["score", str(fruit_model), str(rows), str(out), *GIVEN]
    done = subprocess.run(
        [sys.executable, "-c", FULL.format(limit=100_000), *command], capture_output=True, text=True
    )
    assert done.returncode == 1
    *_, last = done.stderr.splitlines()
    assert "out.csv.parts cannot be written: File too large; what is done is kept: give the same " in last
    ended = score(rows, out, *GIVEN)
    assert "going on" in ended.said
    score.well(rows, tmp_path / "whole.csv", *GIVEN)
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_killed_at_any_time_it_goes_on(fruit_model: Path, tmp_path: Path, name: str) -> None:
    """A real process, SIGKILL again and again: the output is that of one run."""
    random = np.random.default_rng(3)
    rows = 400_000
    columns = {"id": np.arange(rows), "size": random.normal(size=rows), "weight": random.normal(size=rows)}
    columns["size"][random.random(rows) < 0.001] = np.nan  # bad
    texts = {"colour": random.choice(["red", "green"], rows), "shape": ["round"] * rows}
    parquet.write_table(pa.table({**columns, **texts}), tmp_path / "rows.parquet", row_group_size=70_001)
    given = (str(fruit_model), str(tmp_path / "rows.parquet"))
    more = ("--keep", "id", "--batch-rows", "2000")
    with started(tmp_path, "score", *given, "whole-" + name, *more) as one:
        assert one.finish()[0] == 0, one.log
    kills = 0
    while True:
        with started(tmp_path, "score", *given, name, *more) as one:
            folder, before = tmp_path / f"{name}.parts", len(list(tmp_path.glob(f"{name}.parts/*.arrow")))
            aim = before + int(random.integers(25, 60))
            while one.process.poll() is None and len(list(folder.glob("*.arrow"))) < aim:
                time.sleep(0.002)
            time.sleep(float(random.uniform(0, 0.05)))
            if one.process.poll() is None:
                one.process.send_signal(signal.SIGKILL)
                kills += 1
            elif one.process.returncode == 0:
                break
            one.process.wait(30)
            assert one.process.returncode in (0, -signal.SIGKILL), one.log
            if (tmp_path / name).exists() and not folder.exists():
                break  # killed after its very last act
    assert kills >= 3
    whole, found = read(tmp_path / f"whole-{name}"), read(tmp_path / name)
    assert found.equals(whole)
    if name.endswith(".csv"):
        assert (tmp_path / name).read_bytes() == (tmp_path / f"whole-{name}").read_bytes()
    assert beside(tmp_path / name).read_bytes() == beside(tmp_path / f"whole-{name}").read_bytes()
    assert not (tmp_path / f"{name}.parts").exists()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(fruit_model: Path, tmp_path: Path) -> None:
    """A million rows of twenty columns take less than 600 MB, imports and all."""
    random = np.random.default_rng(0)
    path, rows = tmp_path / "rows.parquet", 2**16
    others = {f"x{place}": random.normal(size=rows).astype(np.float32) for place in range(16)}
    texts = {"colour": random.choice(["red", "green"], rows), "shape": ["round"] * rows}
    batch = pa.table(
        {"size": random.normal(size=rows), "weight": random.normal(size=rows), **texts, **others}
    )
    with parquet.ParquetWriter(path, batch.schema) as file:
        for _ in range(16):
            file.write_table(batch)
    memory, said = peak(tmp_path, str(fruit_model), str(path), "out.parquet", "--keep-all")
    assert memory < 600_000
    assert "1,048,576 rows scored" in said


@pytest.mark.slow
def test_ctrl_c_ends_it_in_one_sentence(fruit_model: Path, tmp_path: Path) -> None:
    """And the same command goes on."""
    rows = write_csv(tmp_path / "rows.csv", fruit(100_000))
    given = ("score", str(fruit_model), str(rows), "out.csv", "--batch-rows", "500")
    with started(tmp_path, *given) as one:
        while not list(tmp_path.glob("out.csv.parts/*.arrow")):
            time.sleep(0.005)
        one.process.send_signal(signal.SIGINT)
        assert one.finish()[0] == 130
        assert one.log == "ended before its time: the same command goes on from here\n"
    with started(tmp_path, *given) as one:
        assert one.finish()[0] == 0
        assert "going on with what is in" in one.log


@pytest.mark.slow
def test_a_registered_model_is_scored_with(fruit_model: Path, score: Score, tmp_path: Path) -> None:
    """By its name and a version or an alias; what is not there is named with its neighbour."""
    from registered import Store

    from pipeline.tracking import registry

    store = Store(tmp_path, fruit_model)
    version = store.register(name="fruit")
    registry.set_alias(store.uri, "fruit", registry.CHAMPION, version)
    rows = write_csv(tmp_path / "rows.csv", fruit(20))
    score.well(rows, tmp_path / "file.csv")
    for place, which in enumerate(((), ("--version", "1"), ("--alias", "champion"))):
        ended = score(rows, tmp_path / f"{place}.csv", *which, "--tracking-uri", store.uri, model="fruit")
        assert ended.status == 0, ended.said
        assert (tmp_path / f"{place}.csv").read_bytes() == (tmp_path / "file.csv").read_bytes()
    ended = score(rows, tmp_path / "no.csv", "--tracking-uri", store.uri, model="friut")
    assert (ended.status, "did you mean 'fruit'?" in ended.said) == (2, True)
    ended = score(rows, tmp_path / "no.csv", "--version", "1")
    assert (ended.status, "--version and --alias are of registered models" in ended.said) == (2, True)
