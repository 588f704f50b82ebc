"""`python -m tests.gpu.check [--dry] [--only NAME …] [--folder FOLDER] [--within SECONDS]`.

Each section is a process of its own with a time limit, so none takes the others down; 1 where anything failed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.gpu.conditions import DRY_FACTOR
from tests.gpu.rows import Row, read, table
from tests.servers import ROOT

FOLDER = ROOT / "build" / "gpu"
DRY_FOLDER = FOLDER / "dry"
"""A trial leaves alone what a real check has found."""
REPORT = "gpu.json"
"""All rows, in the folder."""
QUARTER_HOUR_S = 15 * 60
ENDING_S = 15
"""For servers that a section has started; what is left then is killed."""


@dataclass(frozen=True)
class Section:
    """A function of `Conditions` that yields rows."""

    path: str
    limit_s: float


SECTIONS: Mapping[str, Section] = {
    "facts": Section("tests.gpu.facts:facts", 30),
    "weights": Section("tests.gpu.weights:weights", 60),
    "verify": Section("tests.gpu.served:verify", 75),
    "answers": Section("tests.gpu.answers:answers", 80),
    "pictures": Section("tests.gpu.pictures:pictures", 30),
    "memory": Section("tests.gpu.memory:memory", 50),
    "oom": Section("tests.gpu.memory:oom", 50),
    "faults": Section("tests.gpu.served:faults", 70),
    "masks": Section("tests.gpu.speed:masks", 90),
    "rates": Section("tests.gpu.speed:rates", 70),
    "ways": Section("tests.gpu.ways:ways", 60),
    "served": Section("tests.gpu.served:served", 85),
    "compile": Section("tests.gpu.speed:compiled", 75),
    "launches": Section("tests.gpu.speed:launches", 40),
    "marked": Section("tests.gpu.marked:marked", 35),
}
"""In the order of their worth."""


@dataclass(frozen=True)
class Outcome:
    """What became of a section."""

    section: str
    rows: list[Row]
    seconds: float

    @property
    def failed(self) -> bool:
        """Whether it broke, or found anything wrong."""
        return any(row.holds is False for row in self.rows)


def checked(sections: Mapping[str, Section], dry: bool, within_s: float, folder: Path) -> Iterator[Outcome]:
    """Runs sections one after the other."""
    folder.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + within_s
    for name, section in sections.items():
        limit_s = min(section.limit_s * (DRY_FACTOR if dry else 1), until - time.monotonic())
        began = time.monotonic()
        rows = _run(name, section, limit_s, dry, folder) if limit_s > 0 else [_no_row("no time was left")]
        yield Outcome(name, rows, time.monotonic() - began)


def _run(name: str, section: Section, limit_s: float, dry: bool, folder: Path) -> list[Row]:
    """The rows of a section, and one that says why there are no more of them."""
    found, log = folder / f"{name}.rows", folder / f"{name}.log"
    found.unlink(missing_ok=True)
    words = [sys.executable, "-m", "tests.gpu.section", section.path, str(found), str(folder)]
    with log.open("w") as output:
        child = subprocess.Popen(
            [*words, *(["--dry"] if dry else [])],
            cwd=ROOT,
            env=_environment(),
            stdout=output,
            stderr=output,
            start_new_session=True,  # what it starts in turn ends with it
        )
        try:
            status: int | None = child.wait(limit_s)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            _end(child)
    rows = read(found)
    if status is None:
        return [*rows, _no_row(f"not done within {limit_s:.0f} s", log)]
    if status:
        return [*rows, _no_row(f"ended with {status}", log)]
    return rows or [_no_row("found nothing", log)]


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ends a section and its servers: in good order, if they can."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, number)
        with suppress(subprocess.TimeoutExpired):
            child.wait(ENDING_S)


def _no_row(why: str, log: Path | None = None) -> Row:
    last = log.read_text().strip().splitlines()[-1:] if log else []
    return Row("the section itself", False, {"why": why, **({"log": last[0]} if last else {})})


def _environment() -> dict[str, str]:
    """The caller's without featsvc's settings, and one GPU; all of the tree can be imported, installed or not."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FEATSVC_")}
    paths = [str(ROOT), str(ROOT / "clients" / "python"), *filter(None, [kept.get("PYTHONPATH")])]
    one = {"CUDA_VISIBLE_DEVICES": "0", "HF_HUB_OFFLINE": "1"}
    return {**one, **kept, "PYTHONPATH": os.pathsep.join(paths)}


def report(outcomes: Iterable[Outcome], path: Path | None, dry: bool) -> int:
    """Prints how it went, and writes it; gives the exit status."""
    done: list[Outcome] = []
    for each in outcomes:
        done.append(each)
        # Whoever stops it early has what there is.
        print(f"{each.section}: {each.seconds:.0f} s", file=sys.stderr, flush=True)
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"dry": dry, "sections": [asdict(one) for one in done]}, indent=1))
    print(table((each.section, row) for each in done for row in each.rows))
    failed = [each.section for each in done if each.failed]
    print(f"{len(done) - len(failed)} of {len(done)} sections passed", *failed and ["; failed:", *failed])
    return int(bool(failed))


def main() -> int:
    """Runs what is asked for."""
    parser = argparse.ArgumentParser(prog="make gpu-check", description=__doc__)
    parser.add_argument("--dry", action="store_true", help="on a pretended GPU, with little to do")
    parser.add_argument("--only", nargs="+", choices=tuple(SECTIONS), default=tuple(SECTIONS), metavar="NAME")
    parser.add_argument("--folder", type=Path, help=f"for rows, logs and weights, and {REPORT} with all rows")
    parser.add_argument("--within", type=float, default=QUARTER_HOUR_S, help="seconds for all of it")
    asked = parser.parse_args()
    # As Ctrl-C: the section that runs has to end with us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    folder = asked.folder or (DRY_FOLDER if asked.dry else FOLDER)
    outcomes = checked({name: SECTIONS[name] for name in asked.only}, asked.dry, asked.within, folder)
    return report(outcomes, folder / REPORT, asked.dry)


if __name__ == "__main__":
    sys.exit(main())
