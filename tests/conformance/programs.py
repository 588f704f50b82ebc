"""The programs that the pages print, and how a reader runs them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.conformance.runners import BUILT, CPP, GO, JAVA, QUICKLY, ROOT, RUST, TYPESCRIPT, Runner

CLIENTS = ROOT / "clients"
OVERVIEW = CLIENTS / "README.md"
LINES = "LINES"


def blocks(page: Path, kind: str) -> list[str]:
    """The blocks of a language in a page."""
    return re.findall(rf"^```{kind}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Language:
    """How programs of a language come to run."""

    runner: Runner
    source: str
    """Name of the file that the program goes into."""
    more: Mapping[str, str] = field(default_factory=dict)
    """Names of the further files that the page shows, by the kind of their blocks."""
    around: str = LINES
    """The smallest program around the lines of the overview."""

    def __str__(self) -> str:
        return self.runner.language

    @property
    def page(self) -> Path:
        """Its README."""
        return CLIENTS / str(self) / "README.md"

    def program(self) -> str:
        """The one of its README."""
        (found,) = blocks(self.page, str(self))
        return found

    def overview(self) -> str:
        """The lines in the overview, made a program."""
        (lines,) = blocks(OVERVIEW, str(self))
        return self.around.replace(LINES, lines)

    def printed(self, program: str, here: Path) -> list[str]:
        """The lines that a program prints, run by the commands of the page in a folder."""
        self.runner.built()
        if self.runner is CPP:
            here = kept(here)
        files = {name: "\n".join(blocks(self.page, kind)) for kind, name in self.more.items()}
        for name, text in {**files, self.source: program}.items():
            path = here / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text.replace("FOLDER", str(ROOT)))
        commands = "\n".join(["set -e", *blocks(self.page, "sh")])
        return ran(here, "bash", "-c", commands.replace("FOLDER", str(ROOT)))


def kept(here: Path) -> Path:
    """The same folder in a place that stays: the client, compiled there too, takes minutes only once."""
    place = BUILT / "cpp-readme"
    place.mkdir(parents=True, exist_ok=True)
    shutil.copytree(here, place, dirs_exist_ok=True)
    return place


def ran(here: Path, *words: str) -> list[str]:
    """What a command prints in a folder."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    # Programs in Rust share what they are made of.
    environment = {**QUICKLY, "PATH": path, "CARGO_TARGET_DIR": str(BUILT / "rust")}
    done = subprocess.run(words, cwd=here, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout.splitlines()


AROUND_CPP = """#include <featsvc/featsvc.h>
#include <iostream>
namespace v1 = featsvc::v1;
int main() {
LINES}
"""
AROUND_GO = """package main
import (
	"context"
	"fmt"
	"featsvc"
	pb "featsvc/gen/featsvc/v1"
)
func main() {
	ctx := context.Background()
LINES}
"""
AROUND_JAVA = """import featsvc.*;
import featsvc.v1.DinoServiceExtractFeaturesRequest;
import java.nio.file.Path;
import java.util.Arrays;
class Example {
    public static void main(String[] arguments) throws Exception {
LINES}}
"""
AROUND_RUST = """use featsvc::proto::DinoServiceExtractFeaturesRequest;
use featsvc::{Client, Options, features, picture_file};
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
LINESOk(())
}
"""
LANGUAGES = (
    Language(CPP, "main.cc", {"cmake": "CMakeLists.txt"}, AROUND_CPP),
    Language(GO, "main.go", around=AROUND_GO),
    Language(JAVA, "Example.java", around=AROUND_JAVA),
    Language(RUST, "src/main.rs", {"toml": "Cargo.toml"}, AROUND_RUST),
    Language(TYPESCRIPT, "image.mjs"),
)


def python(program: str, here: Path) -> list[str]:
    """The lines that a Python program prints in a folder."""
    return ran(here, sys.executable, "-c", program)
