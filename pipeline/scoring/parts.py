"""What a run has scored so far, in a folder beside its output, so that one that was killed goes on."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.errors import InputError, PipelineError

_LOCK, _PLAN, _DONE = "lock", "plan.json", "done.json"
_OUTPUT, _REJECTED, _PART, _JSON = "output", "rejected.csv", "part", "json"
_NAMES = frozenset((_LOCK, _PLAN, _DONE, _OUTPUT, _REJECTED, _PART, _JSON))
_NUMBERED = re.compile(r"\d{8,}\.arrow")

Plan = Mapping[str, Any]
"""All that the answers depend on, as JSON has it: of runs with equal plans one goes on with the other's."""


@dataclass(frozen=True, eq=False)
class Part:
    """What became of a block.

    Attributes:
        answers: To its good rows.
        rejected: Lines about those that are set aside.
        first: What is said of the first of them; "" where there are none.
        set_aside: How many they are.
    """

    answers: pa.RecordBatch
    rejected: bytes
    first: str
    set_aside: int


class Parts:
    """The folder of one output, held by this process.

    A file is written under another name first, so that what has its name is whole. The folder goes once
    the output is in its place.
    """

    def __init__(self, out: Path, folder: Path) -> None:
        self._out, self.folder = out, folder
        self.unfinished = folder / _OUTPUT
        self.rejected = folder / _REJECTED

    def finished(self, plan: Plan) -> dict[str, Any] | None:
        """Return what `finish` was told by a run of the plan that was killed before it had left."""
        done = self._read(_DONE)
        return done["told"] if done is not None and done["plan"] == plan else None

    def hold(self, plan: Plan) -> bool:
        """Return whether there are parts of a run of the plan."""
        return self._read(_PLAN) == plan and self._read(_DONE) is None and self._path(0).exists()

    def begin(self, plan: Plan) -> list[str]:
        """Make the folder one of the plan; return the keys of what differs where it was one of another."""
        left = self._read(_PLAN)
        if left == plan and self._read(_DONE) is None:
            return []
        for path in _own(self.folder):
            if path.name != _LOCK:
                path.unlink()
        self._write(_PLAN, plan)
        if left is None:
            return []
        return [key for key in plan if left.get(key) != plan[key]]

    def done(self) -> Iterator[Part]:
        """Yield the parts that are there, from the first on, as long as none is missing."""
        index = 0
        while (part := self._part(index)) is not None:
            yield part
            index += 1

    def add(self, index: int, part: Part) -> None:
        """Keep a part."""
        about = {"rejected": part.rejected, "first": part.first, "set_aside": str(part.set_aside)}
        unfinished = self.folder / _PART
        schema = part.answers.schema.with_metadata(about)
        with pa.OSFile(str(unfinished), "wb") as file, pa.ipc.new_file(file, schema) as stream:
            stream.write_batch(part.answers)
        unfinished.replace(self._path(index))

    def finish(self, plan: Plan, told: Mapping[str, Any]) -> None:
        """Put the output in its place, and leave nothing else; the rows that are set aside go beside it."""
        for path in (self.unfinished, self.rejected):
            if path.exists():
                _synchronise(path)
        self._write(_DONE, {"plan": plan, "told": told})
        self.leave(told)

    def leave(self, told: Mapping[str, Any]) -> None:
        """Do what is left to do once `finish` has noted that all is written; it may be done twice."""
        aside = beside(self._out)
        if self.rejected.exists():
            self.rejected.replace(aside)
        elif not told["set_aside"]:
            aside.unlink(missing_ok=True)  # of an earlier run
        if self.unfinished.exists():
            self.unfinished.replace(self._out)
        for path in _own(self.folder):
            if path.name not in (_LOCK, _DONE):
                path.unlink()
        (self.folder / _DONE).unlink()

    def _path(self, index: int) -> Path:
        return self.folder / f"{index:08}.arrow"

    def _part(self, index: int) -> Part | None:
        try:
            with pa.OSFile(str(self._path(index))) as file, pa.ipc.open_file(file) as stream:
                about = stream.schema.metadata
                answers = stream.get_batch(0).replace_schema_metadata(None)
        except (FileNotFoundError, pa.ArrowInvalid):  # cut short by a machine that went down
            return None
        return Part(answers, about[b"rejected"], about[b"first"].decode(), int(about[b"set_aside"]))

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return found

    def _write(self, name: str, content: object) -> None:
        unfinished = self.folder / _JSON
        unfinished.write_text(json.dumps(content), encoding="utf-8")
        _synchronise(unfinished)
        unfinished.replace(self.folder / name)


def beside(out: Path) -> Path:
    """Return where the rows of an output go that are set aside."""
    return out.with_name(f"{out.name}.rejected.csv")


def folder_of(out: Path) -> Path:
    """Return where the parts of an output lie."""
    return out.with_name(f"{out.name}.parts")


def _own(folder: Path) -> list[Path]:
    """Return what is in a folder by a name that we write."""
    return [path for path in folder.iterdir() if path.name in _NAMES or _NUMBERED.fullmatch(path.name)]


@contextmanager
def held(out: Path) -> Iterator[Parts]:
    """Hold the folder of an output, which is made where it is not there; it goes where no part is in it.

    Raises:
        InputError: Where there can be none.
        PipelineError: Where another process holds it.
    """
    folder = folder_of(out)
    try:
        _refuse_others(folder)
        lock = _lock(out, folder)
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror or error}") from error
    try:
        yield Parts(out, folder)
    finally:
        left = _own(folder)
        if not any(path.name == _DONE or _NUMBERED.fullmatch(path.name) for path in left):
            for path in left:
                path.unlink()  # the lock too
            with suppress(OSError):  # another process has come in between
                folder.rmdir()
        os.close(lock)


def _refuse_others(folder: Path) -> None:
    """Raise InputError where something else than parts is in the folder, which somebody else has made."""
    with suppress(FileNotFoundError):
        others = sorted(set(folder.iterdir()).difference(_own(folder)))
        if others:
            raise InputError(
                f"{folder} must hold parts of a scoring alone, and {others[0].name!r} is in it; move that "
                "away, or give another OUT"
            )


def _lock(out: Path, folder: Path) -> int:
    """Return an open file that is locked; the kernel frees it with the process, however that ends."""
    while True:
        folder.mkdir(exist_ok=True)
        try:
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # who held it has just left
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(lock, 20).decode()
            os.close(lock)
            raise PipelineError(
                f"another process ({holder or 'which has just begun'}) is scoring to {out}; wait for it, "
                "or give another OUT"
            ) from error
        # Unless the file was removed before it was locked, and another one is there now. The lock of the
        # package filelock does not tell which file it has.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), (folder / _LOCK).stat()):
                os.truncate(lock, 0)
                os.write(lock, str(os.getpid()).encode())
                return lock
        os.close(lock)


def _synchronise(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
