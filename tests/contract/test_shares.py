"""How the tests are shared out names files that are there, and all that want the documented ports."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.test_layers import ROOT
from tests.shares import (
    AT_DOCUMENTED_PORTS,
    BY_PARAMETER,
    BY_TEST,
    DOCUMENTED_PORTS,
    FIRST,
    FOLDERS,
    order,
    share,
)

NAMED = {*FIRST, *BY_PARAMETER, *BY_TEST, *AT_DOCUMENTED_PORTS, *FOLDERS} - {DOCUMENTED_PORTS}


@pytest.mark.parametrize("name", sorted(NAMED))
def test_a_file_or_folder_that_is_named_is_there(name: str) -> None:
    assert (ROOT / name).is_dir() if name in FOLDERS else (ROOT / name).is_file()


def test_all_that_want_the_documented_ports_share_one_process() -> None:
    files = (ROOT / "tests").rglob("test_*.py")
    wanting = {str(each.relative_to(ROOT)) for each in files if '"make_serve"' in each.read_text()}
    assert wanting - {str(Path(__file__).relative_to(ROOT))} == set(AT_DOCUMENTED_PORTS)


def test_what_takes_long_comes_first_and_then_the_files_of_most_tests() -> None:
    clients, (ports, more_ports) = BY_PARAMETER[0], AT_DOCUMENTED_PORTS
    tests = ["a.py::x", "b.py::x", "b.py::y", f"{ports}::x", f"{clients}::x[go]", f"{more_ports}::x[go]"]
    tests += [f"{clients}::x[rust]", f"{clients}::y[rust]", f"{clients}::z[rust]", f"{FIRST[0]}::x"]
    assert [tests[at] for at in order(tests)] == [
        f"{FIRST[0]}::x", f"{ports}::x", f"{more_ports}::x[go]",
        f"{clients}::x[rust]", f"{clients}::y[rust]", f"{clients}::z[rust]",
        "b.py::x", "b.py::y", "a.py::x", f"{clients}::x[go]",
    ]  # fmt: skip
    apart = [f"{BY_TEST[0]}::x", f"{BY_TEST[0]}::y[1]"]
    assert [share(each) for each in apart] == apart
    assert order(["a.py::x", "a.py::y", *apart]) == [2, 3, 0, 1]
    assert share(f"{ports}::x") == share(f"{more_ports}::x[go]") == DOCUMENTED_PORTS
    assert share(f"{clients}::x[go]") != share(f"{clients}::x[rust]")
    assert share(f"{FOLDERS[0]}/a.py::x") == share(f"{FOLDERS[0]}/b/c.py::x[1]") == FOLDERS[0]
