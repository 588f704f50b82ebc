"""Who may import whom, and who may name a parameter: read from the syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from featsvc.v1 import clip_pb2, dino_pb2, features_pb2, objects_pb2, options_pb2, sam2_pb2

ROOT = Path(__file__).parents[2]
CONTRACT = (
    "featsvc.v1",
    "featsvc.twin",
    "featsvc.fields",
    "featsvc.codec",
    "featsvc.certificates",
    "featsvc.children",
    "featsvc.environment",
    "featsvc.errors",
    "featsvc.logs",
    "featsvc.memory",
    "featsvc.output",
    "featsvc.processes",
    "featsvc.request_ids",
    "featsvc.tracing",
    "featsvc.work",
    "featsvc.wrong_keys",
)
TORCH = ("torch", "torchvision", "open_clip", "timm", "sam2")
GRPC = ("grpc", "google.protobuf", "google.rpc", "grpc_health", "grpc_reflection")
WEB = ("fastapi", "starlette", "uvicorn")
FORBIDDEN = {
    "featsvc/work": (
        *GRPC,
        *WEB,
        *TORCH,
        "featsvc.server",
        "featsvc.pool",
        "featsvc.engines",
        "featsvc.catalog",
    ),
    "featsvc/codec": (
        "grpc",
        *WEB,
        *TORCH,
        "featsvc.server",
        "featsvc.pool",
        "featsvc.engines",
        "featsvc.catalog",
    ),
    "featsvc/engines": (*GRPC, *WEB, "featsvc.server", "featsvc.pool", "featsvc.twin.messages", "rest_shim"),
    "featsvc/catalog": (*GRPC, *WEB, "featsvc.server", "featsvc.pool"),
    "featsvc/pool": (*GRPC, *WEB, *TORCH, "featsvc.server", "featsvc.engines", "featsvc.catalog"),
    "featsvc/server": (*WEB, *TORCH, "featsvc.engines", "featsvc.batch", "rest_shim"),
    "featsvc/batch": (*WEB, "rest_shim"),
    "featsvc/settings": (
        *GRPC,
        *WEB,
        *TORCH,
        "featsvc.server",
        "featsvc.pool",
        "featsvc.engines",
        "featsvc.catalog",
        "rest_shim",
    ),
    "featsvc/twin": (*WEB, *TORCH, "featsvc.server", "featsvc.pool", "featsvc.engines", "featsvc.catalog"),
}
# Names that are no parameters: what every request has, and the parts of shapes and tensors.
COMMON_WORDS = {
    "image",
    "url",
    "content",
    "data",
    "shape",
    "dtype",
    "x",
    "y",
    "x0",
    "y0",
    "x1",
    "y1",
    "points",
}


def sources(folder: str) -> list[Path]:
    return [path for path in sorted((ROOT / folder).rglob("*.py")) if "build" not in path.parts]


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_a_layer_imports_nothing_that_it_may_not_know(folder: str) -> None:
    files = sources(folder)
    assert files
    found = [
        f"{path.relative_to(ROOT)}: {module}"
        for path in files
        for module in imports(path)
        if within(module, FORBIDDEN[folder])
    ]
    assert found == []


@pytest.mark.parametrize(
    ("folder", "known"),
    [("rest_shim", (*CONTRACT, "featsvc.settings")), ("clients/python/featsvc_client", CONTRACT)],
)
def test_shim_and_client_know_only_the_contract(folder: str, known: tuple[str, ...]) -> None:
    files = sources(folder)
    assert files
    found = [
        f"{path.relative_to(ROOT)}: {module}"
        for path in files
        for module in imports(path)
        if within(module, ("featsvc",))
        and module != "featsvc"
        and not within(module, known)
        and module not in ("featsvc.__version__",)
    ]
    assert found == []


def parameter_names() -> set[str]:
    names: set[str] = set()
    for file in (clip_pb2, dino_pb2, features_pb2, sam2_pb2, objects_pb2):
        for name, message in file.DESCRIPTOR.message_types_by_name.items():
            if message.GetOptions().Extensions[options_pb2.parameters] or name in (
                "Prompt",
                "Texts",
                "TextQuery",
            ):
                names |= {field.name for field in message.fields}
    return names - COMMON_WORDS


def names_in(path: Path) -> Iterator[tuple[str, int]]:
    """Identifiers, attributes, keywords, arguments and short texts of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        line = getattr(node, "lineno", 0)
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield name, line
            case ast.keyword(arg=str(name)) | ast.Constant(value=str(name)):
                yield name, line


def test_the_parameter_names_are_those_of_the_document() -> None:
    assert {
        "points_per_side",
        "load_size",
        "facet",
        "softmax",
        "text",
        "point_coords",
        "preset",
    } <= parameter_names()


@pytest.mark.parametrize("folder", ["rest_shim", "clients/python/featsvc_client"])
def test_shim_and_client_name_no_parameter(folder: str) -> None:
    parameters = parameter_names()
    # Replies have fields of the same name where the document calls both alike.
    replies = {"point_coords", "stride", "pca_basis"}
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in sources(folder)
        for name, line in names_in(path)
        if name in parameters - replies
    ]
    assert found == []


# The first hands the whole environment on to its child, the second sets what a worker gets beside its template's, the
# others set a variable before gRPC is imported.
READ_NOTHING = (
    "featsvc/pool/workers/process.py",
    "featsvc/pool/worker/template.py",
    "featsvc/__main__.py",
    "rest_shim/processes/entry.py",
)


@pytest.mark.parametrize("folder", ["featsvc", "rest_shim", "clients/python/featsvc_client", "protos"])
def test_only_settings_modules_read_the_environment(folder: str) -> None:
    found = [
        str(path.relative_to(ROOT))
        for path in sources(folder)
        if path.name != "environment.py"
        and str(path.relative_to(ROOT)) not in READ_NOTHING
        and any(within(module, ("os.environ", "os.getenv")) for module in _attributes(path))
    ]
    assert found == []


def _attributes(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"


@pytest.mark.parametrize(
    "folder", ["featsvc", "rest_shim", "clients/python/featsvc_client", "protos", "tests"]
)
def test_no_function_has_more_than_six_arguments_and_no_file_more_than_about_300_lines(folder: str) -> None:
    too_much: list[str] = []
    for path in sources(folder):
        if path.parent == ROOT / "featsvc" / "v1":
            continue
        text = path.read_text()
        if len(text.splitlines()) > 310:
            too_much.append(f"{path.relative_to(ROOT)}: {len(text.splitlines())} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                count = sum(argument.arg not in ("self", "cls") for argument in arguments)
                if count > 6 and "PLR0913" not in text.splitlines()[node.lineno - 1]:
                    too_much.append(f"{path.relative_to(ROOT)}:{node.lineno}: {count} arguments")
    assert too_much == []


@pytest.mark.parametrize("folder", ["featsvc/engines", "featsvc/pool"])
def test_nothing_behind_the_gateway_asks_which_fields_were_given(folder: str) -> None:
    # Jobs share a batch if their parameters are equal, and equality does not see which fields were given.
    assert [path for path in sources(folder) if "model_fields_set" in path.read_text()] == []
