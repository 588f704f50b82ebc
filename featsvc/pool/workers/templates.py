"""Templates as the gateway holds them: processes that have imported the engines, and fork a worker when asked.

A worker that is forked takes work at once; a fresh interpreter imports for seconds of processor time first. Where no
template can be had (another system than Linux, libraries that keep threads or devices) a fresh interpreter is started.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping

from featsvc.pool.contract.messages import Boot
from featsvc.pool.transport.descriptors import Reserve
from featsvc.pool.workers.forks import Fork, Template
from featsvc.work.devices import is_named

log = logging.getLogger("featsvc.pool.workers.templates")

OF_A_WORKER = "CUDA_VISIBLE_DEVICES"
"""The variable by which workers of named devices differ, and may share a template: it is read when a device is first
used."""
CLOSE_TIMEOUT_S = 10.0  # who has not ended so long after SIGKILL is in a call of the kernel that does not end
Kind = tuple[tuple[str, ...], frozenset[tuple[str, str]]]
"""The words that a template is started with, and its environment."""


class Templates:
    """Those of a pool, one for each kind of worker; for the thread of the event loop."""

    def __init__(self, reserve: Reserve) -> None:
        self._reserve = reserve
        self._loop = asyncio.get_running_loop()
        self._now: dict[Kind, Template] = {}
        self._past: dict[int, Template] = {}
        """Those that have workers, and do not answer any more, by the descriptors that are their processes."""

    def fork(self, boot: Boot, environment: Mapping[str, str]) -> Fork | None:
        """A worker on its way in this environment; None where a fresh interpreter is to be started."""
        words = (boot.engines.partition(":")[0], boot.log_level)
        # What the gateway itself was started with may matter to libraries when they are imported.
        changes = {OF_A_WORKER: environment[OF_A_WORKER]} if is_named(boot.device) else {}
        shared = {name: value for name, value in environment.items() if name not in changes}
        kind = (words, frozenset(shared.items()))
        try:
            template = self._now.get(kind)
            if template and template.is_lost and not template.is_refused:
                if template.has_forked:
                    self._retire(template)
                    template = None
                elif template.is_silent:
                    template.refuse("a start was given up before their template had forked any")
            if template is None:
                template = self._now[kind] = Template(words, shared, self._reserve)
            return None if template.is_refused or template.is_lost else template.fork(changes)
        except OSError as error:  # no descriptors or processes left, or a template that ends at this moment
            log.warning("a worker cannot be forked: %s", error)
            return None

    async def close(self) -> None:
        """End them; their workers have ended."""
        for process in self._past:
            self._loop.remove_reader(process)
            os.close(process)
        templates = [*self._past.values(), *self._now.values()]
        for template in templates:
            template.close()
            template.kill()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                for template in templates:
                    await self._end_of(template)
        except TimeoutError:
            log.error("a template cannot be killed")

    async def _end_of(self, template: Template) -> None:
        if template.has_ended:
            return
        ended, process = asyncio.Event(), self._reserve.use(template.descriptor)
        self._loop.add_reader(process, ended.set)
        try:
            await ended.wait()
        finally:
            self._loop.remove_reader(process)
            os.close(process)
        template.ends(0.0)  # at once, for it has

    def _retire(self, template: Template) -> None:
        log.error("workers have a new template: the last one has ended or does not answer")
        template.retire()
        if template.has_ended:
            template.close()
            return
        process = self._reserve.use(template.descriptor)
        self._past[process] = template
        self._loop.add_reader(process, self._bury, process)

    def _bury(self, process: int) -> None:
        self._loop.remove_reader(process)
        os.close(process)
        template = self._past.pop(process)
        template.close()
        template.ends(0.0)  # at once, for it has: nothing is left of it


def obstacle() -> str:
    """Why workers cannot be forked on this system; empty where they can."""
    if sys.platform != "linux":
        return "that takes Linux"
    try:
        process = os.pidfd_open(os.getpid())
        try:
            signal.pidfd_send_signal(process, 0)
        finally:
            os.close(process)
    except OSError as error:  # an old kernel, or a sandbox that does not let us
        return f"this system has no descriptors of processes: {error}"
    return ""
