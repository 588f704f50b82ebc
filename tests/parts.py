"""Parameters of a call as a caller without our classes gives them: unchecked, in the messages that hold them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from featsvc.fields.base import Parameters


def parts(kind: type[Parameters], params: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The fields of a request that hold these parameters, in the order of the contract."""
    held: dict[str, dict[str, Any]] = {name: {} for name in kind.held_by}
    for name, value in params.items():
        held[kind.holder(name) or "params"][name] = value
    return {holder: given for holder, given in held.items() if given}


def side_by_side(request: Message, kind: type[Parameters]) -> dict[str, Any]:
    """The parameters that a request gives."""
    given = MessageToDict(request, preserving_proto_field_name=True)
    return {name: value for holder in kind.held_by for name, value in given.get(holder, {}).items()}
