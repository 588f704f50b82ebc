"""`python -m tests.gpu.wheels FOLDER`: wheels for a machine with a GPU, torch and no network, to run `make gpu-check`.

Their versions are those of requirements.lock.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from deploy.lock import closure, pinned, requirement_of

ASKED = ("featsvc[server,rest]", "pycocotools", "pytest-asyncio", "pytest-timeout")
THERE = (
    "httpx",
    "huggingface_hub",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "pytest",
    "pyyaml",
    "safetensors",
    "scipy",
    "torch",
    "torchvision",
)
"""What it has, each with all that it needs."""
TOO_OLD = {"typing-extensions"}
"""What it has, and may have too old."""
SOURCES = {"antlr4-python3-runtime", "iopath", "sam2"}
"""What its publishers give no wheels of: they are built here, and have no code for any one machine."""
PYTHON = "3.12"
GLIBC = (28, 27, 17)
MOST_BYTES = 64 << 20


def missing() -> list[str]:
    """What to bring, as pip takes it."""
    names = closure(ASKED) - {"featsvc", "featsvc-client"}
    lacking = names - (closure(THERE) - TOO_OLD)
    return [*pinned(lacking), requirement_of("sam2")]


def fill(folder: Path) -> int:
    """Fills the folder, and gives its bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.whl"):
        old.unlink()
    asked = missing()
    built = [each for each in asked if each.partition("==")[0] in SOURCES]
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    platforms = [f"--platform=manylinux_2_{each}_x86_64" for each in GLIBC]
    target = [
        "--implementation=cp",
        f"--python-version={PYTHON}",
        *platforms,
        "--platform=manylinux2014_x86_64",
    ]
    fetched = [each for each in asked if each not in built]
    words = ["download", "--no-deps", "--only-binary=:all:", *target, f"--dest={folder}", *fetched]
    subprocess.run([*pip, *words], check=True)
    # torch is there, and sam2's setup asks for it; its extension for CUDA is not needed.
    plain = os.environ | {"SAM2_BUILD_CUDA": "0"}
    words = ["wheel", "--no-deps", "--no-build-isolation", f"--wheel-dir={folder}", *built]
    subprocess.run([*pip, *words], check=True, env=plain)
    return sum(each.stat().st_size for each in folder.glob("*.whl"))


def main() -> int:
    """Says what there is; 1 where that is more than may be brought."""
    folder = Path(sys.argv[1])
    nbytes = fill(folder)
    print(f"{len(list(folder.glob('*.whl')))} wheels, {nbytes / (1 << 20):.0f} MiB, in {folder}")
    return int(nbytes > MOST_BYTES)


if __name__ == "__main__":
    sys.exit(main())
