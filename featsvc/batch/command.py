"""`featsvc batch`: the commands of `featsvc-client`, without a server, and with what engines need to know."""

from __future__ import annotations

import argparse
import asyncio
import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace

from featsvc_client.bulk import arguments, basis, formats, options, packing
from featsvc_client.bulk.commands import Command, Question, question
from featsvc_client.bulk.extra import Refused
from featsvc_client.bulk.folder import UNFINISHED, Folder
from featsvc_client.bulk.inputs import Inputs
from featsvc_client.bulk.job import check_job, check_models, described, ended
from featsvc_client.bulk.manifest import NAME, Manifest
from featsvc_client.bulk.progress import Progress
from featsvc_client.bulk.selection import Selection
from featsvc_client.bulk.store import Store, Writer
from featsvc_client.errors import InvalidRequest
from featsvc_client.window import NO_PICTURE

from featsvc import __version__
from featsvc.batch.nodes import NodeWork, operation_of
from featsvc.batch.run import Actors, Run
from featsvc.catalog import weights
from featsvc.catalog.choice import check_answers, entry_for
from featsvc.errors import FeatsvcError, WeightsMissing, invalid_field
from featsvc.logs import setup
from featsvc.pool.cluster.connection import connected
from featsvc.pool.contract.messages import Boot
from featsvc.server.config.devices import engine_options, pool_settings
from featsvc.settings.attributes import Attribute, attributes
from featsvc.settings.computing import Limits, Networks, Weights
from featsvc.settings.flags import add_flags
from featsvc.settings.sources import configuration
from featsvc.settings.tree import GatewaySettings
from featsvc.work.operations import models_of

FAILED, REFUSED, STOPPED = 1, 2, 130
AFTER = """Exit status: 0 all done, 1 some pictures failed, 2 refused, 130 stopped. Inputs and results lie where all
nodes see them under the same path. A run that was stopped in any way goes on with the same command."""
INPUTS = (
    "folders, globs, .txt files that list inputs, .tar archives, Parquet files and pictures, in any mixture"
)
OF_MESSAGES = "max_reply_bytes"
TEXT = "Asks engines on a Ray cluster about many pictures."
GROUPS = (Weights, Networks, Limits)
NAMES = (
    *("ray_address", "ray_workers", "gpus_per_worker", "cpus_per_worker"),
    *("profile", "prepare_threads", "max_batch", "max_batch_pixels", "model_memory", "log_level"),
)


def main(words: Sequence[str]) -> int:
    """Runs a command; gives its exit status."""
    try:
        return asyncio.run(_run(_parsed(words)))
    except (Refused, InvalidRequest, OSError) as error:
        print(f"featsvc batch: {error}", file=sys.stderr)
        return REFUSED
    except FeatsvcError as error:
        print(f"featsvc batch: {error.message}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print("\nfeatsvc batch: stopped; the same command goes on from there", file=sys.stderr)
        return STOPPED


@dataclass(frozen=True)
class DataSetCommand:
    """What the command line asks for."""

    settings: GatewaySettings
    question: Question
    names: arguments.Files
    again: bool
    retry_failed: bool
    quiet: bool


def _parsed(words: Sequence[str]) -> DataSetCommand:
    """The command line; ends the process, as argparse does, where it makes no sense."""
    parser = arguments.tree("featsvc batch", TEXT, AFTER, _add)
    named = vars(parser.parse_args(words))
    command: Command = named.pop("command")
    names = arguments.Files(
        **{field.name: named[field.name] for field in fields(arguments.Files)}
        | {"inputs": tuple(named["inputs"])}
    )
    arguments.check_files(names, parser)
    parameters = options.parameters(named)
    flags = {each.name: named[each.name] for each in _settings() if each.name in named}
    found = configuration({"config": named["config"], **flags}, GatewaySettings)
    settings = found.settings
    if found.origins["log_level"] == "default":
        settings = replace(settings, log_level="warning")  # the bar tells how far it is
    asked = question(command, parameters, names.form, sample=basis.taken(named))
    return DataSetCommand(settings, asked, names, named["again"], named["retry_failed"], named["quiet"])


def _add(parser: argparse.ArgumentParser, command: Command) -> None:
    arguments.add_files(parser, command, INPUTS)
    arguments.add_run(parser)
    add_flags(parser, _settings())
    if command.has_components:
        basis.add(parser)
    options.add(parser, command)


def _settings() -> list[Attribute]:
    """Those of the server that mean something here."""
    chosen = [each for each in attributes(GatewaySettings) if each.group in GROUPS or each.name in NAMES]
    return [each for each in chosen if each.name != OF_MESSAGES]


async def _run(asked: DataSetCommand) -> int:
    settings, names = asked.settings, asked.names
    setup(settings.log_level, settings.log_format)
    job = described(asked.question, names)
    inputs = Inputs(names.inputs, 1, names.out.resolve(), names.column)
    formats.check(names.form)
    inputs.check()
    work = _work(asked)
    span = settings.ray_workers
    actors = Actors(span.least, span.most, settings.cpus_per_worker, settings.gpus_per_worker)
    names.out.mkdir(parents=True, exist_ok=True)
    stop = threading.Event()
    with (
        closing(
            Manifest(names.out / NAME, lambda name: bool(name) and (names.out / name).exists())
        ) as manifest,
        closing(Progress(asked.quiet)) as progress,
    ):
        check_job(manifest, job, names.out, asked.again)
        with closing(Folder(names.out)) as folder:
            manifest.begin_run(job, __version__, asked.again)
            check_models(manifest, work.told_models)
            packing.clean(folder, manifest)
            selection = Selection(inputs, folder, manifest, progress, asked.retry_failed, stop)
            store = Store(folder, manifest, names.form, names.per_file, asked.question.categories)
            run = Run(inputs, selection, manifest, store, progress)
            try:
                left, tables = 0, await asyncio.to_thread(run.plan)
                if tables:
                    async with connected(settings.ray_address):
                        work = await asyncio.to_thread(run.in_one_basis, work, actors)
                        left = await asyncio.to_thread(run.answer, tables, work, actors)
            finally:
                stop.set()
            run.store.finish()
            if not left:
                manifest.finish_job()
            packing.clean(folder, manifest)
        if left:
            progress.say(
                f"{left} have no answer, for what ran for them died: the same command tries them again"
            )
            return FAILED
        return ended(progress, manifest)


def _work(asked: DataSetCommand) -> NodeWork:
    """What the nodes are told. Raises FeatsvcError where no model can answer, or its weights are not to be had."""
    settings, names, question_ = asked.settings, asked.names, asked.question
    gpus, threads = settings.gpus_per_worker, max(1, int(settings.cpus_per_worker))
    here = replace(
        settings,
        devices="cuda:0" if gpus else "cpu",  # Ray shows an actor no others
        workers_per_device=1,
        threads=threads,
        preload=(),
        # No picture comes twice.
        embedding_cache=0,
        pyramid_cache=0,
    )
    of_pool = pool_settings(here, engine_options(here))
    (device,) = of_pool.worker_devices
    operation = operation_of(question_)
    sample, most = question_.sample, settings.max_basis_pictures
    if sample is not None and sample.size > most:
        raise Refused(f"{basis.OPTION} {sample.size}: at most {most} (--max-basis-pictures)")
    work = NodeWork(
        question=question_,
        request=question_.call(NO_PICTURE).serialised(),
        model="",
        also=(),
        boot=Boot.of(0, device, of_pool),
        most_items=of_pool.most_items(operation.per_picture),
        max_image_bytes=settings.max_image_bytes,
        writer=Writer(names.form, names.per_file > 1),
        stage=str(names.out.resolve() / UNFINISHED),
    )
    named = None if operation.together is None else operation.together(work.asked.params)
    if named is not None and named.digests:
        raise invalid_field(
            named.option, f"names pictures that a server was sent, and here is none: see {basis.OPTION}"
        )
    keys = []
    for use in models_of(operation, work.asked):
        entry = entry_for(use.naming, settings.profile, use.option)
        check_answers(entry, use.operation)
        missing = weights.check(entry, here).missing
        if missing and settings.offline:
            raise WeightsMissing(f"{entry.key}: {missing}")
        keys.append(entry.key)
    first, *others = keys
    return replace(work, model=first, also=tuple(others))
