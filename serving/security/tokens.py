"""Tokens: who may call, and how often; the file has their hashes only."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc

from serving.errors import SettingError
from serving.quote import listed
from serving.security.files import Files, content

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Names of tokens."""

_LONGEST = 256  # characters of a token that is looked at
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SLOWEST, _FASTEST = 1e-6, 1e9  # requests a second
_MOST = 1_000_000  # calls at a time
_KEYS = ("sha256", "requests_per_second", "concurrent", "admin")


def digest(token: str) -> bytes:
    """Return the hash under which a token is kept.

    Passwords need a slow hash with a salt, since people choose them from few. A token is 256 random bits:
    nobody can try them all, however fast the hash is, and no two are the same.
    """
    return hashlib.sha256(token.encode(errors="replace")).digest()


@dataclass(frozen=True)
class Entry:
    """A token as the file has it."""

    name: str
    sha256: bytes
    requests_per_second: float | None = None
    concurrent: int | None = None
    admin: bool = False


class Token:
    """A token in use, and what has been asked with it in this process; used on one thread."""

    __slots__ = ("_filled", "_level", "entry", "handlers", "turn", "under_way", "valid")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.valid = True  # as long as the file has it
        self.under_way = 0
        self.turn = asyncio.Lock()  # of the streams that have a message
        self.handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}  # of the guard
        self._level = _most(entry)
        self._filled = time.monotonic()

    def wait(self) -> float:
        """Return the seconds until one more request is within the limit; 0 where it is now."""
        rate = self.entry.requests_per_second
        if rate is None:
            return 0.0
        now = time.monotonic()
        self._level = min(_most(self.entry), self._level + (now - self._filled) * rate)
        self._filled = now
        return max(0.0, (1.0 - self._level) / rate)

    def take(self) -> None:
        """Count a request; without a rate nothing is counted, since nothing would ever be forgotten."""
        if self.entry.requests_per_second is not None:
            self._level -= 1.0

    def change(self, entry: Entry) -> None:
        """Take other limits; what was used stays used where the rate is the same. On any thread."""
        before, self.entry = self.entry, entry
        if entry.requests_per_second != before.requests_per_second:
            self._level, self._filled = _most(entry), time.monotonic()
        self.handlers = {}  # last, for the guard that makes some of them meanwhile


def _most(entry: Entry) -> float:
    """Requests that may come at once: those of a second, and one at least."""
    return max(1.0, entry.requests_per_second or 0.0)


class Tokens:
    """The tokens of a file, which is read again when it changes."""

    def __init__(self, path: str) -> None:
        """Read the file; raises SettingError where it cannot be used."""
        self._path = path
        self._files = Files([path])
        self._tokens = {entry.sha256: Token(entry) for entry in read(path)}
        if not self._tokens:
            raise SettingError(
                f"--tokens: {path} must have a token, else nobody may call; "
                f"ordinal-serving token NAME --file {path} makes one"
            )

    def find(self, sent: str) -> Token | None:
        """Return the token that was sent; None where it is none of these."""
        if len(sent) > _LONGEST:
            return None
        asked = digest(sent)
        # Python compares the keys of a dictionary only where their hashes, which differ from process to
        # process, are equal. How long that takes tells nothing of the kept digests, and of a digest nobody
        # could make a token anyway; what is compared in the end is compared in constant time.
        found = self._tokens.get(asked)
        kept = bytes(len(asked)) if found is None else found.entry.sha256
        return found if hmac.compare_digest(kept, asked) else None

    def look(self) -> str:
        """Take in the file if it has changed; return what to tell of that, if anything.

        Raises SettingError where it cannot be used; the tokens before stay in use.
        """
        if not self._files.changed():
            return ""
        before = self._tokens
        entries = {entry.sha256: entry for entry in read(self._path)}
        # What was counted stays with a token whose limits have changed.
        now = {key: before.get(key) or Token(entry) for key, entry in entries.items()}
        for key, token in now.items():
            if token.entry != entries[key]:
                token.change(entries[key])
        self._tokens = now
        for key in before.keys() - now.keys():
            before[key].valid = False
        come = sorted(now[key].entry.name for key in now.keys() - before.keys())
        gone = sorted(before[key].entry.name for key in before.keys() - now.keys())
        return f"{self._path} was read again: {len(now)} tokens" + "".join(
            f"; {what}: {listed(names)}" for what, names in (("new", come), ("no longer", gone)) if names
        )


def read(path: str) -> tuple[Entry, ...]:
    """Return the tokens of a file; raises SettingError where it cannot be used."""
    return parse(content("--tokens", path), path)


def parse(text: bytes, path: str) -> tuple[Entry, ...]:
    """Return the tokens of a file's text; raises SettingError, which never quotes what is in it."""
    try:
        found = tomllib.loads(text.decode())
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, and deep nesting
        where = re.search(r"\(at .*\)", str(error))
        raise SettingError(
            f"--tokens: {path} must be TOML, and is not{f' {where[0]}' if where else ''}"
        ) from None
    tables = found.pop("tokens", None)
    if found or not isinstance(tables, dict):
        raise SettingError(f"--tokens: {path} must have tables [tokens.NAME] and nothing else")
    entries = tuple(_entry(name, table, path) for name, table in tables.items())
    names: dict[bytes, str] = {}
    for entry in entries:
        if entry.sha256 in names:
            raise SettingError(
                f"--tokens: {path} must have each sha256 once; "
                f"{names[entry.sha256]} and {entry.name} have the same"
            )
        names[entry.sha256] = entry.name
    return entries


def _entry(name: str, table: Any, path: str) -> Entry:
    def wrong(what: str) -> SettingError:
        return SettingError(f"--tokens: {path}: [tokens.{name[:64]}] {what}")

    if not NAME.fullmatch(name):
        raise SettingError(
            f"--tokens: {path}: names of tokens must be up to 64 letters, digits, - and _, one is not"
        )
    if not isinstance(table, Mapping) or table.keys() - set(_KEYS):
        raise wrong(f"must have no other keys than {', '.join(_KEYS)}")
    sha256 = table.get("sha256")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256.lower()):
        raise wrong("must have sha256, the 64 hexadecimal digits of the token's SHA-256")
    rate, concurrent, admin = (table.get(key) for key in _KEYS[1:])
    if rate is not None and (
        isinstance(rate, bool) or not isinstance(rate, int | float) or not _SLOWEST <= rate <= _FASTEST
    ):
        raise wrong(f"requests_per_second must be a number from {_SLOWEST:f} to {_FASTEST:,.0f}")
    if concurrent is not None and (
        isinstance(concurrent, bool) or not isinstance(concurrent, int) or not 0 < concurrent <= _MOST
    ):
        raise wrong(f"concurrent must be a whole number from 1 to {_MOST:,}")
    if admin is not None and not isinstance(admin, bool):
        raise wrong("admin must be true or false")
    rate = None if rate is None else float(rate)
    return Entry(name, bytes.fromhex(sha256), rate, concurrent, bool(admin))
