"""What the coverage-guided fuzzer runs: `python -m tests.chaos.instrumented TARGET CORPUS`, and flags of libFuzzer.

It goes on from the inputs that reach new code. Whatever a target raises that no caller is told as his own mistake ends
the process, and the input is kept.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

import atheris

# Before anything imports them: only what is imported in here tells the fuzzer which of its lines were reached.
with atheris.instrument_imports(include=["featsvc", "rest_shim", "PIL", "imagesize"]):
    from google.protobuf.message import DecodeError
    from pydantic import ValidationError

    from featsvc.codec.wire import refuse_crowded
    from featsvc.engines.decoding.pictures import decoded, may_take_long
    from featsvc.errors import FeatsvcError
    from featsvc.twin.messages import from_message
    from featsvc.twin.methods import message_class, method_of, twin_of
    from featsvc.twin.violations import violations
    from featsvc.work.item import PictureItem
    from featsvc.work.operations import OPERATIONS
    from featsvc.work.options import EngineOptions
    from rest_shim.app.endpoints import FAMILIES
    from rest_shim.app.question import question
    from rest_shim.errors import HttpError
    from rest_shim.request.accept import Form

LEAST_DEFECT = 500
# Small, so that no input takes long by right.
OPTIONS = EngineOptions(max_image_pixels=1 << 18, max_image_bytes=1 << 20, decode_timeout=1.0)
REQUESTS = tuple(method_of(each.rpc).input_type for each in OPERATIONS)
ENDPOINTS = tuple(each for port in FAMILIES.values() for each in port.endpoints)


class Defect(Exception):
    """What no caller can have done wrong."""


def pictures(content: bytes) -> None:
    """A file, from its header to RGB."""
    item = PictureItem(image=content)
    try:
        may_take_long([item], OPTIONS)
        decoded(item, OPTIONS)
    except FeatsvcError:
        return


def messages(content: bytes) -> None:
    """A request of the operation that the first byte says, from the wire to its frozen twin."""
    asked, raw = REQUESTS[content[0] % len(REQUESTS) if content else 0], content[1:]
    kind, twin = message_class(asked), twin_of(asked)
    try:
        refuse_crowded(raw, kind.DESCRIPTOR)
        from_message(kind.FromString(raw), twin)
    except ValidationError as error:
        if not violations(error, twin):
            raise Defect("a mistake that names no field") from error
    except (DecodeError, FeatsvcError):
        return


def bodies(content: bytes) -> None:
    """A JSON body of the endpoint that the first byte says, to the request that goes to the gateway."""
    endpoint = ENDPOINTS[content[0] % len(ENDPOINTS) if content else 0]
    try:
        question(endpoint, bytearray(content[1:]), Form.JSON)
    except HttpError as error:
        if error.status >= LEAST_DEFECT:
            raise Defect(f"status {error.status}") from error
        error.response()


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    each.__name__: each for each in (pictures, messages, bodies)
}


if __name__ == "__main__":
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
