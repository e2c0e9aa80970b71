"""How a service is reached: in the open or by TLS, and as whom."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving.target import Target

_WORD = re.compile(r"[!-~]+")
_SCHEME = re.compile(r"^(dns:(///)?|ipv[46]:)")
# Numbers in full: a name may begin with 127 too, and belong to anybody.
_THIS_MACHINE = re.compile(r"(127(\.\d{1,3}){3}|localhost|\[::1\])(:\w+)?|unix(-abstract)?:.*", re.DOTALL)


@dataclass(frozen=True)
class Access:
    """What a caller says of itself and asks of the service; `target` puts it to use.

    Attributes:
        tls: Whether what is sent is encrypted; a path is that of a PEM file with the certificates that are
            trusted in place of those that gRPC brings.
        certificate: Paths of PEM files, the caller's own certificate and its key.
        token: Sent with every call; not in the repr.
        server_name: That the service's certificate must have, where it is not that of the address.
    """

    tls: bool | str | Path = False
    certificate: tuple[str | Path, str | Path] | None = None
    token: str | None = field(default=None, repr=False)
    server_name: str = ""

    @property
    def arguments(self) -> dict[str, Any]:
        """Its attributes by name, as clients take them."""
        return dict(vars(self))

    def shown(self, address: str) -> str:
        """Return what the repr of a client of an address says: no secret."""
        words = [word for word in ("tls", "certificate", "token") if getattr(self, word)]
        return ", ".join([repr(address), *words])

    def target(self, address: str) -> Target:
        """Return what makes connections to an address.

        Raises:
            ValueError: A token would travel in the open, or is none; a certificate without TLS; files that
                are not what they should be. No message has the token.
            OSError: A file cannot be read.
        """
        if not self.tls:
            for name in ("certificate", "server_name"):
                if getattr(self, name):
                    raise ValueError(f"{name} is of use with TLS only: ask for that too")
        metadata: tuple[tuple[str, str], ...] = ()
        if self.token is not None:
            if not _WORD.fullmatch(self.token):
                raise ValueError(
                    "the token must be a word of visible ASCII characters; what was given is none, and is "
                    "not shown here"
                )
            if not self.tls and not on_this_machine(address):
                raise ValueError(
                    f"a token is sent to this machine, or by TLS, and {address} is neither: ask for TLS, "
                    "or leave the token out"
                )
            metadata = (("authorization", f"Bearer {self.token}"),)
        from serving.target import Target, credentials  # here, for commands tell their help without gRPC

        secret = None if not self.tls else credentials(self.tls, self.certificate)
        return Target(address, secret, metadata, self.server_name)


def on_this_machine(address: str) -> bool:
    """Tell whether all that an address names is this very machine."""
    return all(_THIS_MACHINE.fullmatch(one) for one in _SCHEME.sub("", address).split(","))
