"""Jobs that wait for a worker, by who may take them and by what may share a batch. All steps are O(log n)."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

from featsvc.pool.job import Job
from featsvc.pool.line import Line

Subject = tuple[str, str, str]  # service, model, affinity
Row = tuple[str, str, int | None]  # service, model, worker


@dataclass(eq=False)
class Entry:
    """A job and the future its caller awaits."""

    id: int
    job: Job
    due: float  # when it must be done, by the clock of time.monotonic
    future: asyncio.Future[Any]  # Any: which result class it is follows from the operation
    deaths: int = 0  # workers that died with it on board
    ticket: int = 0  # its place in the queue; 0 when it does not wait
    batch: Batch | None = None  # the one that carries it
    company: Company | None = None  # those that may share its batch, while it waits

    @property
    def order(self) -> tuple[float, int]:
        """The oldest deadline first, then by arrival."""
        return self.due, self.ticket

    @property
    def subject(self) -> Subject:
        """What decides where it may run."""
        return subject_of(self.job)


def subject_of(job: Job) -> Subject:
    """What a job is about."""
    return job.service, job.model, job.affinity


@dataclass(eq=False)
class Batch:
    """Entries at a worker that are not yet answered; `alone` when it may share the worker with nothing."""

    id: int
    entries: dict[int, Entry]
    alone: bool
    size: int = field(init=False)
    began_at: float | None = None  # when its model was there
    watched_since: float | None = None  # when its time limit began to run

    def __post_init__(self) -> None:
        self.size = len(self.entries)
        self.job = next(iter(self.entries.values())).job  # all agree in all that decides about a batch


class Company(Line[Entry]):
    """Entries that may share a batch: of one subject, operation and params."""

    def __init__(self, key: Hashable) -> None:
        super().__init__()
        self.key = key


class Topic(Line[Entry]):
    """Entries about one subject. It stands in one row, by its own head."""

    def __init__(self, subject: Subject) -> None:
        super().__init__()
        self.subject = subject
        self.home: int | None = None  # the only worker that may take them
        self.overdue = False  # one of them has waited for its home as long as it should
        self.ticket = 0
        self.shown: Entry | None = None  # the head by which it stands in its row

    @property
    def order(self) -> tuple[float, int]:
        """As its head."""
        return self.head().order

    @property
    def row(self) -> Row:
        """Topics that the same workers may take, of one service and model."""
        service, model, _ = self.subject
        return service, model, self.home


class Waiting:
    """The queue. Suspects stand apart: each was on board when a worker died, and must run alone."""

    def __init__(self) -> None:
        self.suspects = Line[Entry]()
        self.count = 0
        self.nbytes = 0
        self._topics: dict[Subject, Topic] = {}
        self._rows: dict[Row, Line[Topic]] = {}
        self._companies: dict[Hashable, Company] = {}
        self._tickets = itertools.count(1)

    def add(self, entry: Entry) -> None:
        """Queue an entry; one that has seen a worker die becomes a suspect."""
        entry.ticket = next(self._tickets)
        entry.batch = None
        self.count += 1
        self.nbytes += entry.job.nbytes
        if entry.deaths:
            self.suspects.add(entry)
            return
        subject, job = entry.subject, entry.job
        topic = self._topics.get(subject)
        if topic is None:
            topic = self._topics[subject] = Topic(subject)
        topic.add(entry)
        key = (subject, job.operation, job.params)
        entry.company = self._companies.get(key)
        if entry.company is None:
            entry.company = self._companies[key] = Company(key)
        entry.company.add(entry)
        self._show(topic)

    def remove(self, entry: Entry) -> None:
        """Take a waiting entry out."""
        self._take_out(entry)
        if not entry.deaths:
            self._show(self._topics[entry.subject])

    def take(self, head: Entry, limit: int) -> list[Entry]:
        """Take out an entry and its company, most urgent first, or as many as `limit`."""
        topic, company, taken = self._topics[head.subject], head.company, []
        while company and limit:
            entry = company.head()
            self._take_out(entry)
            limit -= 1
            # A caller that has just gone has not yet had time to take its entry out.
            if not entry.future.done():
                taken.append(entry)
        self._show(topic)
        return taken

    def heads(self, worker: int) -> Iterator[Entry]:
        """Entries that a worker may take, of each service and model the most urgent: one for all, one for it."""
        for (_, _, home), row in self._rows.items():
            if home is None or home == worker:
                yield row.head().head()

    def topic(self, subject: Subject) -> Topic | None:
        """Entries about a subject, if any wait."""
        return self._topics.get(subject)

    def reserve(self, topic: Topic, worker: int | None) -> None:
        """Let one worker alone take what is about a subject; None lets all."""
        if topic.home != worker:
            self._hide(topic)
            topic.home = worker
            self._show(topic)

    def _take_out(self, entry: Entry) -> None:
        entry.ticket = 0
        self.count -= 1
        self.nbytes -= entry.job.nbytes
        if entry.deaths:
            self.suspects.forget_one()
            return
        self._topics[entry.subject].forget_one()
        company, entry.company = entry.company, None
        if company is not None:
            company.forget_one()
            if not company:
                del self._companies[company.key]

    def _show(self, topic: Topic) -> None:
        """Put a topic into its row by the head that it has now; away with it if it has none."""
        head = topic.head() if topic else None
        if head is topic.shown:
            return
        self._hide(topic)
        if head is None:
            del self._topics[topic.subject]
            return
        topic.ticket, topic.shown = next(self._tickets), head
        row = self._rows.get(topic.row)
        if row is None:
            row = self._rows[topic.row] = Line()
        row.add(topic)

    def _hide(self, topic: Topic) -> None:
        if topic.shown is not None:
            topic.ticket, topic.shown = 0, None
            row = self._rows[topic.row]
            row.forget_one()
            if not row:
                del self._rows[topic.row]
