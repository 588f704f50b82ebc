"""The programs in the READMEs, run as they are printed, against the demo server."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conformance.pictures import scene
from tests.conformance.runners import BUILT, CPP, GO, JAVA, ROOT, RUST, TYPESCRIPT
from tests.servers import KEY, Server

# A first build of a client compiles gRPC.
pytestmark = pytest.mark.timeout(1500)
CLIENTS = ROOT / "clients"


def programs(page: Path, language: str) -> list[str]:
    """The programs of a language in a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def at(program: str, server: Server, replacements: Sequence[tuple[str, str]]) -> str:
    """The program as printed, but for the address, the key and the place of the picture."""
    for printed, meant in (("localhost:50051", server.target), *replacements):
        assert printed in program
        program = program.replace(printed, meant)
    return program


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "image.jpg"
    scene().resize((192, 128)).save(path)
    return path


def test_the_python_program_of_the_overview_runs(demo_server: Server, picture: Path) -> None:
    (program,) = programs(CLIENTS / "README.md", "python")
    key = f'{demo_server.target}", api_key="{KEY}"'
    program = at(program, demo_server, [(f'{demo_server.target}"', key), ("image.jpg", str(picture))])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("(10, 14, 128) ")


def test_the_go_program_runs(demo_server: Server, picture: Path, tmp_path: Path) -> None:
    GO.built()
    (program,) = programs(CLIENTS / "go" / "README.md", "go")
    key = f'featsvc.Options{{APIKey: "{KEY}"}}'
    source = tmp_path / "main.go"
    source.write_text(at(program, demo_server, [("featsvc.Options{}", key), ("image.jpg", str(picture))]))
    done = subprocess.run(
        ["go", "run", source], cwd=CLIENTS / "go", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    features, masks, refused = done.stdout.splitlines()
    assert features.startswith("features [10 14 128] ")
    assert masks.startswith("masks [3 128 192] ")
    assert refused.startswith("InvalidArgument [{texts")


def test_the_java_program_runs(demo_server: Server, picture: Path, tmp_path: Path) -> None:
    JAVA.built()
    (program,) = programs(CLIENTS / "java" / "README.md", "java")
    key = f'{demo_server.target}", featsvc.ConnectOptions.DEFAULT.withApiKey("{KEY}")'
    source = tmp_path / "Example.java"
    source.write_text(
        at(program, demo_server, [(f'{demo_server.target}"', key), ("image.jpg", str(picture))])
    )
    done = subprocess.run(
        ["java", "-cp", "target/featsvc-0.0.0.jar:target/lib/*", source],
        cwd=CLIENTS / "java",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    features, masks, refused = done.stdout.splitlines()
    assert features.startswith("features [10, 14, 128] ")
    assert masks.startswith("masks [3, 128, 192] ")
    assert refused.startswith("INVALID_ARGUMENT [texts: ")


def test_the_rust_program_runs(demo_server: Server, picture: Path, tmp_path: Path) -> None:
    RUST.built()
    page = CLIENTS / "rust" / "README.md"
    (program,), (needs,) = programs(page, "rust"), programs(page, "toml")
    key = f'Options {{ api_key: "{KEY}".into(), ..Options::default() }}'
    source = tmp_path / "src" / "main.rs"
    source.parent.mkdir()
    source.write_text(at(program, demo_server, [("Options::default()", key), ("image.jpg", str(picture))]))
    about = '[package]\nname = "program"\nedition = "2024"\n'
    (tmp_path / "Cargo.toml").write_text(about + needs.replace("FOLDER", str(ROOT)))
    done = subprocess.run(
        ["cargo", "run", "--quiet", "--target-dir", BUILT / "rust"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    features, masks, refused = done.stdout.splitlines()
    assert features.startswith("features [10, 14, 128] ")
    assert masks.startswith("masks [3, 128, 192] ")
    assert refused.startswith('INVALID_ARGUMENT [FieldViolation { field: "texts')


def test_the_typescript_programs_run(demo_server: Server, picture: Path, tmp_path: Path) -> None:
    TYPESCRIPT.built()
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "featsvc").symlink_to(CLIENTS / "typescript")
    printed = []
    for page in (CLIENTS / "README.md", CLIENTS / "typescript" / "README.md"):
        (program,) = programs(page, "typescript")
        key = f'{demo_server.target}", {{ apiKey: "{KEY}" }}'
        source = tmp_path / "image.mjs"
        source.write_text(
            at(program, demo_server, [(f'{demo_server.target}"', key), ("image.jpg", str(picture))])
        )
        done = subprocess.run(["node", source], capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        printed += done.stdout.splitlines()
    overview, features, masks, refused = printed
    assert overview.startswith("[ 10, 14, 128 ] ")
    assert features.startswith("features [ 10, 14, 128 ] ")
    assert masks.startswith("masks [ 3, 128, 192 ] ")
    assert refused.startswith("INVALID_ARGUMENT [ { field: 'texts'")


def test_the_cpp_program_runs(demo_server: Server, picture: Path) -> None:
    CPP.built()
    page = CLIENTS / "cpp" / "README.md"
    (build,), (program,) = programs(page, "cmake"), programs(page, "cpp")
    # In a folder that stays, because the program's project compiles the client too.
    folder = BUILT / "cpp-readme"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "CMakeLists.txt").write_text(build.replace("FOLDER", str(ROOT)))
    key = f'options;\n  options.api_key = "{KEY}";'
    (folder / "main.cc").write_text(
        at(program, demo_server, [("options;", key), ("image.jpg", str(picture))])
    )
    for words in (["cmake", "-S", ".", "-B", "build"], ["cmake", "--build", "build"]):
        subprocess.run(words, cwd=folder, capture_output=True, check=True)
    done = subprocess.run([folder / "build" / "example"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    features, masks, refused, field = done.stdout.splitlines()
    assert features.startswith("features 10 x 14 x 128: ")
    assert masks.startswith("masks 3 x 128 x 192: ")
    assert refused.startswith("featsvc: INVALID_ARGUMENT: ")
    assert field.startswith("texts: ")
