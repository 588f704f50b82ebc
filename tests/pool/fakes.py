"""Engines without models: each item says itself what shall happen to it. Runs under the real pool."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from featsvc.errors import Abandoned, ContentWanted, InvalidArgument, NoDevice, OutOfMemory, WeightsMissing
from featsvc.pool.contract.engine_protocol import WorkerEngines

LOST = RuntimeError("CUDA error: an illegal memory access was encountered")


class OutOfMemoryError(RuntimeError):
    """Looks like torch.cuda.OutOfMemoryError, which is known by its name."""


@dataclass(frozen=True)
class FakeOptions:
    """What the pool fills in, and where to write down what happens."""

    journal: str = ""
    device: str = ""
    threads: int = 0
    fails_until: str = ""
    """A file: the engines cannot be built before it is there."""
    device_is_there: bool = True


@dataclass(frozen=True)
class FakeParams:
    """Equal ones may share a batch."""

    most: int = 1000  # items that fit into the memory of the device
    raw: bool = True  # whether the engine leaves the error of its library as it is


@dataclass(frozen=True)
class FakeItem:
    """Its value, what it does (one word), when it does it, and the gate it waits at."""

    value: object = 0
    does: str = ""
    stage: str = "run"
    gate: str = ""
    size: int = 1
    pixels: int = 1
    flop: float = 0.0
    seconds: float = 3600.0
    takes_long: bool = False
    named: str = ""
    """What the item is about: an engine keeps its value, and an item without one needs what is kept."""

    def __str__(self) -> str:
        return f"{len(self.value)} bytes" if isinstance(self.value, bytes) else str(self.value)


@dataclass(frozen=True)
class FakeResult:
    """The value again, and where it ran."""

    value: object
    pid: int
    batch_size: int
    model: str
    environment: dict[str, str]


@dataclass(frozen=True)
class FakeModel:
    """`name-100` has 100 bytes."""

    name: str
    nbytes: int

    @property
    def keys(self) -> tuple[str, ...]:
        return (f"fake_{self.name}",)


@dataclass(frozen=True)
class FakeCache:
    """A cache that misses at every run."""

    name: str
    misses: int
    hits: int = 0
    evictions: int = 0
    entries: int = 3
    nbytes: int = 100
    max_bytes: int = 1000


@dataclass(frozen=True)
class FakeDevice:
    """What `cuda:N` is here."""

    name: str = "Fake 1000"
    uuid: str = "9e1c"
    total_bytes: int = 1000
    free_bytes: int = 400
    utilization_percent: int | None = None


class FakeEngines:
    """Satisfies featsvc.pool.contract.engine_protocol.WorkerEngines."""

    precision = "fp32"

    def __init__(self, options: FakeOptions) -> None:
        self.options = options
        self.runs = self.looks = 0
        self.kept: dict[str, object] = {}

    def load(self, model: str) -> FakeModel:
        self._write("load", model)
        if model.startswith("gated:"):
            wait_at(model.removeprefix("gated:"))
            return FakeModel(model, 1)
        if model.startswith("file:"):
            if not os.path.exists(model.removeprefix("file:")):
                raise WeightsMissing("no file of weights")
            return FakeModel(model, 1)
        if model.startswith("lost once:"):
            mark = model.removeprefix("lost once:")
            if not os.path.exists(mark):
                open(mark, "w").close()
                raise LOST
            return FakeModel(model, 1)
        name, _, nbytes = model.partition("-")
        if name == "missing":
            raise WeightsMissing(f"{model}: no weights here")
        if name == "broken":
            raise ValueError("secret path")
        if name == "slow":
            time.sleep(0.6)
        if name == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        return FakeModel(model, int(nbytes or 1))

    def together(self, models: list[Any]) -> Any:  # Any: as the engines' own
        """The first: none of these answers together with others."""
        return models[0]

    def may_take_long(self, item: FakeItem) -> bool:
        return item.takes_long

    def prepare(
        self,
        operation: str,
        item: FakeItem,
        params: FakeParams,
        loaded: FakeModel,
        wanted: Callable[[], bool],
    ) -> FakeItem:
        self._write("prepare", item)
        if item.stage == "prepare":
            self._act(item, wanted)
        if item.named and not item.value:
            if item.named not in self.kept:
                raise ContentWanted(item.named)
            return replace(item, value=self.kept[item.named])
        return item

    def batch_key(self, prepared: FakeItem) -> Hashable:
        return prepared.size

    def pixels(self, prepared: FakeItem) -> int:
        return prepared.pixels

    def flop(self, prepared: FakeItem) -> float:
        return prepared.flop

    def device(self) -> FakeDevice | None:
        if not self.options.device.startswith("cuda"):
            return None
        self.looks += 1
        return FakeDevice(utilization_percent=self.looks)

    def give_back(self) -> int:
        self._write("give back", self.options.device)
        return 0

    def trim(self) -> None:
        self._write("trim", self.options.device)

    def caches(self) -> tuple[FakeCache, ...]:
        return (FakeCache("runs", self.runs),) if self.runs else ()

    def run(
        self,
        operation: str,
        prepared: list[FakeItem],
        params: FakeParams,
        loaded: FakeModel,
        wanted: Callable[[], bool],
    ) -> Sequence[FakeResult]:
        self._write("run", ",".join(map(str, prepared)))
        self.runs += 1
        if len(prepared) > params.most:
            raise (
                OutOfMemoryError("out of memory") if params.raw else OutOfMemory("no memory for this request")
            )
        for item in prepared:
            if item.stage == "run":
                self._act(item, wanted)
            if item.named and item.does != "not keep":
                self.kept[item.named] = item.value
        return [self._result(item, len(prepared), loaded) for item in prepared]

    def _result(self, item: FakeItem, batch_size: int, loaded: FakeModel) -> FakeResult:
        value = item.value
        if item.does == "array":
            import numpy as np

            value = np.arange(int(str(item.value)) // 4, dtype=np.float32)
        elif item.does == "length":
            value = len(item.value)  # type: ignore[arg-type]
        elif item.does == "unpicklable":
            value = lambda: None  # noqa: E731
        environment = dict(os.environ) if item.does == "environment" else {}
        return FakeResult(value, os.getpid(), batch_size, loaded.name, environment)

    def _act(self, item: FakeItem, wanted: Callable[[], bool]) -> None:
        if item.gate:
            wait_at(item.gate)
        match item.does:
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "exit":
                os._exit(3)
            case "fail":
                raise ValueError("secret path")
            case "refuse":
                raise InvalidArgument("image: not a picture")
            case "no memory":
                raise MemoryError
            case "lose":
                raise LOST
            case "compute until abandoned":
                while wanted():
                    time.sleep(0.001)
                self._write("abandoned", item.value)
                raise Abandoned("nobody waits")
            case "need memory until it is there":
                if not os.path.exists(str(item.value)):
                    raise MemoryError
            case "compute until it is there":
                while not os.path.exists(str(item.value)):
                    if not wanted():
                        raise Abandoned("nobody waits")
                    time.sleep(0.001)
            case "hang":
                time.sleep(item.seconds)
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "leave the interpreter":
                raise SystemExit("whatever a thread swallows")
            case "hold the interpreter":
                # PyDLL keeps the interpreter's lock, as a defect in native code would.
                ctypes.PyDLL(None).usleep(int(item.seconds * 1e6))

    def _write(self, event: str, value: object) -> None:
        if self.options.journal:
            with open(self.options.journal, "a") as journal:
                journal.write(f"{event} {value}\n")


def wait_at(gate: str) -> None:
    """Say that one is there, and wait to be let through."""
    with open(f"{gate}.arrived", "wb", buffering=0) as arrived:
        arrived.write(b".")
    with open(f"{gate}.passes", "rb", buffering=0) as passes:
        passes.read(1)


def build(options: Any) -> WorkerEngines:
    """What `--engines tests.pool.fakes:build` names."""
    options = options or FakeOptions()
    if not options.device_is_there:
        raise NoDevice(f"devices: {options.device} is not on this machine")
    if options.fails_until and not os.path.exists(options.fails_until):
        raise RuntimeError("no such library")
    return FakeEngines(options)


def build_never(options: FakeOptions) -> WorkerEngines:
    """Engines that hang in the making, with the process id in their journal."""
    with open(options.journal, "w") as journal:
        journal.write(f"{os.getpid()}\n")
    time.sleep(3600)
    return FakeEngines(options)
