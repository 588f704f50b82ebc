"""TLS of a connection: whom it trusts, and what it shows of itself."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc


@dataclass(frozen=True)
class Tls:
    """Files in PEM form. `Tls()` trusts the authorities that everybody does, and shows nothing."""

    ca: str | Path | None = None
    """Authorities that the server's certificate must come from."""
    cert: str | Path | None = None
    """Certificate to show to servers that ask for one, with `key`."""
    key: str | Path | None = None

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise ValueError(
                "a certificate to show needs its key, and a key its certificate: give both files"
            )

    @classmethod
    def of(cls, ca: str | Path | None, cert: str | Path | None, key: str | Path | None) -> Tls | None:
        """Of files that may be named, or None where none is. Raises ValueError where one is missing."""
        return cls(ca, cert, key) if ca or cert or key else None

    def credentials(self) -> grpc.ChannelCredentials:
        """For gRPC. Raises OSError where a file cannot be read."""
        return grpc.ssl_channel_credentials(_content(self.ca), _content(self.key), _content(self.cert))

    def context(self) -> ssl.SSLContext:
        """For HTTP. Raises OSError, of which ssl.SSLError is one, where a file cannot be read or used."""
        context = ssl.create_default_context(cafile=self.ca)
        if self.cert is not None:
            context.load_cert_chain(self.cert, self.key)
        return context


def _content(path: str | Path | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()
