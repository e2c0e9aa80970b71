"""Addresses of stores and servers: shown without a password, and asked whether somebody answers."""

from __future__ import annotations

import base64
import ipaddress
import json
import re
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

SECONDS = 3.0
"""That a server has for its answer."""
_MOST = 4_000_000  # bytes of an answer that are read


def shown(uri: str) -> str:
    """Return an address without what may be secret in it.

    >>> shown("postgresql://me:secret@db/mlflow?sslmode=require")
    'postgresql://…@db/mlflow'
    """
    scheme, slashes, rest = uri.partition("://")
    user, at, host_and_path = rest.rpartition("@")
    if "@" in user or "?" in user:  # nobody can tell any more where a password would end
        return f"{scheme}{slashes}…"
    shown_user = "…" if user else ""
    return f"{scheme}{slashes}{shown_user}{at}{host_and_path}".partition("?")[0]


def host(uri: str) -> str:
    """Return the host of an address; empty where it has none."""
    try:
        return urlsplit(uri).hostname or ""
    except ValueError:
        return ""


def port(uri: str, default: int) -> int:
    """Return the port of an address."""
    try:
        return urlsplit(uri).port or default
    except ValueError:
        return default


def is_here(name: str) -> bool:
    """Return whether a host is this machine by its name alone.

    >>> [is_here(name) for name in ("localhost", "127.0.0.5", "::1", "10.0.0.1", "mlflow")]
    [True, True, True, False, False]
    """
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_internal(name: str) -> bool:
    """Return whether a host is not one of the Internet: private, or a name without a dot.

    >>> [is_internal(name) for name in ("10.0.0.1", "mlflow", "db.internal", "mlflow.example.com")]
    [True, True, True, False]
    """
    try:
        return ipaddress.ip_address(name).is_private
    except ValueError:
        return "." not in name or name.endswith((".internal", ".local", ".lan", ".svc", ".localhost"))


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a SQLite address; None for any other, and for one in memory.

    >>> str(sqlite_file("sqlite+aiosqlite:////var/lib/prefect.db?timeout=5"))
    '/var/lib/prefect.db'
    """
    match = re.match(r"sqlite(?:\+\w+)?:///(?P<name>[^?]+)", uri)
    if match is None or match["name"] == ":memory:":
        return None
    name = match["name"]
    return Path(unquote(urlsplit(name).path) if name.startswith("file:") else name)


@dataclass(frozen=True)
class Answer:
    """What a server has said: a status and a text, or why there is none."""

    status: int = 0
    text: str = ""
    trouble: str = ""

    def json(self) -> Any:
        """Return what it says, as JSON; an empty dictionary where it is none."""
        try:
            return json.loads(self.text)
        except ValueError:
            return {}


def ask(
    uri: str, path: str, headers: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None
) -> Answer:
    """Return what a server says to a request of `path`, through the proxies that are set."""
    base, login = _parted(uri.rstrip("/"))
    sent = {**({"Authorization": login} if login else {}), **(headers or {})}
    data = None
    if body is not None:
        data, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
    try:
        request = urllib.request.Request(f"{base}{path}", data, sent)
        with urllib.request.urlopen(request, timeout=SECONDS) as reply:
            return Answer(reply.status, reply.read(_MOST).decode(errors="replace"))
    except urllib.error.HTTPError as problem:
        with problem:
            return Answer(problem.code, problem.read(_MOST).decode(errors="replace"))
    except (OSError, ValueError, ssl.SSLError) as problem:
        return Answer(trouble=_words(problem))
    except Exception as problem:  # noqa: BLE001 - http.client raises what is no OSError where HTTP is not spoken
        return Answer(trouble=f"it does not speak HTTP ({type(problem).__name__})")


def connect(name: str, number: int) -> str:
    """Return why a port cannot be connected to; empty where it can."""
    try:
        socket.create_connection((name, number), SECONDS).close()
    except OSError as problem:
        return _words(problem)
    return ""


def basic(login: str) -> str:
    """Return the header of `user:password`."""
    return "Basic " + base64.b64encode(login.encode()).decode()


def resolves(name: str) -> str:
    """Return why a name has no address; empty where it has one."""
    try:
        socket.getaddrinfo(name, None)
    except OSError as problem:
        return _words(problem)
    return ""


def _parted(uri: str) -> tuple[str, str]:
    """Return an address without its user, and the header that stands for the user."""
    match = re.fullmatch(r"(\w+://)(.*)@([^@]*)", uri)
    if match is None:
        return uri, ""
    return match[1] + match[3], basic(unquote(match[2]))


def _words(problem: BaseException) -> str:
    """Return the reason below what urllib wraps it in."""
    reason = getattr(problem, "reason", problem)
    if isinstance(reason, TimeoutError):
        return f"no answer in {SECONDS:g} s"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror.lower()
    return str(reason)
