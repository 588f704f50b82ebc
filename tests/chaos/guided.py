"""Inputs that a coverage-guided fuzzer finds: decoding and parsing meet no defect, also far from what anybody sends.

Without servers, some ten thousand a second: tests.chaos.fuzz asks real ones, and far fewer.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from featsvc.work.operations import OPERATIONS
from rest_shim.app.endpoints import FAMILIES
from tests.chaos.fuzz import BODIES, SMALL, seed_messages
from tests.chaos.report import Report
from tests.drawn import base64_png
from tests.pictures import corpus
from tests.servers import ROOT

NAME = "guided inputs"
# Longer, larger or more than this is a defect: what is asked is small.
FLAGS = ("-timeout=60", "-rss_limit_mb=2048", "-max_len=65536", "-print_final_stats=1", "-seed=1")
FOUND = re.compile(r"^#\d+\s+(?:DONE|REDUCE|NEW|pulse)\s+cov: (\d+)", re.MULTILINE)
PEAK = re.compile(r"^stat::peak_rss_mb:\s+(\d+)", re.MULTILINE)
REASON = re.compile(r"^(?:==\d+==\s*ERROR: .*|\w+(?:\.\w+)*(?:Error|Exception).*)", re.MULTILINE)


def guided(folder: Path, times: int) -> Report:
    """So many inputs for each of what reads them."""
    what = f"{times} pictures, {times} messages and {times} JSON bodies, guided by what they reach"
    if find_spec("atheris") is None:
        return Report(NAME, what, True, "left out: no atheris here (Linux; pip install atheris)")
    figures, faults = [], []
    for target, seeds in (("pictures", _pictures()), ("messages", _messages()), ("bodies", _bodies())):
        own = folder / target
        own.mkdir()
        for number, seed in enumerate(seeds):
            (own / str(number)).write_bytes(seed)
        ended = subprocess.run(
            [
                *(sys.executable, "-m", "tests.chaos.instrumented", target, str(own)),
                *(f"-runs={times}", f"-artifact_prefix={folder}/{target}-", *FLAGS),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        told = ended.stdout + ended.stderr
        reached, peak = FOUND.findall(told), PEAK.findall(told)
        figures.append(
            f"{target}: {reached[-1] if reached else 0} places reached, {(*peak, '?')[0]} MB at most"
        )
        if ended.returncode:
            reasons = REASON.findall(told)
            kept = [each.read_bytes()[:200] for each in sorted(folder.glob(f"{target}-*"))]
            faults.append(f"{target}: {reasons[0] if reasons else told[-500:]}: {kept}")
    return Report(NAME, what, not faults, "; ".join(figures), tuple(faults))


def _pictures() -> Iterator[bytes]:
    return (each.content for each in corpus())


def _messages() -> Iterator[bytes]:
    numbers = {each.rpc: number for number, each in enumerate(OPERATIONS)}
    for path, message in seed_messages():
        if path in numbers:
            yield bytes([numbers[path]]) + message.SerializeToString()


def _bodies() -> Iterator[bytes]:
    endpoints = [(port.name, each.name) for port in FAMILIES.values() for each in port.endpoints]
    for number, names in enumerate(endpoints):
        body = {"image": base64_png(SMALL), **BODIES.get("/".join(names), {})}
        if names == ("clip", "encode_text"):
            del body["image"]
        yield bytes([number]) + json.dumps(body).encode()
