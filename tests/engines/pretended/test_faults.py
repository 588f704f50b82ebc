"""The cases notice what is wrong: faults are put one by one into the engines."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engines.pretended.faults import FAULTS, Fault
from tests.engines.pretended.faulty import ANSWERED

RIGHT, NOTICED = ANSWERED, ANSWERED + 1
"""All tests pass, some do not."""
ROOT = Path(__file__).parents[3]
Ask = Callable[[int], int]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.file} {fault.text}")
def test_a_fault_is_one_in_a_line_that_there_is(fault: Fault) -> None:
    compile(fault.made(), fault.file, "exec")


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Runs the cases over a fault; what pytest says of it is in a file."""
    log = tmp_path_factory.mktemp("faults") / "log"
    command = (sys.executable, "-m", "tests.engines.pretended.faulty")
    with (
        log.open("w") as file,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True, cwd=ROOT
        ) as runner,
    ):
        assert runner.stdin is not None
        assert runner.stdout is not None

        to_runner, from_runner = runner.stdin, runner.stdout

        def answer(number: int) -> int:
            print(number, file=to_runner, flush=True)
            return int(from_runner.readline())

        yield answer
        to_runner.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_without_a_fault_all_is_right(ask: Ask) -> None:
    assert ask(-1) == RIGHT


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(FAULTS)), ids=[f"{each.file} {each.text}" for each in FAULTS])
def test_the_cases_notice_a_fault(ask: Ask, number: int) -> None:
    assert ask(number) == NOTICED
