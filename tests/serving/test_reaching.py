"""A service with TLS, certificates and tokens, as both clients and all commands reach it."""

import asyncio
import json

import numpy as np
import pytest
from certificates import Authority

from serving.aio import AsyncClient
from serving.client import Client
from serving.errors import Unauthenticated, Unavailable
from serving.reaching import access

pytestmark = pytest.mark.slow  # real processes

ROWS = np.random.default_rng(5).uniform(-1, 1, (3, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, command):
    """A folder with all certificates, a token, and a file of rows."""
    folder = tmp_path_factory.mktemp("reached")
    authority = Authority()
    (folder / "ca.pem").write_bytes(authority.certificate)
    authority.issue().write(folder, "server")
    authority.issue("client").write(folder, "client")
    made = command("token", "mobile", "--file", folder / "tokens.toml")
    assert made.returncode == 0, made.stderr
    (folder / "token").write_text(made.stdout.strip() + "\n", encoding="utf-8")
    np.save(folder / "rows.npy", ROWS)
    return folder


@pytest.fixture
def address(process, wine, folder):
    """A service that wants a certificate and a token of everybody."""
    service = process(
        wine.path,
        *("--tls-certificate", folder / "server.pem", "--tls-key", folder / "server.key"),
        *("--tls-client-ca", folder / "ca.pem", "--tokens", folder / "tokens.toml"),
    )
    return service.address()


def test_who_has_all_that_is_wanted_is_answered(address, folder, command, wine):
    """By both clients and by each command; who lacks something is told so, and no token is shown."""
    token = (folder / "token").read_text(encoding="utf-8").strip()
    pair = (folder / "client.pem", folder / "client.key")
    given = {"tls": folder / "ca.pem", "certificate": pair}
    expected = wine.probabilities(ROWS)
    with Client(address, token=token, **given) as client:
        np.testing.assert_allclose(client.predict(ROWS).probabilities, expected, atol=1e-5)
        (answer,) = client.predict_stream([ROWS])
        np.testing.assert_allclose(answer.probabilities, expected, atol=1e-5)

    async def ask():
        async with AsyncClient(address, token=token, **given) as client:
            return await client.predict(ROWS), [one async for one in client.predict_stream([ROWS])]

    answer, (streamed,) = asyncio.run(ask())
    np.testing.assert_allclose(answer.probabilities, expected, atol=1e-5)
    np.testing.assert_array_equal(answer.probabilities, streamed.probabilities)

    for wrong in (None, "wrong"):
        with Client(address, token=wrong, **given) as client, pytest.raises(Unauthenticated):
            client.model()
    with (
        Client(address, tls=folder / "ca.pem", token=token, retry=False) as client,
        pytest.raises(Unavailable),
    ):
        client.model()

    tls = ("--ca", folder / "ca.pem", "--certificate", pair[0], "--key", pair[1])
    sent = ("--token-file", folder / "token")
    asked = ("predict", "wine", folder / "rows.npy", "--address", address, "--json")
    told = [
        command(*asked, *tls, *sent),
        command(*asked, *tls, env={"ORDINAL_TOKEN": token}),
        command(
            *asked,
            *sent,
            env={
                "ORDINAL_CA": str(folder / "ca.pem"),
                "ORDINAL_CERTIFICATE": str(pair[0]),
                "ORDINAL_KEY": str(pair[1]),
                "ORDINAL_SERVER_NAME": "localhost",
            },
        ),
    ]
    for one in told:
        assert one.returncode == 0, one.stderr
    assert len({one.stdout for one in told}) == 1
    health = command("health", "--address", address, *tls)  # needs no token
    assert (health.returncode, health.stdout) == (0, "SERVING\n")
    load = command(
        *("bench", address, "--rate", "50", "--seconds", "0.5", "--warmup", "0.1", "--json"),
        *("--artifact", wine.path, "--processes", "2"),
        *tls,
        *sent,
    )
    assert load.returncode == 0, load.stderr
    assert json.loads(load.stdout)["load"]["statuses"] == {"OK": 25}
    streams = command(
        *("bench", address, "--rate", "50", "--seconds", "0.5", "--warmup", "0.1", "--stream"), *tls, *sent
    )
    assert streams.returncode == 0, streams.stderr

    refused = command(*asked, *tls)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("ordinal-serving: ")
    assert command("health", "--address", address).returncode == 1
    everything = [*told, health, load, streams, refused]
    assert token not in "".join(one.stdout + one.stderr for one in everything)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--certificate", "a.pem"), "--certificate and --key belong together: give both, or none"),
        (("--key", "a.key"), "--certificate and --key belong together: give both, or none"),
        (("--token-file", "none"), "none: cannot be read: No such file or directory"),
        (("--token-file", "folder"), "folder: cannot be read: Is a directory"),
        (("--token-file", "bytes"), "bytes: must hold a token, and is no text"),
        (("--token-file", "empty"), "the token must be a word of visible ASCII characters"),
        (("--token-file", "two"), "the token must be a word of visible ASCII characters"),
        (("--token-file", "good", "--address", "10.0.0.1:1"), "10.0.0.1:1 is neither: ask for TLS"),
        (("--ca", "none"), "none: cannot be read: No such file or directory"),
        (("--ca", "two"), "two: must hold trusted certificates in PEM"),
        (("--server-name", "a"), "server_name is of use with TLS only"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path, monkeypatch, capsys, arguments, message):
    """With exit status 2 and one sentence, before anything is sent; by no means with the token."""
    from serving.__main__ import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name, content in (("bytes", b"\xff"), ("empty", b"\n"), ("two", b"two words"), ("good", b"s3cret")):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SystemExit) as caught:
        main(["health", *arguments])
    told = capsys.readouterr().err
    assert caught.value.code == 2
    assert told.startswith("ordinal-serving: ")
    assert message in told
    assert "two words" not in told
    assert "s3cret" not in told


def test_the_environment_may_have_no_token(monkeypatch):
    """An empty variable is none, as where it is handed on without being set."""
    monkeypatch.setenv("ORDINAL_TOKEN", "")
    assert access("127.0.0.1:1", False, None, None, None, "", None).token is None
