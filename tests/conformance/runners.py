"""The runners of all languages: how each is built and run. A new language is one more entry."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import pytest
from featsvc_client.conformance.cases import Json, by_name

ROOT = Path(__file__).parents[2]
BUILT = ROOT / "build" / "clients"
# One for all processes of a run.
RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"{os.getpid()} {time.time()}")
QUICKLY = {**os.environ, "CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count())}

# Programs that nobody here wrote.
FOREIGN = {
    "grpcurl": "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3",
    "ghz": "github.com/bojand/ghz/cmd/ghz@v0.121.0",
}
PATH = os.pathsep.join((str(BUILT), os.environ["PATH"]))
"""Where a shell finds them."""


@contextmanager
def alone_at(name: str) -> Iterator[None]:
    """Other processes of the tests do not build the same meanwhile."""
    BUILT.mkdir(parents=True, exist_ok=True)
    with (BUILT / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def foreign(name: str) -> str:
    """Where one of FOREIGN is; it is built if need be, and skips the test where it is not to be.

    `CalledProcessError` where that fails.
    """
    with alone_at(name):
        if found := shutil.which(name, path=PATH):
            return found
        if shutil.which("go") is None:
            pytest.skip(f"{name}: neither it nor go on this machine")
        if not os.environ.get("BUILD_CLIENTS"):
            pytest.skip(f"{name}: not built here yet; make test-clients does")
        subprocess.run(["go", "install", FOREIGN[name]], env={**os.environ, "GOBIN": str(BUILT)}, check=True)
    return str(BUILT / name)


@dataclass(frozen=True)
class Runner:
    """A program that is given ADDRESS, CASES.json and API_KEY and prints one line of JSON about each question."""

    language: str
    run: tuple[str, ...]
    """The command, from the client's folder."""
    tools: tuple[str, ...] = ()
    """Programs that must be there; without one of them the language is skipped."""
    build: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.language

    def built(self) -> None:
        """Builds it; skips the test where the language is not on this machine, or was never built here.

        A first build takes minutes, which belong to `make test-clients` (it sets BUILD_CLIENTS) and not to `make test`.
        """
        missing = [tool for tool in self.tools if shutil.which(tool) is None]
        if missing:
            pytest.skip(f"{self.language}: no {', '.join(missing)} on this machine")
        if self.build:
            mark = BUILT / f"{self.language}.built"
            if not mark.exists() and not os.environ.get("BUILD_CLIENTS"):
                pytest.skip(f"{self.language}: not built here yet; make test-clients does")
            with alone_at(self.language):
                # Once in a run: another of its processes may be using what a second build would replace.
                if not mark.exists() or mark.read_text() != RUN:
                    subprocess.run(self.build, cwd=self._folder, env=QUICKLY, check=True)
                    mark.write_text(RUN)

    def lines(self, address: str, cases: Path, api_key: str) -> dict[str, Json]:
        """What it prints about the cases, by the names of the lines."""
        return by_name(self.printed(address, cases, api_key))

    def printed(self, address: str, cases: Path, api_key: str) -> Iterator[str]:
        """The lines, each as it comes."""
        command = (*self.run, address, str(cases), api_key)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FEATSVC_")}
        with (
            TemporaryFile("w+") as errors,
            subprocess.Popen(
                command, cwd=self._folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=errors
            ) as process,
        ):
            assert process.stdout is not None
            yield from process.stdout
            status = process.wait()
            errors.seek(0)
            assert status == 0, f"{self.language}: {errors.read()[-3000:]}"

    @property
    def _folder(self) -> Path:
        return ROOT / "clients" / self.language


PYTHON = Runner("python", (sys.executable, "-m", "featsvc_client.conformance"))
CPP = Runner(
    "cpp",
    (str(BUILT / "cpp" / "cpp-conformance"),),
    tools=("cmake", "c++", "protoc", "grpc_cpp_plugin"),
    build=(
        "sh",
        "-c",
        'cmake -S . -B "$0" -DCMAKE_CXX_FLAGS_RELEASE=-O1 && cmake --build "$0" --target cpp-conformance',
        str(BUILT / "cpp"),
    ),
)
GO = Runner(
    "go",
    (str(BUILT / "go-conformance"),),
    tools=("go",),
    build=("go", "build", "-o", str(BUILT / "go-conformance"), "./internal/conformance"),
)
JAVA = Runner(
    "java",
    ("java", "-cp", "target/classes:target/test-classes:target/conformance/*", "featsvc.conformance.Main"),
    tools=("java", "mvn"),
    build=("mvn", "--batch-mode", "--quiet", "-DskipTests", "package"),
)
RUST = Runner(
    "rust",
    (str(BUILT / "rust" / "debug" / "examples" / "conformance"),),
    tools=("cargo",),
    build=("cargo", "build", "--quiet", "--target-dir", str(BUILT / "rust"), "--example", "conformance"),
)
TYPESCRIPT = Runner(
    "typescript",
    ("node", "dist/conformance/main.js"),
    tools=("node", "npm"),
    build=("npm", "run", "--silent", "build"),
)
RUNNERS = (PYTHON, CPP, GO, JAVA, RUST, TYPESCRIPT)
