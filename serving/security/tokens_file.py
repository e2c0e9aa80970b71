"""Writes the file of tokens."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.errors import SettingError
from serving.quote import quoted
from serving.security.tokens import NAME, digest, parse

_MODE = 0o640  # what is kept of the mode of a file that is there
_HEAD = "# Made by `ordinal-serving token`: hashes of tokens. Remove a table to revoke its token.\n"


def add(
    path: Path,
    name: str,
    *,
    requests_per_second: float | None = None,
    concurrent: int | None = None,
    admin: bool = False,
    replace: bool = False,
) -> str:
    """Make a token, put its hash into the file, and return it.

    The file is replaced at once, so that a service reads the old or the new one; what else is in it,
    such as comments, stays.

    Raises SettingError where the file cannot be read or written, or has a token of that name already.
    """
    if not NAME.fullmatch(name):
        raise SettingError(f"NAME must be up to 64 letters, digits, - and _, got {quoted(name)}")
    # The prefix lets scanners of repositories and logs find it.
    made = f"ordinal_{secrets.token_urlsafe(32)}"
    lines = [f"[tokens.{name}]", f'sha256 = "{digest(made).hex()}"']
    if requests_per_second is not None:
        lines.append(f"requests_per_second = {float(requests_per_second)!r}")
    if concurrent is not None:
        lines.append(f"concurrent = {concurrent}")
    if admin:
        lines.append("admin = true")
    target = Path(os.path.realpath(path))
    with _alone(target.parent, path):
        try:
            text = target.read_text(encoding="utf-8")
        except FileNotFoundError:
            text = _HEAD
        except (OSError, UnicodeDecodeError) as error:
            raise SettingError(f"--file: cannot read {path}: {error}") from error
        if text != _HEAD and name in {entry.name for entry in parse(text.encode(), str(path))}:
            if not replace:
                raise SettingError(f"{path} has a token {name} already: take another name, or --replace it")
            text = _without(text, name)
        text = f"{text.rstrip()}\n\n" + "\n".join(lines) + "\n"
        if name not in {entry.name for entry in parse(text.encode(), str(path))}:
            raise SettingError(f"{path} is written in another way than this command's; edit it by hand")
        try:
            _write(target, text)
        except OSError as error:
            raise SettingError(f"--file: cannot write {path}: {error.strerror}") from error
    return made


def _without(text: str, name: str) -> str:
    """Return the text without the table of a token; as it is where that is not written as we do."""
    table = re.compile(
        rf"^\[tokens\.{re.escape(name)}\][^\n]*\n(?:(?!\s*\[)[^\n]*(?:\n|\Z))*", re.MULTILINE
    )
    return table.sub("", text, count=1)


@contextmanager
def _alone(folder: Path, path: Path) -> Iterator[None]:
    """Keep off others that would add a token at the same time, as long as the context is open."""
    try:
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise SettingError(f"--file: cannot write {path}: {error.strerror}") from error
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)


def _write(path: Path, text: str) -> None:
    """Put the text in the file's place; of who could read that, its owner and group still can."""
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # its mode is 0600
    try:
        with os.fdopen(number, "w", encoding="utf-8") as written:
            if path.exists():  # a service that runs as somebody else shall go on reading it
                before, now = path.stat(), os.fstat(written.fileno())
                if (before.st_uid, before.st_gid) != (now.st_uid, now.st_gid):
                    os.fchown(written.fileno(), before.st_uid, before.st_gid)
                os.fchmod(written.fileno(), before.st_mode & _MODE)
            written.write(text)
            written.flush()
            os.fsync(written.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
