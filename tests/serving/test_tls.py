"""TLS and mTLS: who is let in, and certificates that change while the service runs."""

import logging
import socket
import ssl
import time

import grpc
import pytest
from certificates import Authority, private
from cryptography.hazmat.primitives.asymmetric import ec
from servers import wait_until

from serving.errors import SettingError
from serving.security.tls import Certificates
from serving.wire import ordinal_pb2 as wire
from serving.wire import ordinal_pb2_grpc

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@pytest.fixture(scope="module")
def authority():
    """The CA of this module's servers and clients."""
    return Authority()


@pytest.fixture
def files(authority, tmp_path):
    """Settings with a certificate, its key, and the CA of clients."""
    certificate, key = authority.issue().write(tmp_path, "server")
    (tmp_path / "clients.pem").write_bytes(authority.certificate)
    return {
        "tls_certificate": str(certificate),
        "tls_key": str(key),
        "tls_client_ca": str(tmp_path / "clients.pem"),
    }


@pytest.fixture
def _quick(monkeypatch):
    """Looks at files ten times a second."""
    monkeypatch.setattr("serving.security._LOOK", 0.1)


def code(address, roots, client=None):
    """The status of a call over TLS, None where it is answered."""
    key, chain = (client.key, client.certificate) if client else (None, None)
    credentials = grpc.ssl_channel_credentials(roots, key, chain)
    with grpc.secure_channel(address, credentials) as channel:
        return status(channel)


def status(channel):
    """The status of a call on a channel, None where it is answered."""
    try:
        answer = ordinal_pb2_grpc.OrdinalServiceStub(channel).GetModel(wire.GetModelRequest(), timeout=10)
    except grpc.RpcError as error:
        return error.code()
    assert answer.name == "wine"
    return None


def shown(address):
    """The certificate that a server shows."""
    host, port = address.split(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((host, int(port)), 10) as plain, context.wrap_socket(plain) as connection:
        return ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True)).encode()


def test_with_a_certificate_calls_are_encrypted(serving_of, wine, authority, files):
    """Who trusts the CA is answered; plain text, and who trusts another CA, is not."""
    files["tls_client_ca"] = ""
    with serving_of(wine.path, **files) as server:
        assert code(server.address, authority.certificate) is None
        assert code(server.address, Authority("another").certificate) == UNAVAILABLE
        with grpc.insecure_channel(server.address) as channel:
            assert status(channel) == UNAVAILABLE


def test_a_certificate_that_has_expired_is_refused_by_callers(serving_of, wine, authority, files, tmp_path):
    """The service starts, since a clock may be wrong; callers do not trust it."""
    authority.issue(expired=True).write(tmp_path, "server")
    files["tls_client_ca"] = ""
    with serving_of(wine.path, **files) as server:
        assert code(server.address, authority.certificate) == UNAVAILABLE


def test_with_a_ca_of_clients_each_must_have_a_certificate(serving_of, wine, authority, files):
    """None, one of another CA, or one that has expired is not let in, and the service goes on."""
    with serving_of(wine.path, **files) as server:
        assert code(server.address, authority.certificate, authority.issue("client")) is None
        assert code(server.address, authority.certificate) == UNAVAILABLE
        stranger = Authority("another").issue("client")
        assert code(server.address, authority.certificate, stranger) == UNAVAILABLE
        late = authority.issue("client", expired=True)
        assert code(server.address, authority.certificate, late) == UNAVAILABLE
        assert code(server.address, authority.certificate, authority.issue("client")) is None


def test_old_versions_of_tls_are_refused(serving_of, wine, files):
    """TLS 1.2 is the least."""
    files["tls_client_ca"] = ""
    with serving_of(wine.path, **files) as server:
        host, port = server.address.split(":")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        with socket.create_connection((host, int(port)), 10) as plain, pytest.raises(OSError):  # noqa: PT011
            context.wrap_socket(plain)


@pytest.mark.usefixtures("_quick")
def test_a_new_certificate_is_taken_while_calls_go_on(serving_of, wine, authority, files, tmp_path, caplog):
    """New connections get it within seconds; a damaged one is told once, and the one before stays."""
    caplog.set_level(logging.INFO)
    files["tls_client_ca"] = ""
    credentials = grpc.ssl_channel_credentials(authority.certificate)
    with (
        serving_of(wine.path, **files) as server,
        grpc.secure_channel(server.address, credentials) as channel,
    ):
        assert status(channel) is None
        first = shown(server.address)
        new = authority.issue()
        new.write(tmp_path, "server")
        wait_until(lambda: shown(server.address) == new.certificate)
        assert new.certificate != first
        (tmp_path / "server.key").write_bytes(authority.issue().key)
        wait_until(lambda: "must be the key of the certificate" in caplog.text)
        time.sleep(0.5)
        assert caplog.text.count("must be the key of the certificate") == 1
        assert shown(server.address) == new.certificate
        newest = authority.issue()
        newest.write(tmp_path, "server")
        wait_until(lambda: shown(server.address) == newest.certificate)
        assert status(channel) is None
    for issued in (new, newest):
        assert issued.key.decode().splitlines()[1] not in caplog.text


@pytest.mark.usefixtures("_quick")
def test_another_ca_of_clients_is_taken_too(serving_of, wine, authority, files, tmp_path):
    """Who was let in by the one before is not let in any more."""
    other = Authority("another")
    with serving_of(wine.path, **files) as server:
        assert code(server.address, authority.certificate, other.issue("client")) == UNAVAILABLE
        (tmp_path / "clients.pem").write_bytes(other.certificate)
        wait_until(lambda: code(server.address, authority.certificate, other.issue("client")) is None)
        assert code(server.address, authority.certificate, authority.issue("client")) == UNAVAILABLE


def _encrypted():
    return private(ec.generate_private_key(ec.SECP256R1()), b"secret")


DAMAGED = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
FAULTS = {
    "no such file": ("server.pem", None, "--tls-certificate: cannot read .*No such file"),
    "no PEM": ("server.pem", b"hello", "must hold a certificate in PEM"),
    "damaged": ("server.pem", DAMAGED, "cannot be used: "),
    "no key": ("server.key", b"hello", "must hold a private key in PEM"),
    "another key": ("server.key", private(ec.generate_private_key(ec.SECP256R1())), "is another one"),
    "encrypted": ("server.key", _encrypted(), "is encrypted, and nobody is there to type"),
    "no CA": ("clients.pem", b"hello", "--tls-client-ca: .* must hold certificates in PEM"),
    "damaged CA": ("clients.pem", DAMAGED, "--tls-client-ca: .* cannot be used: "),
}


@pytest.mark.parametrize("name", FAULTS)
def test_files_that_cannot_be_used_are_refused(files, tmp_path, name):
    """One sentence says which, and what must hold; nothing of a key is in it."""
    file, text, reason = FAULTS[name]
    (tmp_path / file).unlink()
    if text is not None:
        (tmp_path / file).write_bytes(text)
    with pytest.raises(SettingError, match=reason) as caught:
        Certificates(*files.values())
    assert str(caught.value).count("\n") == 0
    assert len(str(caught.value)) < 400
    assert "MIG" not in str(caught.value)


def test_tls_by_halves_is_refused(files):
    """A certificate without its key, a key without its certificate, a CA without both."""
    certificate, key, client_ca = files.values()
    for halves in ((certificate, "", ""), ("", key, ""), ("", "", client_ca)):
        with pytest.raises(SettingError, match="needs both --tls-certificate and --tls-key"):
            Certificates(*halves)


def test_what_cannot_be_used_ends_the_start(command, wine, files, tmp_path):
    """With exit status 2 and one sentence, before anything is loaded."""
    (tmp_path / "server.key").write_bytes(b"hello")
    options = [text for name, path in files.items() for text in (f"--{name.replace('_', '-')}", path)]
    ended = command("serve", wine.path, "--port", "0", *options)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert (
        ended.stderr
        == f"ordinal-serving: --tls-key: {files['tls_key']} must hold a private key in PEM, and does not\n"
    )


def test_a_key_is_in_nobodys_repr(files):
    """Neither the object nor what it holds shows the key."""
    certificates = Certificates(*files.values())
    assert "PRIVATE" not in repr(certificates) + repr(vars(certificates))
