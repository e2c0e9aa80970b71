"""Where a run keeps what it has reached: who may go on with it, and who may not."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline import run_folder
from pipeline.config import Config, Named
from pipeline.data import Dataset
from pipeline.errors import PipelineError
from pipeline.fingerprint import fingerprint
from pipeline.run_folder import DAYS, RUNS, RunFolder, is_alive
from pipeline.sweep import Pair, Trial
from pipeline.sweep.tried import Drawn, Ended

HOLDER = """
import sys, time
from pipeline.run_folder import RunFolder
with RunFolder.held("wine", sys.argv[1]) as folder:
    folder.note(run_id="abc", seconds=4.5)
    print(folder.path, folder.resumed, flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Holder:
    """Another process that holds a folder until it is killed."""

    def __init__(self, mark: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, mark], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        path, self.resumed = self.process.stdout.readline().split()
        self.path = Path(path)

    def kill(self) -> None:
        """End it as the kernel does where memory is short."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.communicate()


def test_a_killed_run_is_gone_on_with_by_the_same_alone() -> None:
    """The newest folder of the fingerprint, while nobody holds it; another fingerprint has a new one."""
    older, newer = Holder("mine"), Holder("mine")
    assert older.path != newer.path
    assert is_alive(str(older.path))
    with RunFolder.held("wine", "mine") as folder:
        assert folder.path not in (older.path, newer.path)
        assert not folder.resumed
        folder.finish()
    older.kill()
    newer.kill()
    assert not is_alive(str(newer.path))
    with RunFolder.held("wine", "another") as folder:
        assert not folder.resumed
        folder.finish()
    with RunFolder.held("wine", "mine") as folder:
        assert (folder.path, folder.resumed) == (newer.path, True)
        assert (folder.run_id, folder.seconds) == ("abc", 4.5)
        assert is_alive(str(folder.path))
        with RunFolder.held("wine", "mine") as other:
            assert other.path == older.path


def test_a_finished_run_begins_anew() -> None:
    """Nothing is left of it; one that ended with an error is gone on with."""
    with RunFolder.held("wine", "mine") as folder:
        folder.note(run_id="first")
        folder.finish()
    assert [path.name for path in (RUNS / "wine").iterdir()] == [".lock"]
    with RunFolder.held("wine", "mine") as folder:
        assert not folder.resumed
        folder.note(run_id="second")
    with RunFolder.held("wine", "mine") as folder:
        assert (folder.resumed, folder.run_id) == (True, "second")


def test_trials_are_kept_whole(tmp_path: Path) -> None:
    """What was kept comes back, the rows are written once, and files that were cut short do not count."""
    pair = Pair(Named(name="rps"), Named(name="softmax"))
    drawn = [Drawn(Trial(number, pair, 0), {"pair": "rps"}) for number in (10, 3)]
    ended = Ended({5: 0.5}, None, "pruned", pruned=True)
    written = tmp_path / "written"
    with RunFolder.held("wine", "mine") as folder:
        for one in drawn:
            folder.begin(one)
        folder.end(3, ended)
        folder.note(searched=True)
        for content in ("first", "second"):
            written.write_text(content, encoding="utf-8")
            folder.keep_rows(written)
        assert folder.rows.read_text(encoding="utf-8") == "first"
        (folder.path / "4.ended.part").write_bytes(b"half")
    with RunFolder.held("wine", "mine") as folder:
        assert folder.begun() == drawn[::-1]
        assert folder.ended() == {3: ended}
        assert folder.searched
        assert folder.verdict is None


def test_a_full_disk_is_one_sentence(data: Dataset) -> None:
    """Whatever is written when the disk is full, the message says so, and what was there is whole."""
    with RunFolder.held("wine", "mine") as folder:
        folder.note(run_id="abc")
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
        try:
            for write in (
                lambda: folder.note(run_id="x" * 100),
                lambda: folder.keep_seen(data),
                lambda: folder.end(0, Ended({}, None, "y" * 100)),
            ):
                with pytest.raises(PipelineError, match=r"cannot be kept in .*: File too large; give"):
                    write()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with RunFolder.held("wine", "mine") as folder:
        assert (folder.run_id, folder.ended(), folder.rows.exists()) == ("abc", {}, False)


def test_a_run_that_nobody_goes_on_with_is_cleared_away() -> None:
    """After two weeks, unless its process still lives."""
    with RunFolder.held("wine", "old") as old, RunFolder.held("wine", "held") as held:
        pass
    with RunFolder.held("wine", "held") as held:
        for one in (old, held):
            os.utime(one.path, (0, time.time() - (DAYS + 1) * 86400))
        with RunFolder.held("wine", "new"):
            assert not old.path.exists()
            assert held.path.exists()


def test_the_folder_of_another_user_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody can tell whether its process lives, it is taken to."""

    def forbidden(self: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_dir", forbidden)  # root, who runs tests in containers, may look anywhere
    assert is_alive(str(tmp_path / "secret" / "run"))


def test_what_was_left_half_made_or_half_removed_is_cleared_away() -> None:
    """A process may be killed while it makes its folder or removes it; a broken one is left alone."""
    root = RUNS / "wine"
    for name in (".new-2026-11-26T000000-1", ".done-2026-11-26T000000-2", "2026-11-26T000000-3"):
        (root / name).mkdir(parents=True)
        (root / name / "run.json").write_text("{", encoding="utf-8")
    with RunFolder.held("wine", "mine") as folder:
        assert not folder.resumed
        left = sorted(path.name for path in root.iterdir() if path.is_dir())
        assert left == ["2026-11-26T000000-3", folder.path.name]


def test_a_place_that_cannot_be_written_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One sentence names the folder."""
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(run_folder, "RUNS", tmp_path / "file" / "runs")
    with (
        pytest.raises(PipelineError, match=r"cannot be kept in .*runs/wine: Not a directory"),
        RunFolder.held("wine", "mine"),
    ):
        pass


def test_the_fingerprint_is_of_all_that_counts(config: Config, data: Dataset, tmp_path: Path) -> None:
    """Config, rows, the store, and the source of a backbone of one's own; nothing else."""
    mark = fingerprint(config, data, "sqlite:///a.db")
    assert mark == fingerprint(config.model_copy(), data, "sqlite:///a.db")
    assert mark != fingerprint(config, data, "sqlite:///b.db")
    search = config.search.model_copy(update={"seed": 1})
    assert mark != fingerprint(config.model_copy(update={"search": search}), data, "sqlite:///a.db")
    fewer = Dataset(data.cells[:-1], data.y[:-1], data.labels, data.parts)
    assert mark != fingerprint(config, fewer, "sqlite:///a.db")
    module = tmp_path / "mine.py"
    marks = []
    for text in ("x = 1", "x = 2"):
        module.write_text(text, encoding="utf-8")
        model = config.model.model_copy(update={"backbone": f"{module}:f"})
        marks.append(fingerprint(config.model_copy(update={"model": model}), data, "sqlite:///a.db"))
    assert len({*marks, mark}) == 3
    assert np.array_equal(fewer.cells, data.cells[:-1])
