"""The clients of all languages, one live server: the known answers, and the same bytes everywhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
from featsvc_client.conformance.cases import Json, by_name, golden, shipped
from featsvc_client.conformance.judging import differences, exact_differences

from tests.conformance.make import CASES
from tests.conformance.proxy import Unreliable, in_front_of, nobody_there
from tests.conformance.runners import PYTHON, RUNNERS, Runner
from tests.servers import KEY, Server, running

# A first build of a client compiles gRPC.
pytestmark = pytest.mark.timeout(1500)
Printed = Callable[[Runner], dict[str, Json]]
IMPATIENT = ("deadline",)


# Of the session: another file may come between two languages.
@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cases but for those whose time is meant to be too short."""
    path: Path = tmp_path_factory.mktemp("cases") / "cases.json"
    path.write_text(json.dumps([case.json() for case in shipped() if case.name not in IMPATIENT]))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_a_client_gets_every_answer_of_a_server_that_refuses_and_breaks_off_most_calls(
    runner: Runner, demo_server: Server, printed: Printed, patient: Path
) -> None:
    reference = printed(PYTHON)
    runner.built()
    with in_front_of(demo_server.target, Unreliable) as target:
        assert wrong(runner.lines(target, patient, KEY), reference) == {}


@pytest.mark.slow
@pytest.mark.parametrize("runner", RUNNERS, ids=str)
def test_a_client_gets_every_answer_of_a_server_that_is_killed_in_the_middle_and_started_again(
    runner: Runner, printed: Printed, patient: Path, tmp_path: Path
) -> None:
    reference = printed(PYTHON)
    runner.built()
    flags = ("serve", "--profile=demo", "--devices=cpu", "--offline", "--threads=1")  # as the reference
    with running(tmp_path / "first", *flags) as server:
        coming = runner.printed(server.target, patient, KEY)
        lines = list(islice(coming, len(reference) // 3))
        server.process.kill()
        server.process.wait()
        nobody_there(server.target)
        with running(tmp_path / "second", *flags, f"--grpc-port={server.grpc_port}"):
            lines += coming
    assert wrong(by_name(lines), reference) == {}


def wrong(lines: dict[str, Json], reference: dict[str, Json]) -> dict[str, list[str]]:
    """What is wrong with the lines about the patient cases, by their names."""
    found = {
        name: exact_differences(lines.get(name), known)
        for name, known in reference.items()
        if name not in IMPATIENT
    }
    return {name: each for name, each in found.items() if each}
