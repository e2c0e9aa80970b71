"""`make up`: what it does before and after it asks an engine."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from pathlib import Path

import composed


def test_secrets_are_made_once(tmp_path: Path) -> None:
    """Random, never printed, unseen by other users and by git; none is made where one is gone."""
    shutil.copy(composed.ROOT / "deploy" / "compose" / "secrets.sh", tmp_path)

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run([tmp_path / "secrets.sh"], capture_output=True, text=True, check=False)

    made = run()
    assert made.returncode == 0, made.stderr
    folder = tmp_path / "secrets"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    first = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    assert set(first) - {".gitignore"} == set(composed.read()["secrets"])
    passwords = re.findall(r"[0-9a-f]{20,}", " ".join(first.values()))
    assert len(set(passwords)) == 6  # four passwords, and of S3 a key and its secret
    assert len(passwords) == 8  # the last two in two files
    assert not any(word in made.stdout + made.stderr for word in passwords)
    # The users of containers are others than the owner of the folder.
    assert all(stat.S_IMODE((folder / name).stat().st_mode) == 0o444 for name in composed.read()["secrets"])
    assert first[".gitignore"] == "*\n"
    assert run().returncode == 0
    assert {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()} == first
    (folder / "s3.json").unlink()
    again = run()
    assert again.returncode == 1
    assert "must hold s3.json" in again.stderr
    assert [path.name for path in tmp_path.glob("secrets*")].count("secrets") == 1


def _copy_of_run(root: Path, folder: Path) -> Path:
    (folder / "deploy" / "compose").mkdir(parents=True)
    for name in ("run.sh", "secrets.sh"):
        shutil.copy(root / "deploy" / "compose" / name, folder / "deploy" / "compose")
    return folder / "deploy" / "compose" / "run.sh"


def _programs(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).symlink_to(str(shutil.which(name)))
    return folder


TOOLS = ("bash", "cat", "chmod", "dirname", "env", "head", "mktemp", "mv", "od", "rm", "timeout", "tr")


def test_without_an_engine_it_says_so(root: Path, tmp_path: Path) -> None:
    """`make up` names what is missing and what does without, ends with status 1, and leaves nothing."""
    path = _programs(tmp_path / "bin", *TOOLS)
    script = _copy_of_run(root, tmp_path / "checkout")
    done = subprocess.run(
        [script, "up"], env={"PATH": str(path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "needs a container engine that answers" in done.stderr
    assert "make stack" in done.stderr
    assert not (tmp_path / "checkout" / "deploy" / "compose" / "secrets").exists()


ENGINE = """#!/bin/sh
echo "$@" >> "$LOG"
case "$*" in
  "compose up --help") echo "      --wait   Wait for services to be running|healthy" ;;
  "volume inspect"*) exit "${VOLUME:-1}" ;;
  *" port "*) echo 127.0.0.1:1234 ;;
esac
"""
"""What says of itself that it is an engine; there is none on machines that run these tests."""


def _with_engine(
    root: Path, folder: Path, **more: str
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    path = _programs(folder / "bin", *TOOLS)
    (path / "docker").write_text(ENGINE, encoding="utf-8")
    (path / "docker").chmod(0o755)
    script = _copy_of_run(root, folder / "checkout")
    (folder / "checkout" / "compose.override.yaml").touch()
    environment = {"PATH": str(path), "LOG": str(folder / "log"), **more}
    done = subprocess.run([script, "up"], env=environment, capture_output=True, text=True, check=False)
    return done, (folder / "log").read_text(encoding="utf-8").splitlines()


def test_with_an_engine_it_builds_and_waits(root: Path, tmp_path: Path) -> None:
    """It makes secrets, builds, waits until all is healthy, and tells addresses and where passwords lie."""
    done, asked = _with_engine(root, tmp_path, GPU="1")
    assert done.returncode == 0, done.stderr
    files = "compose --file compose.yaml --file deploy/compose/gpu.yaml --file compose.override.yaml"
    assert f"{files} build mlflow serve worker" in asked
    assert [line for line in asked if line.startswith(f"{files} up --detach --wait ")]
    assert "MLflow         http://127.0.0.1:1234" in done.stdout
    assert "deploy/compose/secrets/grafana_admin" in done.stdout
    assert (tmp_path / "checkout" / "deploy" / "compose" / "secrets" / "grafana_admin").is_file()


def test_new_passwords_are_not_given_to_an_old_database(root: Path, tmp_path: Path) -> None:
    """Where the secrets are gone and the volumes are not, it says what to do and starts nothing."""
    done, asked = _with_engine(root, tmp_path, VOLUME="0")
    assert done.returncode == 1
    assert "put that folder back" in done.stderr
    assert not [line for line in asked if " build" in line]
