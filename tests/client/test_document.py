"""Every function that the document's client part names is there and takes what it is given there."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from featsvc_client import clip_client, dino_client, sam2_client

from tests.client.document import examples

MODULES = {"clip": clip_client, "dino": dino_client, "sam2": sam2_client}
PACKAGE = Path(clip_client.__file__).parent
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("family", MODULES)
def test_every_documented_function_is_imported_by_star(family: str) -> None:
    names: dict[str, object] = {}
    exec(f"from featsvc_client.{family}_client import *", names)
    called = {
        node.func.id
        for node in ast.walk(ast.parse(examples()[family]))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    } - {"print"}
    assert called
    assert called <= names.keys()


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
def test_all_lists_what_the_module_has(module: ModuleType) -> None:
    assert all(inspect.isfunction(getattr(module, name)) for name in module.__all__)


MISTAKES = """
extract_clip_features("image.jpg", ret_pac=True)
extract_clip_features("image.jpg", ret_pca="yes")
encode_clip_text("a car", softmax=1.0)
"""


@pytest.mark.slow
def test_the_type_checker_takes_the_documented_examples_and_refuses_mistakes(tmp_path: Path) -> None:
    for family, example in examples().items():
        (tmp_path / f"{family}.py").write_text(example)
    (tmp_path / "mistakes.py").write_text("from featsvc_client.clip_client import *\n" + MISTAKES)
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", str(tmp_path)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    errors = re.findall(r"(\w+)\.py:(\d+): error: .*\[([a-z-]+)\]", checked.stdout)
    assert errors == [
        ("mistakes", "3", "call-arg"),
        ("mistakes", "4", "arg-type"),
        ("mistakes", "5", "call-arg"),
    ], checked.stdout + checked.stderr


def test_importing_the_client_loads_neither_torch_nor_the_server() -> None:
    modules = [
        f"featsvc_client.{path.stem}" for path in sorted(PACKAGE.glob("*.py")) if path.stem != "__init__"
    ]
    program = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "featsvc_client.client" in loaded
    assert not [
        name
        for name in loaded
        if re.match(r"torch|fastapi|yaml|featsvc\.(server|pool|engines|catalog)", name)
    ]
