"""`featsvc-client`: asks about many pictures and keeps the answers in files."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from featsvc.environment import mistyped_key
from featsvc_client import awaiting, calls, channel
from featsvc_client.bulk import arguments, estimate, formats, packing
from featsvc_client.bulk.arguments import CommandLine
from featsvc_client.bulk.asking import Asker, Away, GaveUp, is_interruption
from featsvc_client.bulk.commands import question
from featsvc_client.bulk.extra import Refused
from featsvc_client.bulk.folder import Folder
from featsvc_client.bulk.inputs import Inputs
from featsvc_client.bulk.job import check_job, described, ended
from featsvc_client.bulk.limiter import Limiter
from featsvc_client.bulk.manifest import NAME, Manifest
from featsvc_client.bulk.progress import Progress
from featsvc_client.bulk.run import Run
from featsvc_client.bulk.selection import Selection
from featsvc_client.bulk.store import PREVIEWS, Store
from featsvc_client.errors import CallError, InvalidRequest
from featsvc_client.retry import RetryPolicy
from featsvc_client.session import Session
from featsvc_client.terms import Terms

REFUSED, GONE, STOPPED = 2, 3, 130
# The run itself tries again, because it knows how the server does with the other pictures.
ONCE = RetryPolicy(attempts=1)
# After so long people want to know what they are waiting for.
FIRST_WORD_S = 2.5


class Job(NamedTuple):
    """What the manifest keeps of a run."""

    description: str
    server: str
    """Its version."""


def main(words: list[str] | None = None) -> int:
    """Runs a command; gives its exit status."""
    command_line = arguments.parsed(words)
    for warning in mistyped_key():
        print(f"featsvc-client: {warning}", file=sys.stderr)
    try:
        return asyncio.run(_run(command_line))
    except (Refused, InvalidRequest, OSError) as error:
        print(f"featsvc-client: {error}", file=sys.stderr)
        return REFUSED
    except GaveUp as error:
        print(f"featsvc-client: no answer for {command_line.patience:g} s: {error}", file=sys.stderr)
        print(_how_to_go_on(command_line), file=sys.stderr)
        return GONE
    except (KeyboardInterrupt, asyncio.CancelledError):
        print(f"\nfeatsvc-client: stopped. {_how_to_go_on(command_line)}", file=sys.stderr)
        return STOPPED


async def _run(command_line: CommandLine) -> int:
    running = asyncio.current_task()
    if running is not None:
        # As Ctrl-C, which asyncio sees to.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    asked = question(
        command_line.command,
        command_line.parameters,
        command_line.form,
        command_line.preview,
        command_line.exemplar,
        command_line.sample,
    )
    job = described(asked, command_line, command_line.preview)
    out = command_line.out.resolve()
    inputs = Inputs(command_line.inputs, command_line.every, out, command_line.column)
    formats.check(command_line.form)
    inputs.check()
    terms = Terms(priority=command_line.priority)
    async with channel.opened_aio(command_line.target, command_line.tls) as connected:
        metadata = channel.metadata(command_line.api_key, command_line.tls)
        session = Session((*metadata, *terms.metadata), command_line.timeout, ONCE, None)
        with closing(Progress(command_line.quiet, has_bar=not command_line.dry_run)) as progress:
            away = Away(command_line.target, command_line.patience, progress.say)
            asker = Asker(connected, session, asked, Limiter(command_line.concurrency), RetryPolicy(), away)
            server = await _version(asker)
            if command_line.dry_run:
                return await _dry_run(command_line, asker, inputs, job)
            return await _run_job(command_line, asker, inputs, Job(job, server), progress)


async def _dry_run(command_line: CommandLine, asker: Asker, inputs: Inputs, job: str) -> int:
    finished = 0
    if (command_line.out / NAME).exists():
        with closing(Manifest.reading(command_line.out / NAME)) as manifest:
            check_job(manifest, job, command_line.out, command_line.again)
            last = manifest.last_job()
            manifest.job = last.number
            finished = manifest.tally("done") if job == last.description else 0
    estimated = await estimate.estimated(inputs, asker, command_line.form, finished)
    print(*estimated.lines(), sep="\n")
    return 0


async def _run_job(
    command_line: CommandLine, asker: Asker, inputs: Inputs, job: Job, progress: Progress
) -> int:
    command_line.out.mkdir(parents=True, exist_ok=True)
    stop = threading.Event()
    with closing(Manifest(command_line.out / NAME, _has(command_line.out))) as manifest:
        check_job(manifest, job.description, command_line.out, command_line.again)
        with closing(Folder(command_line.out)) as folder:
            manifest.begin_run(*job, command_line.again)
            packing.clean(folder, manifest)
            selection = Selection(inputs, folder, manifest, progress, command_line.retry_failed, stop)
            store = Store(
                folder, manifest, command_line.form, command_line.per_file, asker.question.categories
            )
            run = Run(asker, store, manifest, progress)
            if asker.question.look is not None:
                asker.question.look.keep_in(command_line.out / PREVIEWS, f"{manifest.job} {job.description}")
            try:
                await _show_in_one_basis(asker, inputs, manifest, stop)
                await run.all(selection.todos(), inputs)
            finally:
                # Threads that still write come to their end, so that nothing is closed under them.
                stop.set()
                await asyncio.get_running_loop().shutdown_default_executor()
            manifest.finish_job()
            packing.clean(folder, manifest)
        return ended(progress, manifest)


async def _show_in_one_basis(asker: Asker, inputs: Inputs, manifest: Manifest, stop: threading.Event) -> None:
    """Has the basis of a sample fitted, if all are to be shown in one and there is none from an earlier run."""
    sample = asker.question.sample
    if sample is None:
        return
    basis = manifest.basis()
    if not basis:
        await asker.check_sample(sample.size)
        basis = await asker.basis(await asyncio.to_thread(sample.pictures, inputs, stop))
        manifest.keep_basis(basis)
    asker.question = asker.question.shown_in(basis)


async def _version(asker: Asker) -> str:
    """Version of the server; empty where it does not say, for the manifest only notes it."""
    try:
        status = await awaiting.answered(
            asker.connected, asker.session.answered(calls.status, Terms(FIRST_WORD_S))
        )
    except CallError as error:
        if is_interruption(error):
            asker.away.tell(str(error))
        return ""
    return status.version


def _has(out: Path) -> Callable[[str], bool]:
    return lambda name: bool(name) and (out / name).exists()


def _how_to_go_on(command_line: CommandLine) -> str:
    return f"What is in {command_line.out} is whole; the same command goes on from there."
