"""Lines of log that nobody reads, whose reader has gone, or for which the disk has no room."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from featsvc.logs import JsonLines, PlainLines
from featsvc.output import MOST_LINES, LineWriter
from featsvc.request_ids import request_id

KIB = 1024


@contextmanager
def _logging_to(descriptor: int) -> Iterator[logging.Logger]:
    logger, writer = logging.Logger("test"), LineWriter(descriptor, JsonLines())
    logger.addHandler(writer)
    yield logger
    writer.flush()


def _messages(raw: bytes) -> list[dict[str, object]]:
    return [json.loads(line) for line in raw.splitlines() if line]


def test_lines_that_nobody_reads_hold_nobody_up_and_their_number_is_told_later() -> None:
    reader, writer = os.pipe()
    count = 3 * MOST_LINES
    with _logging_to(writer) as logger, open(reader, "rb", buffering=0) as pipe:
        for number in range(count):
            logger.error("line", extra={"number": number, "padding": "x" * KIB})
        assert b"line" in pipe.read(KIB)  # not one reader was there before this
        seen = bytearray()
        while b"were dropped" not in seen:
            seen += pipe.read(KIB * KIB)
            logger.error("line", extra={"number": count})
    os.close(writer)
    told = next(line for line in seen.splitlines() if b"were dropped" in line)
    assert json.loads(told)["lines"] > MOST_LINES


def test_a_full_disk_drops_lines_and_ends_nothing() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    with _logging_to(full) as logger:
        for _ in range(100):
            logger.error("line")
    os.close(full)


def test_lines_after_a_reader_has_gone_are_dropped() -> None:
    reader, writer = os.pipe()
    with _logging_to(writer) as logger:
        os.close(reader)
        for _ in range(100):
            logger.error("line")
    os.close(writer)


def test_what_was_logged_last_is_written_before_the_process_ends() -> None:
    program = (
        "import logging, warnings\n"
        "from featsvc.logs import setup\n"
        "setup('info'); logging.info('the last line'); warnings.warn('of a library')"
    )
    done = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, check=True)
    lines = _messages(done.stderr)
    assert lines[0]["message"] == "the last line"
    assert "of a library" in str(lines[1]["message"])


@pytest.mark.parametrize("how", ["gone", "full"])
def test_a_line_on_standard_output_that_cannot_be_written_ends_nothing(how: str) -> None:
    program = "from featsvc.output import announce\nannounce('listening')\nannounce('ready')"
    reader, writer = os.pipe()
    os.close(reader)
    stdout = writer if how == "gone" else os.open("/dev/full", os.O_WRONLY)
    done = subprocess.run([sys.executable, "-c", program], stdout=stdout, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    os.close(writer)


def test_what_a_library_adds_to_records_for_itself_is_in_no_line() -> None:
    record = logging.LogRecord("test", logging.INFO, __file__, 1, "line", None, None)
    vars(record).update(worker=3, _ray_timestamp_ns=1)
    assert json.loads(JsonLines().format(record)).keys() == {"time", "level", "logger", "message", "worker"}
    assert "timestamp" not in PlainLines().format(record)


def test_a_line_names_its_request_and_what_broke_in_both_forms() -> None:
    record = logging.makeLogRecord({"name": "featsvc.x", "levelname": "ERROR", "msg": "broken", "worker": 3})
    try:
        raise ValueError("of a test")
    except ValueError:
        record.exc_info = sys.exc_info()
    token = request_id.set("id-7")
    line = json.loads(JsonLines().format(record))
    words, *below = PlainLines().format(record).splitlines()
    request_id.reset(token)
    assert list(line) == ["time", "level", "logger", "message", "request_id", "worker", "traceback"]
    assert (line["request_id"], line["worker"]) == ("id-7", 3)
    assert line["traceback"].endswith("ValueError: of a test")
    assert words.endswith(" error   broken request_id=id-7 worker=3")
    assert "\n".join(below) == line["traceback"]
