"""`featsvc verify HOST:PORT`: whether a server answers the conformance kit as it should.

The kit ships with the Python client, which is a distribution of its own: this imports it when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from featsvc.errors import InvalidArgument
from featsvc.server.commands import client_flags
from featsvc.server.commands.models import Subparsers


def add(commands: Subparsers) -> None:
    """Adds the command."""
    text = "ask a server the conformance kit, and tell whether it answers as it should"
    needs = "The key, or the certificate, must have the roles infer and admin, and no models named that it may use."
    parser = commands.add_parser("verify", help=text, description=text, epilog=needs)
    parser.add_argument("target", metavar="HOST:PORT", help="where the gRPC server answers")
    client_flags.add_flags(parser)
    parser.add_argument("--verbose", action="store_true", help="show right answers too")
    parser.set_defaults(command=_verify, parser=parser)


def _verify(flags: dict[str, object]) -> int:
    if find_spec("featsvc_client") is None:
        raise InvalidArgument(
            "verify needs the Python client: pip install ./clients/python at the top of a clone"
        )
    verify = import_module("featsvc_client.conformance.verify").verify
    return int(verify(api_key=client_flags.api_key(flags), **flags))
