"""TLS, certificates and tokens, of both clients, against servers that want them."""

import asyncio
import logging
import pickle
import traceback

import grpc
import pytest
from certificates import Authority, private

from serving.access import Access, on_this_machine
from serving.aio import AsyncClient
from serving.client import Client
from serving.errors import Forbidden, Unauthenticated, Unavailable

from .bare import served_by

TOKEN = "s3cret-of-mobile"


def by_client(address, **more):
    """Ask for the models, and wait."""
    with Client(address, retry=False, **more) as client:
        return client.models()


def by_async_client(address, **more):
    """The same on an event loop."""

    async def ask():
        async with AsyncClient(address, retry=False, **more) as client:
            return await client.models()

    return asyncio.run(ask())


@pytest.fixture(params=[by_client, by_async_client])
def ask(request):
    """How a client of either kind asks for models."""
    return request.param


class Keeper:
    """Answers, and keeps the metadata of each call."""

    def __init__(self):
        self.seen = []

    def __call__(self, context):
        """Answer a call."""
        self.seen.append([value for key, value in context.invocation_metadata() if key == "authorization"])
        return b""


@pytest.fixture(scope="module")
def authority():
    """Whom the servers here have their certificates from."""
    return Authority()


@pytest.fixture(scope="module")
def folder(authority, tmp_path_factory):
    """A folder with `ca.pem`, and certificate and key of a client."""
    folder = tmp_path_factory.mktemp("tls")
    (folder / "ca.pem").write_bytes(authority.certificate)
    authority.issue("client").write(folder, "client")
    return folder


@pytest.fixture
def secure(authority):
    """The address of a server with a certificate for localhost, and what it keeps."""
    issued, keeper = authority.issue(), Keeper()
    pair = [(issued.key, issued.certificate)]
    with served_by(keeper, grpc.ssl_server_credentials(pair)) as address:
        yield address, keeper


def test_tls_with_a_certificate_that_is_trusted(ask, secure, folder):
    """By the path of a file, as a text or a Path; the token goes along."""
    address, keeper = secure
    assert ask(address, tls=folder / "ca.pem", token=TOKEN) == []
    assert ask(address, tls=str(folder / "ca.pem")) == []
    assert keeper.seen == [[f"Bearer {TOKEN}"], []]


def test_a_certificate_of_somebody_else_is_not_trusted(ask, secure, tmp_path):
    """Neither by another authority's file, nor by the list that gRPC brings; no call arrives."""
    address, keeper = secure
    other = tmp_path / "other.pem"
    other.write_bytes(Authority("others").certificate)
    for tls in (other, True):
        with pytest.raises(Unavailable, match=rf"^{address}: "):
            ask(address, tls=tls, token=TOKEN)
    with pytest.raises(Unavailable):
        ask(address, token=TOKEN)  # in the open, on this machine
    assert keeper.seen == []


def test_the_name_on_the_certificate_counts(ask, authority, folder):
    """It must be that of the address, or the one that the caller names."""
    issued, keeper = authority.issue(), Keeper()
    with served_by(keeper, grpc.ssl_server_credentials([(issued.key, issued.certificate)])) as address:
        with pytest.raises(Unavailable):
            ask(address, tls=folder / "ca.pem", server_name="wine.example")
        assert ask(address, tls=folder / "ca.pem", server_name="localhost") == []


def test_a_client_shows_its_own_certificate(ask, authority, folder):
    """To a service that wants one; without it there is no connection."""
    issued = authority.issue()
    credentials = grpc.ssl_server_credentials(
        [(issued.key, issued.certificate)], authority.certificate, require_client_auth=True
    )
    certificate = (folder / "client.pem", folder / "client.key")
    with served_by(Keeper(), credentials) as address:
        assert ask(address, tls=folder / "ca.pem", certificate=certificate) == []
        with pytest.raises(Unavailable):
            ask(address, tls=folder / "ca.pem")


def test_a_token_goes_in_the_open_to_this_machine_only():
    """Elsewhere it is refused before anything is sent, and not told."""
    for kind in (Client, AsyncClient):
        with pytest.raises(
            ValueError, match=r"this machine, or by TLS, and 10\.0\.0\.1:1 is neither"
        ) as caught:
            kind("10.0.0.1:1", token=TOKEN)
        assert TOKEN not in "".join(traceback.format_exception(caught.value))
        kind("127.0.0.1:1", token=TOKEN)
        kind("10.0.0.1:1", token=TOKEN, tls=True)


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("127.0.0.1:1", True),
        ("127.3.2.1", True),
        ("localhost:1", True),
        ("[::1]:1", True),
        ("ipv6:[::1]:1", True),
        ("unix:///run/socket", True),
        ("dns:///localhost:1", True),
        ("127.evil.com:1", False),
        ("127.0.0.1.evil.com:1", False),
        ("dns:///127.evil.com:1", False),
        ("localhost.evil.com:1", False),
        ("ipv4:127.0.0.1:1,10.0.0.1:1", False),
        ("10.0.0.1:1", False),
    ],
)
def test_names_that_begin_like_this_machine_are_others(address, here):
    """A name may begin with 127 and belong to anybody."""
    assert on_this_machine(address) is here


@pytest.mark.parametrize("token", ["", "two words", "line\n", "ümlaut", "\x00"])
def test_what_is_no_token_is_refused_and_not_shown(token):
    """It would be no header."""
    with pytest.raises(ValueError, match="must be a word of visible ASCII characters") as caught:
        Client("127.0.0.1:1", token=token)
    assert not token or repr(token)[1:-1] not in str(caught.value)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"certificate": ("a", "b")}, "^certificate is of use with TLS only"),
        ({"server_name": "a"}, "^server_name is of use with TLS only"),
    ],
)
def test_what_is_of_tls_needs_it(more, message):
    """It would do nothing else, unnoticed."""
    with pytest.raises(ValueError, match=message):
        Client("127.0.0.1:1", **more)


def test_files_are_looked_at_first(authority, folder, tmp_path):
    """What is no certificate, or not the key of one, is told when the client is made."""
    ca, own, key = folder / "ca.pem", folder / "client.pem", folder / "client.key"
    bad, other, locked = tmp_path / "bad.pem", tmp_path / "other.key", tmp_path / "locked.key"
    bad.write_text("no certificate")
    other.write_bytes(authority.issue().key)
    from cryptography.hazmat.primitives.asymmetric import ec

    locked.write_bytes(private(ec.generate_private_key(ec.SECP256R1()), b"password"))
    for tls, certificate, message in (
        (bad, None, r"bad\.pem: must hold trusted certificates in PEM"),
        (ca, (bad, key), r"must be a certificate and its key in PEM"),
        (ca, (own, other), r"client\.pem and .*other\.key: must be .*mismatch"),
        (ca, (own, locked), r"the key without a password"),
    ):
        with pytest.raises(ValueError, match=message):
            Client("127.0.0.1:1", tls=tls, certificate=certificate)
    with pytest.raises(FileNotFoundError, match="none\\.pem"):
        Client("127.0.0.1:1", tls=tmp_path / "none.pem")


def test_no_token_is_shown(secure, folder, caplog):
    """Not by a repr, an error with all its causes, or a log."""
    caplog.set_level(logging.DEBUG)
    address, _ = secure
    access = Access(tls=folder / "ca.pem", token=TOKEN)
    told = [repr(access), repr(access.target(address))]
    for kind in (Client, AsyncClient):
        client = kind(address, tls=folder / "ca.pem", token=TOKEN)
        told.append(repr(client))
        assert repr(client) == f"{kind.__name__}({address!r}, tls, token)"
    with Client(address, retry=False, token=TOKEN) as client, pytest.raises(Unavailable) as caught:
        client.models()
    told.append("".join(traceback.format_exception(caught.value)))
    assert TOKEN not in "".join([*told, caplog.text])
    assert pickle.loads(pickle.dumps(access)) == access  # as a process of `bench` gets it


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, Unauthenticated),
        (grpc.StatusCode.PERMISSION_DENIED, Forbidden),
    ],
)
def test_refusals_of_a_token_have_classes(ask, code, kind):
    """Of their own, with the text of the service."""
    with (
        served_by(lambda context: context.abort(code, "send a token")) as address,
        pytest.raises(kind, match=r"^send a token$"),
    ):
        ask(address)


def test_streams_carry_the_token():
    """As all calls do, of both clients."""
    seen = []

    def stream(requests, context):
        seen.append(dict(context.invocation_metadata())["authorization"])
        for _ in requests:
            yield b""

    async def ask(address):
        async with AsyncClient(address, token=TOKEN) as client:
            return [one async for one in client.predict_stream([[[1.0]]])]

    handler = grpc.stream_stream_rpc_method_handler(stream)
    with served_by(Keeper(), PredictStream=handler) as address:
        # A reply without labels has no shape that probabilities could have.
        with Client(address, token=TOKEN) as client, pytest.raises(ValueError, match="reshape"):
            list(client.predict_stream([[[1.0]]]))
        with pytest.raises(ValueError, match="reshape"):
            asyncio.run(ask(address))
    assert seen == [f"Bearer {TOKEN}"] * 2
