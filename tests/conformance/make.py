"""Writes the case file, and the known answers where a server is named.

python -m tests.conformance.make [ADDRESS [API_KEY]]
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import featsvc_client.conformance

from tests.conformance.questions import cases

FOLDER = Path(str(files(featsvc_client.conformance)))
CASES, GOLDEN = FOLDER / "cases.json", FOLDER / "golden.jsonl"


def written() -> str:
    """The case file, one case a line."""
    lines = ",\n".join(json.dumps(each.json(), ensure_ascii=False) for each in cases())
    return f"[\n{lines}\n]\n"


def main(*server: str) -> None:
    """Writes into the client's package, from where `featsvc verify` reads."""
    CASES.write_text(written())
    if server:
        address, *key = server
        words = [sys.executable, "-m", featsvc_client.conformance.__name__, address, str(CASES), *key]
        GOLDEN.write_text(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
