"""What has been done: one SQLite file that survives the end of its process at any moment.

A result is announced before its file gets its name and confirmed after it. So a process that ends in between leaves
an announcement whose file is there or not, which is all that the next one must look at. Anybody may read it at any
time: neither waits for the other, for a write goes into SQLite's log first, and a reader sees what there was before.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

from featsvc_client.bulk.extra import Refused
from featsvc_client.bulk.records import SCHEMA, Known, Result

NAME = "manifest.sqlite"


LOCK = f"{NAME}.lock"
# How long somebody else's transaction may keep a write waiting.
BUSY_S = 60.0


class LastJob(NamedTuple):
    """The job of the last run."""

    number: int
    description: str
    is_finished: bool


class Manifest:
    """The manifest of one folder, written by one process at a time; threads may share it."""

    def __init__(self, path: Path, has: Callable[[str], bool] = lambda _: False) -> None:
        """Opens or begins it; `has` tells whether an output is there, for what an earlier process announced."""
        claim = _claimed(path.parent)
        self._begin(sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False))
        self._claim = claim
        try:
            # Written through at checkpoints only: after a loss of power the last pictures may be done again, after the
            # end of the process none.
            for pragma in ("journal_mode = WAL", "synchronous = NORMAL"):
                self._file.execute(f"PRAGMA {pragma}").fetchall()
            self._file.executescript(SCHEMA)
            announced = self._execute("SELECT position, output FROM items WHERE state = 'announced'")
            for position, output in announced.fetchall():
                state = "done" if has(output) else "seen"
                self._execute("UPDATE items SET state = ? WHERE position = ?", state, position)
        except sqlite3.DatabaseError as error:
            self.close()
            if "locked" in str(error):
                raise Refused(f"{path}: another program has been writing into it for {BUSY_S:g} s") from error
            if isinstance(error, sqlite3.OperationalError):
                raise
            raise Refused(f"{path}: {error}; remove it to begin anew") from error

    @classmethod
    def reading(cls, path: Path) -> Self:
        """The one of a folder in which a run may be at work, only to be read."""
        found = cls.__new__(cls)
        found._begin(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)
        )
        return found

    def _begin(self, file: sqlite3.Connection) -> None:
        self._lock = threading.RLock()
        self._file = file
        self._claim = -1
        self.job = self.run = 0

    def last_job(self) -> LastJob:
        """The job of the last run; number 0 where there is none."""
        found = self._execute(
            "SELECT job, description, is_finished FROM jobs ORDER BY job DESC LIMIT 1"
        ).fetchone()
        return LastJob(*(found or (0, "", False)))

    def finish_job(self) -> None:
        """Notes that the job came to its end, so that to want it again means to begin anew."""
        self._execute("UPDATE jobs SET is_finished = 1 WHERE job = ?", self.job)

    def begin_run(self, description: str, server: str, again: bool = False) -> None:
        """Notes a run of a job: a new one where its description is, or where a finished one is wanted again."""
        job, known, is_finished = self.last_job()
        if known != description or (again and is_finished):
            job = self._inserted("INSERT INTO jobs (description) VALUES (?)", description)
        self._execute("UPDATE jobs SET is_finished = 0 WHERE job = ?", job)
        self.job = job
        self.run = self._inserted("INSERT INTO runs (job, server) VALUES (?, ?)", job, server)

    def note_models(self, models: tuple[str, ...]) -> tuple[str, ...]:
        """The models of the job in their order: these, if none have answered before, or only the first of them."""
        with self._lock:
            (found,) = self._execute("SELECT model FROM jobs WHERE job = ?", self.job).fetchone()
            known = tuple(found.split("\n")) if found else ()
            if len(known) < len(models) and known == models[: len(known)]:
                self._execute("UPDATE jobs SET model = ? WHERE job = ?", "\n".join(models), self.job)
                return models
            return known

    def basis(self) -> str:
        """Name of the basis of components in which the job shows its pictures; empty where there is none yet."""
        (found,) = self._execute(
            "SELECT coalesce(max(name), '') FROM bases WHERE job = ?", self.job
        ).fetchone()
        return str(found)

    def keep_basis(self, name: str) -> None:
        """Notes it, so that a run that goes on, also over more pictures, has the same."""
        self._execute("INSERT INTO bases (job, name) VALUES (?, ?)", self.job, name)

    def see(self, key: str) -> Known:
        """What is known of a picture that the run has come to; its place among all is given here and stays."""
        with self._lock:
            self._execute("INSERT OR IGNORE INTO items (key, job) VALUES (?, ?)", key, self.job)
            *row, job = self._execute(
                "SELECT position, stamp, digest, state, output, seen_by, job FROM items WHERE key = ?", key
            ).fetchone()
            known = Known(*row)
            self._execute("UPDATE items SET seen_by = ? WHERE position = ?", self.run, known.position)
            # Of another job only the place is of use.
            return (
                known
                if job == self.job
                else Known(known.position, seen_by=known.seen_by, output=known.output)
            )

    def restamp(self, position: int, stamp: str) -> None:
        """Notes that a file was written again with the same content."""
        self._execute("UPDATE items SET stamp = ? WHERE position = ?", stamp, position)

    def announce(self, done: Result) -> None:
        """Notes a result whose file is about to get its name."""
        self._execute(
            "UPDATE items SET state = 'announced', stamp = ?, digest = ?, output = ?, nbytes = ?, model = ?, "
            "error = '', job = ?, done_by = ? WHERE position = ?",
            *(
                done.stamp,
                done.digest,
                done.output,
                done.nbytes,
                done.model,
                self.job,
                self.run,
                done.position,
            ),
        )

    def confirm(self, position: int) -> None:
        """Notes that the file has its name."""
        self._execute("UPDATE items SET state = 'done' WHERE position = ?", position)

    def fail(self, position: int, stamp: str, digest: str, error: str) -> None:
        """Notes why a picture has no result."""
        self._execute(
            "UPDATE items SET state = 'failed', stamp = ?, digest = ?, error = ?, output = '', job = ?, done_by = ? "
            "WHERE position = ?",
            *(stamp, digest, error, self.job, self.run, position),
        )

    def forget(self, output: str) -> None:
        """Notes that a file with results is gone, which are to be asked for again."""
        self._execute("UPDATE items SET state = 'seen' WHERE state = 'done' AND output = ?", output)

    def move(self, positions: Iterator[int], output: str) -> None:
        """Notes that the results of all of these are now in another file."""
        with self._lock, self._file:
            self._file.execute("BEGIN")
            moved = ((output, each) for each in positions)
            self._file.executemany("UPDATE items SET output = ? WHERE position = ?", moved)

    def done(self, first: int = 1, after: int | None = None) -> Iterator[tuple[int, str, str]]:
        """Position, key and output of what is done from one position to before another, in order."""
        position, last = first - 1, 2**62 if after is None else after
        while True:
            rows = self._execute(
                "SELECT position, key, output FROM items WHERE state = 'done' AND job = ? "
                "AND position > ? AND position < ? ORDER BY position LIMIT 1000",
                *(self.job, position, last),
            ).fetchall()
            if not rows:
                return
            yield from rows
            position = rows[-1][0]

    def outputs_of_other_jobs(self) -> list[str]:
        """Files that hold nothing but results of parameters that are not wanted any more."""
        rows = self._execute(
            "SELECT output FROM items WHERE job != ? EXCEPT SELECT output FROM items WHERE job = ?",
            *(self.job, self.job),
        ).fetchall()
        return [output for (output,) in rows]

    def open_in(self, first: int, after: int) -> int:
        """How many places from one to before another are neither done nor failed, or not yet given."""
        (settled,) = self._execute(
            "SELECT count(*) FROM items WHERE state IN ('done', 'failed') AND job = ? "
            "AND position >= ? AND position < ?",
            *(self.job, first, after),
        ).fetchone()
        return after - first - int(settled)

    def tally(self, state: str) -> int:
        """How many pictures of the job are in a state."""
        found = self._execute("SELECT count(*) FROM items WHERE state = ? AND job = ?", state, self.job)
        return int(found.fetchone()[0])

    def has_any(self) -> bool:
        """Whether any picture was ever answered, or has failed: a run may have ended before."""
        found = self._execute("SELECT EXISTS (SELECT 1 FROM items WHERE state != 'seen')")
        return bool(found.fetchone()[0])

    def errors(self) -> list[tuple[str, str]]:
        """The first failures: key and reason."""
        found: list[tuple[str, str]] = self._execute(
            "SELECT key, error FROM items WHERE state = 'failed' AND job = ? ORDER BY position LIMIT 10",
            self.job,
        ).fetchall()
        return found

    def close(self) -> None:
        """Writes everything into the one file, unless somebody reads it now, and lets others have it."""
        with self._lock:
            self._file.close()
            if self._claim >= 0:
                os.close(self._claim)
                self._claim = -1

    # Any: rows of SQLite.
    def _execute(self, statement: str, *values: object) -> Any:
        with self._lock:
            return self._file.execute(statement, values)

    def _inserted(self, statement: str, *values: object) -> int:
        number = self._execute(statement, *values).lastrowid
        return int(number)


def _claimed(folder: Path) -> int:
    """A lock on the folder that ends with the process, however that ends; raises Refused where another has it."""
    claim = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(claim)
        raise Refused(f"{folder}: another featsvc-client is at work in this folder") from error
    return claim
