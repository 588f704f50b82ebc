"""`featsvc drain HOST:PORT`: have a server finish what it has, and end."""

from __future__ import annotations

import grpc

from featsvc.errors import FeatsvcError
from featsvc.server.commands import client_flags
from featsvc.server.commands.models import Subparsers
from featsvc.v1 import model_pb2, model_pb2_grpc

TIMEOUT_S = 20.0


def add(commands: Subparsers) -> None:
    """Adds the command."""
    text = "have a server take no more work, finish what it has, and end"
    needs = "The key, or the certificate, must have the role admin. Whatever started the server may start it again."
    parser = commands.add_parser("drain", help=text, description=text, epilog=needs)
    parser.add_argument("target", metavar="HOST:PORT", help="where the gRPC server answers")
    parser.add_argument(
        "--grace",
        type=float,
        metavar="SECONDS",
        help="what runs and waits may take so long [--grace of the server]",
    )
    client_flags.add_flags(parser)
    parser.set_defaults(command=_drain, parser=parser)


def _drain(flags: dict[str, object]) -> int:
    key, credentials = client_flags.api_key(flags), client_flags.credentials(flags)
    target, grace_s = str(flags["target"]), flags["grace"]
    request = model_pb2.DrainRequest(grace_s=None if grace_s is None else float(str(grace_s)))
    metadata = () if key is None else (("authorization", f"Bearer {key}"),)
    secure, plain = grpc.secure_channel, grpc.insecure_channel
    with plain(target) if credentials is None else secure(target, credentials) as channel:
        try:
            reply = model_pb2_grpc.ModelServiceStub(channel).Drain(
                request, metadata=metadata, timeout=TIMEOUT_S
            )
        except grpc.RpcError as error:
            raise FeatsvcError(f"{target}: {error.details()}") from None
    print(
        f"{target} takes no more work. It ends when {reply.open} requests are answered, "
        f"after {reply.grace_s:g} s at the latest."
    )
    return 0
