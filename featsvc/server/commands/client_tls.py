"""What commands that ask a server say about TLS."""

from __future__ import annotations

import argparse
from pathlib import Path

import grpc

from featsvc.errors import InvalidArgument

FLAGS = (
    ("--tls-ca", "use TLS, and trust these authorities (PEM)"),
    ("--tls-cert", "certificate to show to the server"),
    ("--tls-key", "its key"),
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the three flags."""
    for flag, text in FLAGS:
        parser.add_argument(flag, metavar="FILE", help=text)


def credentials(flags: dict[str, object]) -> grpc.ChannelCredentials | None:
    """What the flags say, which are taken out; None without TLS. Raises InvalidArgument for a file that is missing."""
    ca, cert, key = (flags.pop(name) for name in ("tls_ca", "tls_cert", "tls_key"))
    if (cert is None) != (key is None):
        raise InvalidArgument("--tls-cert needs --tls-key, and --tls-key needs --tls-cert")
    if ca is None and cert is None:
        return None
    try:
        contents = [None if path is None else Path(str(path)).read_bytes() for path in (ca, key, cert)]
    except OSError as error:
        raise InvalidArgument(f"{error.filename} cannot be read: {error.strerror}") from None
    return grpc.ssl_channel_credentials(*contents)
