"""A section in a process of its own: `python -m tests.gpu.section MODULE:FUNCTION ROWS FOLDER [--dry]`."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from pathlib import Path

from tests.gpu.conditions import Conditions
from tests.gpu.rows import append


def main() -> None:
    """Writes each row as soon as it is found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("path")
    parser.add_argument("rows", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dry", action="store_true")
    asked = parser.parse_args()
    # Its servers end with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    module, _, name = asked.path.partition(":")
    section = getattr(importlib.import_module(module), name)
    for row in section(Conditions(asked.folder, asked.dry)):
        append(row, asked.rows)
        print(row, flush=True)


if __name__ == "__main__":
    main()
