"""Writes featsvc/v1/schema.py: an enum for each enum, a frozen pydantic class for each message of a request."""

from __future__ import annotations

import ast
import json
from collections.abc import Collection, Mapping, Sequence
from textwrap import indent

from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto
from reading import (
    HEADER,
    RULE,
    SCALARS,
    Commented,
    F,
    is_array,
    local,
    param_of,
    parameter_fields,
    parameters_name,
    requested,
    words,
)

PARAMS = "The parameters."


def schema(descriptors: bytes) -> str:
    """The source of featsvc/v1/schema.py: an enum for each enum, a frozen class for each requested message."""
    items = list(requested(descriptors))
    numbers = {item.node.name for item in items if is_array(item.node) and not _is_list(item.node)}
    nodes = {item.node.name: item.node for item in items if isinstance(item.node, DescriptorProto)}
    body = ""
    for item in items:
        if isinstance(item.node, EnumDescriptorProto):
            body += _enum(item)
        elif held := _held(item.node, nodes):
            body += _parameters(item.node, held) + _request(item, held, numbers)
        else:
            body += _class(item, numbers)
    imports = (
        "from __future__ import annotations\n\n"
        "from collections.abc import Mapping\n"
        "from enum import StrEnum\n"
        "from typing import Annotated, ClassVar, NamedTuple\n\n"
        "from pydantic import Field, StringConstraints\n\n"
        "from featsvc.fields.base import AbsentIfNull, Base64InText, Few, Message, NullMeans, Number, OneOrMany\n"
        "from featsvc.fields.base import Parameters, Parts, Rule, Ruled\n"
    )
    return HEADER + imports + body


def _held(node: DescriptorProto, nodes: Mapping[str, DescriptorProto]) -> list[F]:
    """The fields of a request that hold parameters; inside other messages these are messages like all others."""
    return parameter_fields(node, nodes) if node.name.endswith("Request") else []


def _enum(item: Commented) -> str:
    assert isinstance(item.node, EnumDescriptorProto)
    lines = [f'"""{item.comment}"""']
    for index, word in words(item.node):
        value = item.node.value[index]
        prefix = next(iter(item.node.value)).name.removesuffix("UNSPECIFIED")
        lines += [
            f"{value.name.removeprefix(prefix)} = {json.dumps(word)}",
            f'"""{item.member_comments[index]}"""',
        ]
    return f"\n\nclass {item.node.name}(StrEnum):\n" + indent("\n".join(lines), "    ") + "\n"


def _is_list(node: DescriptorProto | EnumDescriptorProto) -> bool:
    return isinstance(node, DescriptorProto) and node.field[0].label == F.LABEL_REPEATED


def _class(item: Commented, numbers: Collection[str]) -> str:
    """The source of one class; `numbers` are the messages that JSON writes as a list of so many numbers."""
    node = item.node
    assert isinstance(node, DescriptorProto)
    if is_array(node) and _is_list(node):
        kind = _annotated(node.field[0], numbers)
        return f"\n\n{node.name} = {kind}\n" + f'"""{item.comment}"""\n'
    lines = [f'"""{item.comment}"""']
    for index, field in enumerate(node.field):
        comment = item.member_comments[index]
        if is_array(node):
            lines.append(f"{field.name}: {_annotated(field, numbers, description=comment)}")
        else:
            lines.append(_field(field, comment, numbers))
    constraints = _constraints(node)
    base = "NamedTuple" if is_array(node) else "Ruled" if constraints else "Message"
    return f"\n\nclass {node.name}({base}):\n" + indent("\n".join([*lines, *constraints]), "    ") + "\n"


def _parameters(request: DescriptorProto, held: Sequence[F]) -> str:
    """The class of all parameters of a request: it inherits from those that hold them there."""
    # Reversed, because pydantic lists the fields of the last base first.
    bases = ", ".join([*(local(field) for field in reversed(held)), "Parameters"])
    holders = ", ".join(f"{json.dumps(field.name)}: {local(field)}" for field in held)
    lines = [
        f'"""The parameters of {request.name}, side by side."""',
        f"held_by: ClassVar[Mapping[str, type[Message]]] = {{{holders}}}",
        *_rules(request),
    ]
    return f"\n\nclass {parameters_name(request)}({bases}):\n" + indent("\n".join(lines), "    ") + "\n"


def _request(item: Commented, held: Sequence[F], numbers: Collection[str]) -> str:
    """The class of a request, which has all its parameters in one field."""
    node = item.node
    assert isinstance(node, DescriptorProto)
    lines = [f'"""{item.comment}"""']
    for index, field in enumerate(node.field):
        if field not in held:
            lines.append(_field(field, item.member_comments[index], numbers))
    name = parameters_name(node)
    lines.append(
        f"params: {name} = Field(default_factory=lambda: {name}(), description={json.dumps(PARAMS)})"
    )
    return f"\n\nclass {node.name}(Message):\n" + indent("\n".join(lines), "    ") + "\n"


def _rules(node: DescriptorProto) -> list[str]:
    """The class variable for the rules, where there are some."""
    made = ", ".join(
        f"Rule({json.dumps(each.field)}, lambda v: {_over_values(each.holds)}, {json.dumps(each.message)})"
        for each in node.options.Extensions[RULE]
    )
    return [f"rules: ClassVar[tuple[Rule, ...]] = ({made},)"] if made else []


def _constraints(node: DescriptorProto) -> list[str]:
    """Class variables for the rules and for the fields of which exactly one must be given."""
    lines = _rules(node)
    groups: dict[int, list[str]] = {}
    for field in node.field:
        if field.HasField("oneof_index") and not field.proto3_optional:
            groups.setdefault(field.oneof_index, []).append(field.name)
    if groups:
        lines.append(
            f"one_of: ClassVar[tuple[tuple[str, ...], ...]] = {tuple(map(tuple, groups.values()))!r}"
        )
    return lines


def _over_values(expression: str) -> str:
    """The expression with each field name turned into a look-up in the mapping `v`."""

    class Names(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.AST:
            if node.id in ("len", "all", "any"):
                return node
            return ast.copy_location(ast.parse(f"v[{node.id!r}]", mode="eval").body, node)

    return ast.unparse(Names().visit(ast.parse(expression, mode="eval")))


def _field(field: F, comment: str, numbers: Collection[str]) -> str:
    """One line of a class: name, type with limits, default, description and example."""
    param = param_of(field)
    kind = _annotated(field, numbers)
    arguments = [f"description={json.dumps(comment, ensure_ascii=False)}"]
    if param.example:
        arguments.append(f"examples=[{_literal(field, param.example)!r}]")
    in_oneof = field.HasField("oneof_index") and not field.proto3_optional
    if param.default:
        arguments.insert(0, f"default={_default(field, param.default)}")
    elif field.label == F.LABEL_REPEATED:
        if not param.min_items:
            arguments.insert(0, "default=()")
    elif field.proto3_optional or in_oneof:
        kind = f"{kind} | None"
        arguments.insert(0, "default=None")
    return f"{field.name}: {kind} = Field({', '.join(arguments)})"


def _annotated(field: F, numbers: Collection[str], description: str = "") -> str:
    """The Python type of a field with its limits inside, where pydantic keeps them."""
    param = param_of(field)
    limits = [
        f"{word}={_number(field, getattr(param, name))}"
        for name, word in (("min", "ge"), ("max", "le"))
        if param.HasField(name)
    ]
    if field.type == F.TYPE_DOUBLE:
        limits.append("allow_inf_nan=False")
    kind = local(field) if field.type_name else SCALARS[field.type]
    marks = [f"Field({', '.join(limits)})"] if limits else []
    lengths = ["min_length=1"] if param.not_empty else []
    if param.HasField("max_length"):
        lengths.append(f"max_length={param.max_length}")
    if lengths:
        marks.append(f"StringConstraints({', '.join(lengths)})")
    if local(field) in numbers:
        marks.append("Parts()")
    if SCALARS.get(field.type) in ("int", "float") and not description:
        # Those of a named tuple are looked at together, by Parts.
        marks.append("Number()")
    if field.type == F.TYPE_BYTES:
        marks.append("Base64InText()")
    if param.null:
        marks.append(f"NullMeans({json.loads(param.null)!r})")
    if field.label == F.LABEL_REPEATED:
        kind = f"tuple[{_with(kind, marks)}, ...]"
        sizes = [
            f"{word}={getattr(param, name)}"
            for name, word in (("min_items", "min_length"), ("max_items", "max_length"))
            if param.HasField(name)
        ]
        marks = [*([f"Field({', '.join(sizes)})"] if sizes else []), "Few()"]
        if not param.min_items:
            marks.append("AbsentIfNull()")
        if param.one_or_many:
            marks.append("OneOrMany()")
    if description:
        marks.append(f"Field(description={json.dumps(description, ensure_ascii=False)})")
    return _with(kind, marks)


def _with(kind: str, marks: Sequence[str]) -> str:
    return f"Annotated[{', '.join([kind, *marks])}]" if marks else kind


def _number(field: F, value: float) -> str:
    return repr(value if field.type == F.TYPE_DOUBLE else int(value))


def _default(field: F, text: str) -> str:
    if field.type == F.TYPE_ENUM:
        return f"{local(field)}({json.dumps(text)})"
    return repr(_literal(field, text))


def _literal(field: F, text: str) -> object:
    if field.label != F.LABEL_REPEATED and field.type in (F.TYPE_STRING, F.TYPE_ENUM):
        return text
    value: object = json.loads(text)
    return float(value) if field.type == F.TYPE_DOUBLE and isinstance(value, int) else value
