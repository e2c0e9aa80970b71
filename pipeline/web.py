"""Web servers of this machine: free ports, and waiting for an answer."""

from __future__ import annotations

import random
import socket
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from pipeline.child import Child
from pipeline.errors import InputError, PipelineError

# Not by a proxy, which knows nothing of this machine's loopback.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

_LOWEST = 20_000  # of ports for servers; Ray's workers take those from 10,002 on
_OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free(port: int, what: str, option: str) -> int:
    """Return a port of loopback that nobody listens on: `port`, or any where that is 0.

    Args:
        port: Which one.
        what: Is to listen there, for the message.
        option: That chooses another one.

    Raises InputError where it is taken.
    """
    if port == 0:
        return unused(1)[0]
    with socket.socket() as tried:
        # As the server itself will: a port that was left a moment ago is free.
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except OSError as error:
            raise InputError(
                f"{what} cannot listen on port {port}: {error.strerror}; give another one by {option}, or "
                f"see who has it: ss -ltnp 'sport = :{port}'"
            ) from error
    return port


def unused(count: int) -> list[int]:
    """Return so many ports of loopback that nobody listens on, all of them different.

    Not of those that the system gives to outgoing connections (ip(7), `ip_local_port_range`), any of which
    could be taken by one, or wait for two minutes after one, before a server comes to listen there.
    """
    try:
        beyond = int(_OUTGOING.read_text(encoding="ascii").split()[0])
    except OSError:
        beyond = 49_152  # where there is no such file: IANA's dynamic ports
    found: list[int] = []
    with ExitStack() as held:
        for port in random.SystemRandom().sample(range(_LOWEST, max(beyond, _LOWEST + 1000)), 1000):
            tried = held.enter_context(socket.socket())
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
            if len(found) == count:
                return found
    raise PipelineError(f"no {count} ports of loopback are free")


def answers(url: str, seconds: float = 2.0) -> bool:
    """Return whether a GET of a page on this machine ends with a status below 400."""
    try:
        _opener.open(url, timeout=seconds).close()
    except (OSError, urllib.error.URLError):
        return False
    return True


def wait(url: str, what: str, seconds: float, child: Child | None = None) -> None:
    """Return once a page is answered.

    Args:
        url: Of the page.
        what: Answers, for messages.
        seconds: Most that it may take.
        child: The process that is to answer, if it is one of ours.

    Raises PipelineError where that ends before, or it takes too long.
    """
    end = time.monotonic() + seconds
    while not answers(url):
        if child is not None and child.status is not None:
            raise PipelineError(f"{what} ended with status {child.status}{child.last_words}")
        if time.monotonic() > end:
            last = child.last_words if child else ""
            raise PipelineError(f"{what} at {url} did not answer within {seconds:g} s{last}")
        time.sleep(0.1)
