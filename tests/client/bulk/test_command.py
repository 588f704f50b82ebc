"""The command comes with the client, which does not need its libraries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_command_is_installed_with_the_package() -> None:
    command = Path(sys.executable).with_name("featsvc-client")
    ran = subprocess.run([command, "--help"], capture_output=True, text=True, check=True)
    for word in ("extract", "masks", "similarity", "embed"):
        assert word in ran.stdout


def test_without_its_libraries_the_command_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['tqdm'] = None\n"
        "from featsvc_client.bulk.__main__ import main\n"
        "sys.exit(main())"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr.strip().endswith("pip install './clients/python[bulk]' at the top of a clone")


def test_the_client_itself_needs_none_of_these_libraries() -> None:
    program = "import sys, featsvc_client; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"tqdm", "zarr", "av", "safetensors", "featsvc_client.bulk"} & set(ran.stdout.split())
