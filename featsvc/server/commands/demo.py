"""`featsvc demo`: one picture of what all three services of a running server answer."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from featsvc.server.commands import client_flags
from featsvc.server.commands.models import Subparsers


def add(commands: Subparsers) -> None:
    """Adds the command."""
    text = "ask a running server about a drawn picture, and draw what CLIP, DINO and SAM2 answer"
    parser = commands.add_parser("demo", help=text, description=text)
    parser.add_argument("out", type=Path, nargs="?", default=Path("featsvc-demo.png"), metavar="OUT.png")
    parser.add_argument(
        "--target", default="localhost:50051", help="address of the gRPC server [%(default)s]"
    )
    client_flags.add_flags(parser)
    parser.add_argument("--seed", type=int, help="which picture is drawn")
    parser.set_defaults(command=_demo, parser=parser)


def _demo(flags: dict[str, object]) -> int:
    # OpenCV and the drawing are for this command alone.
    key, credentials = client_flags.api_key(flags), client_flags.credentials(flags)
    show = import_module("featsvc.demo.show").show
    print(show(**flags, api_key=key, credentials=credentials))
    return 0
