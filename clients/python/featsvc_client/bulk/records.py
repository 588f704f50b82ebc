"""What the manifest notes."""

from __future__ import annotations

from dataclasses import dataclass

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    job INTEGER PRIMARY KEY, description TEXT NOT NULL, model TEXT NOT NULL DEFAULT '',
    is_finished INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS bases (job INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS runs (
    run INTEGER PRIMARY KEY, job INTEGER NOT NULL, server TEXT NOT NULL,
    began TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE IF NOT EXISTS items (
    position INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, stamp TEXT NOT NULL DEFAULT '',
    digest TEXT NOT NULL DEFAULT '', state TEXT NOT NULL DEFAULT 'seen', output TEXT NOT NULL DEFAULT '',
    nbytes INTEGER NOT NULL DEFAULT 0, model TEXT NOT NULL DEFAULT '', error TEXT NOT NULL DEFAULT '',
    job INTEGER NOT NULL DEFAULT 0, done_by INTEGER NOT NULL DEFAULT 0, seen_by INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS states ON items (state);
CREATE VIEW IF NOT EXISTS results AS
    SELECT key, state, output, nbytes, digest, items.model, server, description AS parameters, error
    FROM items JOIN jobs USING (job) LEFT JOIN runs ON run = done_by ORDER BY position;
"""


@dataclass(frozen=True)
class Known:
    """What the manifest says about a picture."""

    position: int
    stamp: str = ""
    digest: str = ""
    state: str = "seen"
    """seen, announced, done or failed."""
    output: str = ""
    seen_by: int = 0


@dataclass(frozen=True)
class Result:
    """What is noted of a finished picture."""

    position: int
    stamp: str
    digest: str
    output: str
    nbytes: int
    model: str
