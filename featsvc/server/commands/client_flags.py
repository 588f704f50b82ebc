"""What commands that ask a server say about TLS and of who asks."""

from __future__ import annotations

import argparse
from pathlib import Path

import grpc

from featsvc.errors import InvalidArgument
from featsvc.settings.access import DEFAULT_KEY
from featsvc.settings.environment import environment

FLAGS = (
    ("--tls-ca", "use TLS, and trust these authorities (PEM)"),
    ("--tls-cert", "certificate to show to the server"),
    ("--tls-key", "its key"),
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of TLS and of the key."""
    text = f"key to send [FEATSVC_API_KEY; else {DEFAULT_KEY}, or none with --tls-cert]"
    parser.add_argument("--api-key", metavar="KEY", help=text)
    for flag, text in FLAGS:
        parser.add_argument(flag, metavar="FILE", help=text)


def api_key(flags: dict[str, object]) -> str | None:
    """The key to send, taken out; None where the certificate of the flags is to stand for it."""
    given = flags.pop("api_key")
    if given is not None:
        return str(given)
    # That of a server may be several, which are all good.
    if key := environment().get("FEATSVC_API_KEY", "").partition(",")[0].strip():
        return key
    return None if flags["tls_cert"] else DEFAULT_KEY


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
