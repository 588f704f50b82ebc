"""What commands that ask a server say about TLS and of who asks."""

from __future__ import annotations

import argparse
import sys

import grpc

from featsvc.certificates import CallerFiles
from featsvc.environment import KEY, key_to_send
from featsvc.errors import InvalidArgument
from featsvc.settings.access import DEFAULT_KEY
from featsvc.settings.sources import unknown_variables

FLAGS = (
    ("--tls-ca", "use TLS, and trust these authorities (PEM)"),
    ("--tls-cert", "certificate to show to the server"),
    ("--tls-key", "its key"),
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of TLS and of the key."""
    text = f"key to send [{KEY}; else {DEFAULT_KEY}, or none with --tls-cert]"
    parser.add_argument("--api-key", metavar="KEY", help=text)
    for flag, text in FLAGS:
        parser.add_argument(flag, metavar="FILE", help=text)


def api_key(flags: dict[str, object]) -> str | None:
    """The key to send, taken out; None where the certificate of the flags is to stand for it."""
    given = flags.pop("api_key")
    if given is not None:
        return str(given)
    for warning in unknown_variables():
        print(f"featsvc: {warning}", file=sys.stderr)
    return key_to_send() or (None if flags["tls_cert"] else DEFAULT_KEY)


def credentials(flags: dict[str, object]) -> grpc.ChannelCredentials | None:
    """What the flags say, which are taken out; None without TLS. Raises InvalidArgument for a file that is missing."""
    ca, cert, key = (
        None if (path := flags.pop(name)) is None else str(path) for name in ("tls_ca", "tls_cert", "tls_key")
    )
    try:
        files = CallerFiles.of(ca, cert, key)
        return None if files is None else grpc.ssl_channel_credentials(*files.contents())
    except ValueError as error:
        raise InvalidArgument(f"--tls-cert, --tls-key: {error}") from None
    except OSError as error:
        raise InvalidArgument(f"{error.filename} cannot be read: {error.strerror}") from None
