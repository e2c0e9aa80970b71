"""A port is one service's alone, and its workers'."""

import socket
import threading

import pytest

from serving import ports
from serving.errors import AddressError

HOSTS = ("127.0.0.1", "localhost", "0.0.0.0")


def listening(port, *options):
    """A socket that listens, as a worker's or another program's does."""
    made = socket.socket()
    for option in (socket.SO_REUSEADDR, *options):
        made.setsockopt(socket.SOL_SOCKET, option, 1)
    made.bind(("127.0.0.1", port))
    made.listen()
    return made


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("worker", [False, True])
def test_a_second_service_is_refused(host, worker):
    """Also by another name of the host, and before any worker listens; workers are let in."""
    with ports.Reserved("127.0.0.1", 0) as first:
        sockets = [listening(first.port, socket.SO_REUSEPORT) for _ in range(2 * worker)]
        with pytest.raises(AddressError, match=f"cannot listen on {host}:{first.port}: Address already"):
            ports.Reserved(host, first.port)
        for one in sockets:
            one.close()


@pytest.mark.parametrize("host", HOSTS)
def test_the_port_of_another_program_is_refused(host):
    """Whether or not it would share it."""
    for options in ((), (socket.SO_REUSEPORT,)):
        with listening(0, *options) as other, pytest.raises(AddressError, match="another service may be"):
            ports.Reserved(host, other.getsockname()[1])


def test_a_port_is_free_again_when_it_is_left():
    """The next service may have it at once, also while connections of the last one are remembered."""
    with ports.Reserved("127.0.0.1", 0) as first:
        pass
    with listening(first.port) as old, socket.create_connection(("127.0.0.1", first.port)) as caller:
        old.accept()[0].close()  # this side closes first, and its port waits for stragglers
        caller.recv(1)
    with ports.Reserved("127.0.0.1", first.port) as second:
        assert second.port == first.port


def test_what_is_reserved_gets_no_connections():
    """Each connection reaches a socket that listens."""
    with (
        ports.Reserved("127.0.0.1", 0) as reserved,
        listening(reserved.port, socket.SO_REUSEPORT) as worker,
    ):
        accepting = threading.Thread(target=lambda: [worker.accept()[0].close() for _ in range(200)])
        accepting.start()
        for _ in range(200):
            with socket.create_connection(("127.0.0.1", reserved.port), timeout=10) as caller:
                assert caller.recv(1) == b""
        accepting.join()


def test_each_free_port_is_another():
    """Services that take any port never share one."""
    with ports.Reserved("127.0.0.1", 0) as one, ports.Reserved("127.0.0.1", 0) as other:
        assert one.port != other.port


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (":9464", ("0.0.0.0", 9464)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("[::1]:80", ("::1", 80)),
        ("a.b:65535", ("a.b", 65535)),
    ],
)
def test_an_address_is_host_and_port(address, expected):
    """The host may be left out."""
    assert ports.parted(address, "0.0.0.0") == expected


@pytest.mark.parametrize("address", ["9464", "a:", "a:b", ":65536", ":-1", ":²"])
def test_what_is_no_address_is_refused(address):
    """In a sentence that says what one is."""
    with pytest.raises(AddressError, match="must be HOST:PORT, where PORT is a number up to 65535, got"):
        ports.parted(address, "")


@pytest.mark.parametrize(
    ("host", "reason"), [("no.such.host.invalid", "cannot listen on no"), ("203.0.113.7", "Cannot assign")]
)
def test_an_address_of_elsewhere_is_refused(host, reason):
    """A host that is not this machine cannot be listened on."""
    for listen in (ports.check, ports.Reserved):
        with pytest.raises(AddressError, match=reason):
            listen(host, 0)
