"""A run over a data set: nodes read, answer and write by Ray Data; this process plans, and keeps the manifest."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from featsvc_client.bulk.inputs import Inputs
from featsvc_client.bulk.manifest import Manifest
from featsvc_client.bulk.progress import Progress
from featsvc_client.bulk.selection import Selection
from featsvc_client.bulk.store import Store, Todo, Written

from featsvc.batch.nodes import Answering, NodeWork, fitted
from featsvc.batch.places import PLACES, PicturePlace, parts, read
from featsvc.errors import FeatsvcError
from featsvc.pool.cluster.environment import runtime_env
from featsvc.pool.contract.messages import Boot

if TYPE_CHECKING:
    from ray.data import Dataset

CALLS_AHEAD = 2
"""Calls that an actor has at once: the pictures of the next one are there when one ends."""
BATCHES = 4
"""Of each call: while one of them computes the next is prepared."""
READ_CPUS = 0.25
"""Of a task that reads, which mostly waits."""
READ_AHEAD = 2
"""Tasks that read for each actor, where actors take every CPU and Ray would start none that wants some."""


@dataclass(frozen=True)
class Actors:
    """How many there are, and what Ray keeps free for each."""

    least: int
    most: int
    cpus: float
    gpus: float

    def each(self, boot: Boot) -> dict[str, Any]:  # Any: arguments of Ray's
        """What one is given."""
        return {"num_cpus": self.cpus, "num_gpus": self.gpus, "runtime_env": runtime_env(boot)}

    def reading(self, cluster_cpus: float) -> dict[str, Any]:  # Any: arguments of Ray Data's
        """What tasks that read want of a cluster of so many CPUs, so that some can run beside the actors."""
        if self.least * self.cpus + READ_CPUS <= cluster_cpus:
            return {"num_cpus": READ_CPUS}
        return {"num_cpus": 0, "concurrency": READ_AHEAD * self.least}


@dataclass(frozen=True)
class Run:
    """All that a run needs."""

    inputs: Inputs
    selection: Selection
    manifest: Manifest
    store: Store
    progress: Progress

    def plan(self) -> list[pa.Table]:
        """What is to be read, part by part."""
        tables = [pa.Table.from_pylist(rows, PLACES) for rows in self._todo()]
        tally = self.progress.tally
        self.progress.expect(tally.skipped + tally.failed + sum(map(len, tables)))
        return tables

    def in_one_basis(self, work: NodeWork, actors: Actors) -> NodeWork:
        """The work with the basis in which all pictures are to be shown, if they are, fitted by a node if it is new.

        Raises FeatsvcError where it cannot be. Ray must be connected.
        """
        sample = work.question.sample
        if sample is None:
            return work
        basis = self.manifest.basis()
        if not basis:
            every = (place for part in parts(self.inputs) for place in part)
            drawn = sample.drawn(every, lambda place: place, self.selection.stop)
            if self.selection.stop.is_set():
                return work  # nobody waits for it, and of these no basis is to be kept
            basis = _fitted(work, drawn, actors)
            self.manifest.keep_basis(basis)
        return work.asking(work.question.shown_in(basis))

    def answer(self, tables: list[pa.Table], work: NodeWork, actors: Actors) -> int:
        """Have all of it answered; how much has no answer, for what ran for it died. Ray must be connected."""
        left = sum(map(len, tables))
        for batch in _answered(tables, work, actors).iter_batches(batch_size=None, batch_format="pyarrow"):
            table: Any = batch  # Any: pyarrow's
            for row in table.to_pylist():
                self._note(row, work.model)
                left -= 1
        return left

    def _todo(self) -> Iterator[list[dict[str, object]]]:
        """The pictures without an answer, as many together as a task reads."""
        for part in parts(self.inputs):
            rows = list[dict[str, object]]()
            for place in part:
                known = self.selection.unsettled(place.key, place.stamp)
                if known is not None:
                    digest = known.digest if self.selection.has_result(known) else ""
                    of_manifest = {
                        "position": known.position,
                        "old_output": known.output,
                        "known_digest": digest,
                    }
                    rows.append(asdict(place) | of_manifest)
            if rows:
                yield rows

    def _note(self, row: Mapping[str, Any], model: str) -> None:  # Any: of Arrow
        """What has become of one picture."""
        todo = Todo(row["position"], row["key"], row["stamp"], row["digest"] or "", b"", row["old_output"])
        if row["error"]:
            self.store.drop(todo, row["error"])
            self.progress.fail(todo.key, row["error"])
        elif row["staged"]:
            written = Written(Path(row["staged"]), row["nbytes"], model)
            self.progress.done(self.store.place(todo, written))
        else:
            self.manifest.restamp(todo.position, todo.stamp)
            self.progress.skip()
        self.store.pack(todo.position)


def _fitted(work: NodeWork, places: list[PicturePlace], actors: Actors) -> str:
    import ray

    # One call for each process: it leaves nothing on the device.
    task = ray.remote(max_calls=1, **actors.each(work.boot))(fitted)
    answer: str | FeatsvcError = ray.get(task.remote(work, places))
    if isinstance(answer, FeatsvcError):
        raise answer
    return answer


def _answered(tables: list[pa.Table], work: NodeWork, actors: Actors) -> Dataset:
    """What has become of each picture, as Ray Data comes to it. It reads no further than it can go on."""
    # Only here: what it reads of the environment must be there before.
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    # Its lines go beside our bar; what goes wrong is raised too.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = DataContext.get_current()
    context.enable_progress_bars = False  # we have one
    context.max_errored_blocks = (
        -1
    )  # of what is lost with its actors the manifest knows that it is still to do
    context.print_on_execution_start = False
    reading = actors.reading(ray.cluster_resources().get("CPU", 0.0))
    pictures = ray.data.from_arrow(tables).map_batches(
        read, batch_size=None, batch_format="pyarrow", **reading
    )
    strategy = ActorPoolStrategy(
        min_size=actors.least, max_size=actors.most, max_tasks_in_flight_per_actor=CALLS_AHEAD
    )
    return pictures.map_batches(
        Answering,
        fn_constructor_args=(work,),
        compute=strategy,
        batch_size=BATCHES * work.most_items,
        batch_format="pyarrow",
        **actors.each(work.boot),
    )
