"""The whole server on the GPU: known answers, faults, and what many callers get."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import get_args

from featsvc_client import FeatsvcClient
from featsvc_client.aio import AsyncFeatsvcClient
from featsvc_client.errors import CallError

from featsvc.pool.contract.protocol import Pool
from featsvc.server.gateway import gateway
from featsvc.settings.kinds import Precision
from featsvc.settings.tree import Settings
from tests.bench.pictures import photo
from tests.gpu.conditions import DEVICE, DRY_FACTOR, MOST_CLICK_MS, Conditions
from tests.gpu.rows import Figures, Row
from tests.servers import FREE_PORTS, FREE_REST_PORTS, KEY, ROOT, Server, started

SOON_S = 30.0
"""A worker that died is back by then."""
AT_ONCE_S = 2.0
"""For what is refused without work."""
DEADLINE_S = 120.0
WIDTH = 57
"""Of the picture that breaks the device."""
LOADS: Sequence[Sequence[str]] = ((), ("--max-batch=32", "--max-concurrency=16", "--workers-per-device=2"))
CALLERS, SECONDS = 32, 3.0
DRY_CALLERS, DRY_SECONDS = 2, 0.5
ALONE = 30
"""Clicks of one caller."""
HERE = {"device": DEVICE, "gpu_id": 0, "gpu_count": 1}
"""What health says where the GPU answers."""
BY_ITSELF = "auto"
"""The precision that a server takes where it is asked for none."""
WATCH = ("nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "250")
Call = Callable[[FeatsvcClient, int], object]


@contextmanager
def up(conditions: Conditions, log: str, *flags: str) -> Iterator[Server]:
    """`featsvc up` on the GPU, until the block ends."""
    program = "tests.gpu.pretended_up" if conditions.dry else "featsvc"
    # No driver counts the GPUs of a trial.
    devices = f"--devices={DEVICE if conditions.dry else 'auto'}"
    own = (f"--api-key={KEY}", "--offline", devices)
    words = [sys.executable, "-m", program, "up", *FREE_PORTS, *FREE_REST_PORTS, *own, *flags]
    with started(words, ROOT, dict(os.environ), conditions.folder / f"{log}.log") as server:
        yield server


def verify(conditions: Conditions) -> Iterator[Row]:
    """Known answers in each precision, what health says of the device, and replies of what they were computed in."""

    def row(precision: str) -> Row:
        with up(conditions, f"verify_{precision}", "--profile=demo", f"--precision={precision}") as server:
            return verified(server, precision, precision_here(conditions, precision))

    precisions = (BY_ITSELF,) if conditions.dry else (*get_args(Precision), BY_ITSELF)
    # Together: a server starts for much longer than it is asked.
    with ThreadPoolExecutor(len(precisions)) as threads:
        yield from threads.map(row, precisions)


def precision_here(conditions: Conditions, precision: str) -> str:
    """What a card computes in that is asked for a precision: by itself in bfloat16 from Ampere on."""
    if precision not in (BY_ITSELF, "tf32"):
        return precision
    if not conditions.dry:
        import torch  # which nothing else here needs

        if torch.cuda.get_device_capability(0) < (8, 0):
            return "fp32"
    return "bf16" if precision == BY_ITSELF else precision


def verified(server: Server, what: str, precision: str) -> Row:
    """Whether a server answers as it should, from which device, and in which precision."""
    words = [sys.executable, "-m", "featsvc", "verify", server.target, "--api-key", KEY]
    asked = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    with FeatsvcClient(server.target, api_key=KEY, timeout=DEADLINE_S) as client:
        timing = client.dino_features(photo(56, 56)).timing
    said = timing.precision if timing else ""
    there = device(server)
    holds = asked.returncode == 0 and there == HERE and said == precision
    lines = (asked.stdout + asked.stderr).splitlines()
    wrong = [line for line in lines if line.startswith("wrong")]
    return Row(what, holds, {"said": "".join(lines[-1:]), "wrong": wrong, "precision": said, **there})


def device(server: Server) -> Figures:
    """What health says of the device."""
    with urllib.request.urlopen(f"{server.url('clip')}/health") as reply:
        health = json.load(reply)
    return {name: health[name] for name in HERE}


def faults(conditions: Conditions) -> Iterator[Row]:
    """A picture that breaks the device costs two workers and no more; a worker that is killed comes back."""
    rows: list[Row] = []
    asyncio.run(_faults(conditions, rows))
    yield from rows


async def _faults(conditions: Conditions, rows: list[Row]) -> None:
    devices = DEVICE if conditions.dry else "auto"
    settings = Settings(profile="demo", grpc_port=0, devices=devices, offline=True, log_level="error")
    async with gateway(settings, (KEY,), engines="tests.gpu.breaking:build") as running:
        await running.pool.alive_change(0)
        async with AsyncFeatsvcClient(f"127.0.0.1:{running.port}", api_key=KEY) as client:

            async def asked(width: int) -> str:
                try:
                    await client.dino_features(photo(width, 56), timeout=DEADLINE_S)
                except CallError as error:
                    return error.failure.reason or error.failure.code
                return "answered"

            trial = Trial(running.pool, asked, rows, DRY_FACTOR if conditions.dry else 1)
            await trial.ask("an innocent picture", 56, "answered", 0, SOON_S)
            await trial.ask("a picture that breaks the device", WIDTH, "killed-workers", 2, DEADLINE_S / 2)
            await trial.ask("the same once more", WIDTH, "killed-workers", 2, AT_ONCE_S)
            await trial.ask("an innocent picture afterwards", 56, "answered", 2, SOON_S)
            (worker,) = running.pool.status().workers
            assert worker.pid
            os.kill(worker.pid, signal.SIGKILL)
            await trial.ask("an innocent picture after SIGKILL", 56, "answered", 3, SOON_S)


class Trial:
    """Questions to a server, and how often its workers had to be started again."""

    def __init__(
        self, pool: Pool, asked: Callable[[int], Awaitable[str]], rows: list[Row], patience: float = 1
    ) -> None:
        self._pool, self._asked, self._rows, self._patience = pool, asked, rows, patience

    async def ask(self, what: str, width: int, expected: str, restarts: int, within_s: float) -> None:
        """Adds the row of a question."""
        began = time.monotonic()
        said = await self._asked(width)
        took = time.monotonic() - began
        seen = sum(each.restarts for each in self._pool.status().workers)
        # The last of the deaths may be mended later than its caller is told.
        holds = said == expected and seen <= restarts and took <= within_s * self._patience
        self._rows.append(Row(what, holds, {"said": said, "s": took, "restarts": seen}))


def served(conditions: Conditions) -> Iterator[Row]:
    """What many callers get together, and how busy the device is meanwhile; and what one gets."""
    which, is_anchored = "--profile=demo", False
    if not conditions.dry:
        from tests.gpu.stand import Stand  # with torch, which nothing else here needs
        from tests.gpu.weights import make

        make(conditions.weights)
        which, is_anchored = f"--weights-dir={conditions.weights}", Stand.of(conditions).is_anchored
    for flags in LOADS[:1] if conditions.dry else LOADS:
        with up(conditions, f"served_{len(flags)}", "--precision=bf16", which, *flags) as server:
            asked = calls(conditions)
            for name, call in asked.items():
                yield load(conditions, server, f"{name} {' '.join(flags)}".strip(), call)
            if not flags:
                yield alone(server, asked["clicks"], is_anchored)


def calls(conditions: Conditions) -> dict[str, Call]:
    """What is asked, by the number of the question."""
    pictures = [photo(640, 480, seed) for seed in range(2 if conditions.dry else 32)]
    side = 56 if conditions.dry else 224
    return {
        "features": lambda client, n: client.dino_features(pictures[n % len(pictures)], load_size=side),
        "clicks": lambda client, n: client.predict_masks(
            pictures[0], point_coords=[[40 + n % 100, 50]], point_labels=[1], return_low_res=False
        ),
        "texts": lambda client, n: client.encode_text([f"picture number {n}"]),
    }


def load(conditions: Conditions, server: Server, what: str, call: Call) -> Row:
    """A row of as many callers as there are, each with one question at a time, all answered by the GPU."""
    callers, seconds = (DRY_CALLERS, DRY_SECONDS) if conditions.dry else (CALLERS, SECONDS)

    def ask(caller: int) -> list[float]:
        taken: list[float] = []
        with FeatsvcClient(server.target, api_key=KEY, timeout=DEADLINE_S) as client:
            call(client, caller)  # loads the model, and keeps the picture
            until = time.monotonic() + seconds
            while not taken or time.monotonic() < until:
                began = time.monotonic()
                call(client, caller + callers * (1 + len(taken)))
                taken.append(time.monotonic() - began)
        return taken

    try:
        with busy() as percents, ThreadPoolExecutor(callers) as threads:
            taken = [each for some in threads.map(ask, range(callers)) for each in some]
    except CallError as error:
        return Row(what, False, {"failed": repr(error)})
    figures: Figures = {
        "per_s": callers * len(taken) / sum(taken),
        "median_ms": 1000 * statistics.median(taken),
    }
    there = device(server)
    if percents:
        figures["gpu_percent"] = statistics.median(percents)
    return Row(what, there == HERE and max(percents, default=1) > 0, {**figures, **there})


def alone(server: Server, call: Call, is_anchored: bool) -> Row:
    """A row of one caller, whose clicks are about a picture that is kept; there is an anchor on some cards."""
    taken: list[float] = []
    with FeatsvcClient(server.target, api_key=KEY, timeout=DEADLINE_S) as client:
        call(client, 0)
        for number in range(1, ALONE + 1):
            began = time.monotonic()
            call(client, number)
            taken.append(time.monotonic() - began)
    median_ms = 1000 * statistics.median(taken)
    return Row("clicks of one caller", median_ms <= MOST_CLICK_MS if is_anchored else None, {"ms": median_ms})


@contextmanager
def busy() -> Iterator[list[int]]:
    """How busy the device was in the block, in percent, every quarter of a second; nothing without nvidia-smi."""
    percents: list[int] = []
    if shutil.which(WATCH[0]) is None:
        yield percents
        return
    with subprocess.Popen(WATCH, stdout=subprocess.PIPE, text=True) as watching:
        try:
            yield percents
        finally:
            watching.terminate()
            said = watching.communicate()[0]
    percents += [int(line) for line in said.splitlines() if line.strip().isdigit()]
