"""A service that answers about any bytes at once, and the command in this process or in its own."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from featsvc_client.bulk import cli
from featsvc_client.pictures import Picture

from featsvc.codec.arrays import to_tensor
from featsvc.v1 import clip_pb2, model_pb2
from tests.client.gateway import Refusal, Script, field_details
from tests.client.samples import GEOMETRY

COMMAND = ("extract", "clip")
DAMAGED = Refusal(
    grpc.StatusCode.INVALID_ARGUMENT,
    "image: is damaged",
    (("grpc-status-details-bin", field_details(("image", "is damaged"))),),
)
WAIT_S = 60


def features(content: bytes) -> np.ndarray:
    """What the service computes: other numbers for other bytes."""
    return np.random.default_rng(zlib.crc32(content)).standard_normal((2, 3, 4)).astype(np.float32)


def answer(request: Any, model: str = "demo") -> Any:
    """The answer to any question of the command."""
    if isinstance(request, model_pb2.GetStatusRequest):
        return model_pb2.GetStatusResponse(version="1.2.3")
    content = request.image.content
    if content.startswith(b"bad"):
        return DAMAGED
    return clip_pb2.ClipServiceExtractFeaturesResponse(
        features=to_tensor(features(content)),
        geometry=GEOMETRY,
        model=model,
        image_digest=Picture(content).digest,
    )


@dataclass
class Reaching:
    """Answers, tells when it has been asked about so many pictures, and then waits until it may go on."""

    number: int
    reached: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    answers: Callable[[Any], Any] = answer
    asked: int = 0

    def __call__(self, request: Any) -> Any:
        if hasattr(request, "image"):
            self.asked += 1
            if self.asked >= self.number:
                self.reached.set()
                self.go_on.wait(WAIT_S)
        return self.answers(request)


def photos(folder: Path, count: int) -> Path:
    """A folder with files that the service takes for pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number:04d}.png").write_bytes(content(number))
    return folder


def content(number: int) -> bytes:
    return f"picture {number}".encode()


def words(script: Script, *more: object) -> list[str]:
    return [*COMMAND, *map(str, more), "--target", script.target, "--quiet"]


def run(script: Script, *more: object) -> int:
    """The exit status of a command in this process."""
    return cli.main(words(script, *more))


def started(script: Script, *more: object) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    program = [sys.executable, "-m", "featsvc_client.bulk", *words(script, *more)]
    return subprocess.Popen(program, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit status and what it said; no later test shall meet what goes on for too long."""
    with process:
        try:
            _, said = process.communicate(timeout=WAIT_S)
        finally:
            process.kill()
    return process.returncode, said


def asked(*scripts: Script) -> Counter[bytes]:
    """How often each picture was sent."""
    return Counter(
        each.image.content for script in scripts for each in script.requests if hasattr(each, "image")
    )


def noted(
    out: Path, columns: str = "key, state, output, nbytes, digest, model, server, parameters"
) -> list[Any]:
    """What the manifest says about each picture."""
    with closing(sqlite3.connect(out / "manifest.sqlite")) as manifest:
        return manifest.execute(f"SELECT {columns} FROM results ORDER BY key").fetchall()


def results(out: Path) -> dict[str, bytes]:
    """All files but the manifest, by name."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and not path.name.startswith("manifest.sqlite")
    }
