"""`featsvc-client`: asks about many pictures and keeps the answers in files."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc

from featsvc_client import awaiting, calls, channel
from featsvc_client.bulk import arguments, estimate, formats, packing
from featsvc_client.bulk.arguments import Wanted
from featsvc_client.bulk.asking import Asker, GaveUp
from featsvc_client.bulk.commands import COCO, question
from featsvc_client.bulk.extra import Refused
from featsvc_client.bulk.folder import Folder
from featsvc_client.bulk.inputs import Inputs
from featsvc_client.bulk.limiter import Limiter
from featsvc_client.bulk.manifest import NAME, Manifest
from featsvc_client.bulk.progress import Progress
from featsvc_client.bulk.run import Run
from featsvc_client.bulk.selection import Selection
from featsvc_client.bulk.store import Store
from featsvc_client.errors import CallError, InvalidRequest
from featsvc_client.retry import RetryPolicy
from featsvc_client.session import Session

FAILED, REFUSED, GONE, STOPPED = 1, 2, 3, 130
# The run itself tries again, because it knows how the server does with the other pictures.
ONCE = RetryPolicy(attempts=1)


def main(words: list[str] | None = None) -> int:
    """Runs a command; gives its exit status."""
    wanted = arguments.parsed(words)
    try:
        return asyncio.run(_run(wanted))
    except (Refused, InvalidRequest, OSError) as error:
        print(f"featsvc-client: {error}", file=sys.stderr)
        return REFUSED
    except GaveUp as error:
        print(f"featsvc-client: no answer for {wanted.patience:g} s: {error}", file=sys.stderr)
        print(_how_to_go_on(wanted), file=sys.stderr)
        return GONE
    except (KeyboardInterrupt, asyncio.CancelledError):
        print(f"\nfeatsvc-client: stopped. {_how_to_go_on(wanted)}", file=sys.stderr)
        return STOPPED


async def _run(wanted: Wanted) -> int:
    running = asyncio.current_task()
    if running is not None:
        # As Ctrl-C, which asyncio sees to.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    asked = question(wanted.command, wanted.given, wanted.form, wanted.preview)
    description = asked.description()
    if asked.is_scaled and wanted.form == "npy":
        raise Refused("int8 needs the factors of its channels, for which .npy has no place: --format npz")
    inputs = Inputs(wanted.inputs, wanted.every, wanted.out.resolve())
    formats.check(wanted.form)
    inputs.check()
    async with _connected(wanted) as connected:
        session = Session(channel.metadata(wanted.api_key), wanted.timeout, ONCE, None)
        asker = Asker(connected, session, asked, Limiter(wanted.concurrency), RetryPolicy(), wanted.patience)
        job = _job(wanted, description)
        if wanted.dry_run:
            return await _dry_run(wanted, asker, inputs, job)
        server = await _version(connected, session)
        return await _kept(wanted, asker, inputs, (job, server))


async def _dry_run(wanted: Wanted, asker: Asker, inputs: Inputs, job: str) -> int:
    finished = 0
    if (wanted.out / NAME).exists():
        with closing(Manifest(wanted.out / NAME, _has(wanted.out))) as manifest:
            _check_job(manifest, job, wanted)
            manifest.job = manifest.last_job()[0]
            finished = manifest.tally("done") if job == manifest.last_job()[1] else 0
    found = await estimate.estimated(inputs, asker, wanted.form, finished)
    print(*found.lines(), sep="\n")
    return 0


async def _kept(wanted: Wanted, asker: Asker, inputs: Inputs, noted: tuple[str, str]) -> int:
    job, server = noted
    wanted.out.mkdir(parents=True, exist_ok=True)
    stop = threading.Event()
    with (
        closing(Manifest(wanted.out / NAME, _has(wanted.out))) as manifest,
        closing(Progress(wanted.quiet)) as progress,
    ):
        _check_job(manifest, job, wanted)
        with closing(Folder(wanted.out)) as folder:
            manifest.begin_run(job, server, wanted.again)
            packing.clean(folder, manifest)
            selection = Selection(inputs, folder, manifest, progress, wanted.retry_failed, stop)
            store = Store(folder, manifest, wanted.form, wanted.per_file)
            run = Run(asker, store, manifest, progress)
            try:
                await run.all(selection.todos(), inputs)
            finally:
                # Threads that still write come to their end, so that nothing is closed under them.
                stop.set()
                await asyncio.get_running_loop().shutdown_default_executor()
            manifest.finish_job()
            packing.clean(folder, manifest)
        progress.say(progress.line())
        if not progress.tally.failed:
            return 0
        progress.say(f"{progress.tally.failed} failed; --retry-failed tries them again. The first of them:")
        for key, error in manifest.errors():
            progress.say(f"  {key}: {error}")
        return FAILED


def _job(wanted: Wanted, description: dict[str, Any]) -> str:  # Any: JSON
    """All that results of one folder must have in common."""
    per_file = wanted.per_file if wanted.form != COCO else 1
    files = {"format": wanted.form, "per_file": per_file, "preview": wanted.preview}
    return json.dumps({"command": wanted.command.name, "files": files, **description}, sort_keys=True)


def _check_job(manifest: Manifest, job: str, wanted: Wanted) -> None:
    """Raises Refused where the folder has results of something else."""
    _, known, _ = manifest.last_job()
    if not known or known == job or wanted.again:
        return
    old, new = _flat(json.loads(known)), _flat(json.loads(job))
    changed = [
        f"{name}: {old.get(name, 'none')} there, {new.get(name, 'none')} now"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    raise Refused(
        f"{wanted.out} has results of other parameters ({'; '.join(changed)}): "
        "use another folder, or --again to do all anew"
    )


def _flat(job: dict[str, Any]) -> dict[str, str]:  # Any: JSON
    return {
        name: json.dumps(value)
        for part, content in job.items()
        for name, value in (content.items() if isinstance(content, dict) else [(part, content)])
    }


async def _version(connected: grpc.aio.Channel, session: Session) -> str:
    """Version of the server; empty where it does not say, for the manifest only notes it."""
    try:
        status = await awaiting.answered(connected, session, session.answered(calls.status, 10.0))
    except CallError:
        return ""
    return status.version


def _connected(wanted: Wanted) -> grpc.aio.Channel:
    if wanted.tls_ca is None:
        return grpc.aio.insecure_channel(wanted.target, channel.OPTIONS)
    trusted = grpc.ssl_channel_credentials(wanted.tls_ca.read_bytes())
    return grpc.aio.secure_channel(wanted.target, trusted, channel.OPTIONS)


def _has(out: Path) -> Callable[[str], bool]:
    return lambda name: bool(name) and (out / name).exists()


def _how_to_go_on(wanted: Wanted) -> str:
    return f"What is in {wanted.out} is whole; the same command goes on from there."
