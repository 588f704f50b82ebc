"""Workers behind the seam that are no processes."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field

from featsvc.errors import NoDevice
from featsvc.pool.contract.messages import (
    Boot,
    FromWorker,
    Outcome,
    Ping,
    Pong,
    Refused,
    RunBatch,
    ToWorker,
    WorkerModels,
    WorkerReady,
)
from featsvc.pool.contract.status import LoadedModel
from featsvc.pool.contract.worker import Condition, Description, Events


@dataclass
class FakeWorker:
    """A worker that keeps what it is sent, and is found so."""

    found: Condition = Condition.UNKNOWN
    boot: Boot | None = None
    events: Events | None = None
    sent: list[ToWorker] = field(default_factory=list)
    is_stuck: bool = False
    """Whether it cannot be killed."""
    batches: asyncio.Queue[RunBatch] = field(default_factory=asyncio.Queue)

    def send(self, message: ToWorker, large: bool = False) -> None:
        """Keeps it; answers a ping."""
        self.sent.append(message)
        if isinstance(message, Ping):
            self.say(Pong())
        if isinstance(message, RunBatch):
            self.batches.put_nowait(message)

    def kill(self) -> None:
        """Its end is told in the next turn of the loop."""
        if self.events and not self.is_stuck:
            asyncio.get_running_loop().call_soon(self.events.on_exit, -9)

    def describe(self) -> Description:
        """No process has this number."""
        return Description(2**22 + 1)

    def condition(self) -> Condition:
        """As it was told."""
        return self.found

    def resume(self) -> None:
        """Goes on."""
        self.found = Condition.UNKNOWN

    async def answer(self, value: object) -> None:
        """Answer all items of the next batch that it gets with a value."""
        batch = await self.batches.get()
        assert self.events is not None
        self.events.on_messages([Outcome(item.id, result=value) for item in batch.items])

    def say(self, *messages: FromWorker) -> None:
        assert self.events is not None
        asyncio.get_running_loop().call_soon(self.events.on_messages, list(messages))


class FakeSpawn:
    """Starts such workers, each ready at once and with model m; but those that are `missing`, which end."""

    def __init__(self, missing: Collection[str | int] = ()) -> None:
        self.missing = missing
        """Devices or numbers."""
        self.started: dict[int, FakeWorker] = {}
        """By their number, the latest of each."""

    def __call__(self, boot: Boot, events: Events) -> FakeWorker:
        worker = self.started[boot.worker] = FakeWorker(boot=boot, events=events)
        if boot.device in self.missing or boot.worker in self.missing:
            worker.say(Refused(NoDevice(f"{boot.device} is not there")))
            worker.kill()
            return worker
        worker.say(WorkerModels((LoadedModel("m", 1, ()),)), WorkerReady())
        return worker
