"""Writes featsvc/v1/params.py: the parameters as TypedDicts, for `**params: Unpack[...]`."""

from __future__ import annotations

import json
from textwrap import indent

from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto
from reading import (
    HEADER,
    SCALARS,
    F,
    is_array,
    local,
    param_of,
    parameter_fields,
    parameters_name,
    requested,
    words,
)


def params(descriptors: bytes) -> str:
    """The source of featsvc/v1/params.py: the same fields as TypedDicts, for `**params: Unpack[...]`."""
    imports = (
        "from __future__ import annotations\n\n"
        "from collections.abc import Sequence\n"
        "from typing import Literal, TypedDict\n"
    )
    enums = {
        f".featsvc.v1.{item.node.name}": item.node
        for item in requested(descriptors)
        if isinstance(item.node, EnumDescriptorProto)
    }
    nodes = {
        item.node.name: item.node for item in requested(descriptors) if isinstance(item.node, DescriptorProto)
    }
    arrays = {f".featsvc.v1.{name}": node for name, node in nodes.items() if is_array(node)}
    body = ""
    for item in requested(descriptors):
        node = item.node
        if isinstance(node, EnumDescriptorProto) or is_array(node) or node.name == "Tensor":
            continue
        if node.name.endswith("Request"):
            if held := parameter_fields(node, nodes):
                bases = ", ".join(map(local, held))
                body += f"\n\nclass {parameters_name(node)}({bases}, total=False):\n"
                body += f'    """The parameters of {node.name}, side by side."""\n'
            continue
        lines = [f'"""{item.comment}"""']
        for index, field in enumerate(node.field):
            if node.name == "Image" and field.HasField("oneof_index") and not field.proto3_optional:
                continue  # which source a picture has is told by the value that is given for it
            default = param_of(field).default
            comment = item.member_comments[index] + (f" Default: {default}." if default else "")
            lines += [*_keywords(field, enums, arrays), f'"""{comment}"""']
        body += f"\n\nclass {node.name}(TypedDict, total=False):\n" + indent("\n".join(lines), "    ") + "\n"
    return HEADER + imports + body


def _keywords(
    field: F, enums: dict[str, EnumDescriptorProto], arrays: dict[str, DescriptorProto]
) -> list[str]:
    """The keyword of one field; a tensor is two in JSON: its base64 text and its shape."""
    if field.type_name == ".featsvc.v1.Tensor":
        return [f"{field.name}: object", f"{field.name}_shape: Sequence[int]"]
    kind = _keyword_type(field, enums, arrays)
    param = param_of(field)
    if param.one_or_many:
        kind = f"{SCALARS[field.type]} | {kind}"
    # None means as much as leaving it out, but for what cannot be left out.
    return [f"{field.name}: {kind}" if param.min_items else f"{field.name}: {kind} | None"]


def _keyword_type(field: F, enums: dict[str, EnumDescriptorProto], arrays: dict[str, DescriptorProto]) -> str:
    if field.type_name in enums:
        kind = "Literal[" + ", ".join(json.dumps(word) for _, word in words(enums[field.type_name])) + "]"
    elif field.type_name in arrays:
        inner = arrays[field.type_name].field[0]
        kind = _keyword_type(inner, enums, arrays)
        kind = kind if inner.label == F.LABEL_REPEATED else f"Sequence[{kind}]"
    elif field.type_name:
        kind = local(field)
    else:
        kind = SCALARS[field.type]
    return f"Sequence[{kind}]" if field.label == F.LABEL_REPEATED else kind
