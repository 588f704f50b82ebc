"""The clients of all languages, one live server: the known answers, and the same bytes everywhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from featsvc_client.conformance.cases import Json, golden, shipped
from featsvc_client.conformance.judging import differences, exact_differences

from tests.conformance.make import CASES
from tests.conformance.proxy import Unreliable, in_front_of
from tests.conformance.runners import PYTHON, RUNNERS, Runner
from tests.servers import KEY, Server

# A first build of a client compiles gRPC.
pytestmark = pytest.mark.timeout(1500)
Printed = Callable[[Runner], dict[str, Json]]
IMPATIENT = ("deadline",)


@pytest.fixture(scope="module")
def printed(demo_server: Server) -> Printed:
    """What a runner prints about the server; each is run once."""
    found: dict[Runner, dict[str, Json]] = {}

    def lines(runner: Runner) -> dict[str, Json]:
        if runner not in found:
            runner.built()
            found[runner] = runner.lines(demo_server.target, CASES, KEY)
        return found[runner]

    return lines


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_a_client_reads_the_known_answers(runner: Runner, printed: Printed) -> None:
    lines = printed(runner)
    wrong = {name: differences(lines.get(name), known) for name, known in golden().items()}
    assert {name: found for name, found in wrong.items() if found} == {}
    assert lines.keys() == golden().keys()


@pytest.mark.parametrize("runner", RUNNERS[1:], ids=str)
def test_a_client_reads_the_same_bytes_as_the_python_client(runner: Runner, printed: Printed) -> None:
    lines, reference = printed(runner), printed(PYTHON)
    wrong = {name: exact_differences(lines.get(name), known) for name, known in reference.items()}
    assert {name: found for name, found in wrong.items() if found} == {}


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_a_client_gets_every_answer_of_a_server_that_refuses_and_breaks_off_most_calls(
    runner: Runner, demo_server: Server, printed: Printed, tmp_path: Path
) -> None:
    reference = printed(PYTHON)
    runner.built()
    patient = [case for case in shipped() if case.name not in IMPATIENT]
    cases = tmp_path / "cases.json"
    cases.write_text(json.dumps([case.json() for case in patient]))
    with in_front_of(demo_server.target, Unreliable) as target:
        lines = runner.lines(target, cases, KEY)
    wrong = {
        name: exact_differences(lines.get(name), reference[name]) for case in patient for name in case.lines
    }
    assert {name: found for name, found in wrong.items() if found} == {}
