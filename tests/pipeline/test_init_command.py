"""`init` and `validate` as somebody types them."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config import load_config

COMMAND = (sys.executable, "-m", "pipeline")
ROWS = "size,colour,taste\n" + "".join(
    f"{row % 7}.5,{('red', 'green')[row % 2]},{('bland', 'fine', 'superb')[row % 3]}\n"
    for row in range(120)
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a CSV whose labels are of no known scale."""
    (tmp_path / "cheese.csv").write_text(ROWS, encoding="utf-8")
    return tmp_path


def _run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_on_a_terminal_it_asks_for_the_order(folder: Path) -> None:
    """Somebody who is asked for the order answers, and the config has it."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "init", "cheese.csv"], cwd=folder, stdin=theirs, stderr=subprocess.PIPE, text=True
    ) as process:
        os.write(ours, b"bland, fine, superb\n")
        _, told = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 0, told
    assert "The labels are bland, fine, superb; which is the lowest" in told
    assert load_config(folder / "cheese.toml").data.labels == ("bland", "fine", "superb")


def test_where_nobody_can_be_asked_it_says_what_to_give(folder: Path) -> None:
    """One sentence with the option to be given, status 2, and no file; with the option there is one."""
    refused = _run("init", "cheese.csv", folder=folder)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "lowest first, as in --labels bland,fine,superb" in refused.stderr
    assert not (folder / "cheese.toml").exists()
    given = _run("init", "cheese.csv", "--labels", "bland,fine,superb", "--label", "taste", folder=folder)
    assert given.returncode == 0, given.stderr
    assert "120 rows with 3 labels in column 'taste'" in given.stderr


@pytest.mark.slow
def test_what_init_writes_is_valid_and_validate_shows_it(folder: Path) -> None:
    """Labels by part, columns with what they hold, warnings and trials, before any training."""
    _run("init", "cheese.csv", "--labels", "bland,fine,superb", folder=folder)
    shown = _run("validate", "cheese.toml", folder=folder)
    assert shown.returncode == 0, shown.stderr
    for text in (
        "superb",
        "green, red",
        "0.5 … 6.5",
        "4 trials: cross_entropy; rps; then the same with the next seed",
        "can be trained",
    ):
        assert text in shown.stdout, shown.stdout
    assert "warning: " in shown.stdout  # 42 different rows in 120
    broken = _run("validate", "cheese.toml", "--set", "data.label=tast", folder=folder)
    assert broken.returncode == 2
    assert "has no column 'tast'; did you mean 'taste'?" in broken.stderr
    assert "Traceback" not in broken.stderr
