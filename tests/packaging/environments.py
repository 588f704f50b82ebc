"""Environments that hold some of the packages installed here and nothing else; nothing is downloaded for them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from deploy.lock import closure

OURS = {"featsvc", "featsvc-client"}
COPIED = {"fastapi-offline"}
"""The port of REST serves files of it, and no file that is a link out of its folder."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and an empty folder from which its programs are run."""

    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def packages(self) -> Path:
        """Where its packages are."""
        return (
            self.folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
        )

    @property
    def elsewhere(self) -> Path:
        """A folder outside the tree."""
        return self.folder / "elsewhere"

    def command(self, name: str) -> str:
        """A program that a package installed."""
        return str(self.folder / "bin" / name)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs a program of this environment to its end."""
        return subprocess.run(
            words, cwd=self.elsewhere, env=plain(), capture_output=True, text=True, check=False, timeout=150
        )

    def ask(self, code: str) -> str:
        """What a few lines of Python print."""
        ended = self.run(str(self.python), "-c", code)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout


def plain() -> dict[str, str]:
    """The environment variables without those that lead Python to other packages, or configure featsvc."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("FEATSVC_", "PYTHON"))}


def environment(folder: Path, *asked: str) -> Environment:
    """An environment with all that these requirements need in turn, as it is installed here, but nothing of ours."""
    venv.create(folder, with_pip=False, symlinks=True)
    made = Environment(folder)
    made.elsewhere.mkdir()
    for name in closure(asked) - OURS:
        _link(name, made.packages)
    return made


def install(made: Environment, *wheels: Path) -> None:
    """Installs wheels, and nothing that they ask for."""
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(made.python),
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
    ]
    subprocess.run([*pip, *map(str, wheels)], check=True, env=plain())


def _link(name: str, packages: Path) -> None:
    try:
        files = distribution(name).files or []
    except PackageNotFoundError:  # what another system would need
        return
    for file in files:
        if ".." not in file.parts:
            link = packages / file
            link.parent.mkdir(parents=True, exist_ok=True)
            source = Path(str(file.locate()))
            if name in COPIED:
                shutil.copyfile(source, link)
            else:
                link.symlink_to(source)
