"""Writes featsvc/v1/params.py: the parameters as TypedDicts, for `**params: Unpack[...]`."""

from __future__ import annotations

import json
from textwrap import indent

from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto
from reading import HEADER, SCALARS, F, is_array, param_of, requested, words


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
    nodes = [item.node for item in requested(descriptors) if isinstance(item.node, DescriptorProto)]
    arrays = {f".featsvc.v1.{node.name}": node for node in nodes if is_array(node)}
    body = ""
    for item in requested(descriptors):
        node = item.node
        if isinstance(node, EnumDescriptorProto) or is_array(node) or node.name in ("Image", "Tensor"):
            continue
        if node.name.endswith("Request"):
            continue
        lines = [f'"""{item.comment}"""']
        for index, field in enumerate(node.field):
            lines += [*_keywords(field, enums, arrays), f'"""{item.member_comments[index]}"""']
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
    nullable = param.null or not (param.default or param.min_items)
    return [f"{field.name}: {kind} | None" if nullable else f"{field.name}: {kind}"]


def _keyword_type(field: F, enums: dict[str, EnumDescriptorProto], arrays: dict[str, DescriptorProto]) -> str:
    if field.type_name in enums:
        kind = "Literal[" + ", ".join(json.dumps(word) for _, word in words(enums[field.type_name])) + "]"
    elif field.type_name in arrays:
        inner = arrays[field.type_name].field[0]
        kind = _keyword_type(inner, enums, arrays)
        kind = kind if inner.label == F.LABEL_REPEATED else f"Sequence[{kind}]"
    else:
        kind = SCALARS[field.type]
    return f"Sequence[{kind}]" if field.label == F.LABEL_REPEATED else kind
