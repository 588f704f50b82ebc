"""Answers of a GPU, brought home and written by a thread of their own while it computes the next pass."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from featsvc.pool.contract.messages import BatchItem, Outcome
from featsvc.pool.worker.failures import or_end
from featsvc.pool.worker.work import ComputedPass

MOST_WAITING = 2
"""Passes that are computed and not yet written: then the next one waits."""


class Writing:
    """Writes passes one after the other. `put` is for one thread."""

    def __init__(self, answer: Callable[..., None], is_wanted: Callable[[BatchItem], bool]) -> None:
        """`answer` takes the outcomes of a pass, and `is_wanted` is asked of its items, from another thread."""
        self._answer = answer
        self._is_wanted = is_wanted
        self._waiting = queue.Queue[ComputedPass](MOST_WAITING)
        self._thread: threading.Thread | None = None

    def put(self, answers: ComputedPass) -> None:
        """Takes a pass; waits while there are too many."""
        if self._thread is None:
            self._thread = threading.Thread(target=or_end, args=(self._write,), name="write", daemon=True)
            self._thread.start()
        self._waiting.put(answers.without_items())

    def finish(self) -> bool:
        """Waits until all is written; whether any was not. For the thread that puts."""
        is_waited_for = self._waiting.unfinished_tasks > 0
        self._waiting.join()
        return is_waited_for

    def _write(self) -> None:
        while True:
            outcomes: tuple[Outcome, ...] = (*self._waiting.get().outcomes(self._is_wanted),)
            # Together, for each message by itself wakes the pool.
            self._answer(*outcomes)
            del outcomes  # arrays must not wait for the next pass
            self._waiting.task_done()
