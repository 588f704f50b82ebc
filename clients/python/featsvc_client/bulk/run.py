"""One run over all pictures. What is in memory is what is under way, however many there are."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from featsvc_client.bulk.asking import Asker
from featsvc_client.bulk.extra import Refused
from featsvc_client.bulk.inputs import Inputs
from featsvc_client.bulk.job import check_models
from featsvc_client.bulk.manifest import Manifest
from featsvc_client.bulk.outcomes import Outcome
from featsvc_client.bulk.progress import Progress
from featsvc_client.bulk.store import Store, Todo
from featsvc_client.errors import FeatsvcError


@dataclass(frozen=True)
class Run:
    """Asks about pictures and keeps the answers."""

    asker: Asker
    store: Store
    manifest: Manifest
    progress: Progress

    async def all(self, todos: Iterator[Todo], inputs: Inputs) -> None:
        """Everything that is to do; raises Refused or GaveUp where it makes no sense to go on."""
        counting = threading.Thread(target=self._count, args=(inputs,), daemon=True)
        counting.start()
        limiter = self.asker.limiter
        tasks: set[asyncio.Task[None]] = set()

        def ended(task: asyncio.Task[None]) -> None:
            tasks.discard(task)
            limiter.changed()

        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await limiter.until(lambda: len(tasks) < limiter.limit)
                    todo = await asyncio.to_thread(next, todos, None)
                    if todo is None:
                        break
                    task = group.create_task(self._one(todo))
                    tasks.add(task)
                    task.add_done_callback(ended)
        except BaseExceptionGroup as errors:
            # The first is the reason; the others are its echoes in other pictures.
            raise errors.exceptions[0] from errors
        await asyncio.to_thread(self.store.finish)

    async def _one(self, todo: Todo) -> None:
        try:
            answer = await self.asker.answer(todo.content)
            outcome, picture = await asyncio.to_thread(self.asker.question.kept, todo.content, answer)
        # What is wrong with an answer may come to light only when it is unpacked or drawn.
        except (FeatsvcError, ValueError) as error:
            await asyncio.to_thread(self._failed, todo, str(error))
        else:
            await asyncio.to_thread(self._keep, todo, outcome, picture)
        await asyncio.to_thread(self.store.pack, todo.position)

    def _failed(self, todo: Todo, why: str) -> None:
        self.store.drop(todo, why)
        self.progress.fail(todo.key, why)

    def _keep(self, todo: Todo, outcome: Outcome, picture: bytes | None) -> None:
        check_models(self.manifest, outcome.models)
        self.progress.done(self.store.keep(todo, outcome, picture))

    def _count(self, inputs: Inputs) -> None:
        # A folder that changes meanwhile gives no total, which only the bar would show.
        try:
            self.progress.expect(inputs.count())
        except (OSError, Refused):
            return
