"""Runs the cases over engines that have a fault, each time in a child of a process that has torch already.

`python -m tests.engines.pretended.faulty` reads numbers of faults, -1 for none, and answers with pytest's exit code
and ANSWERED.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from tests.engines.pretended.faults import FAULTS, Fault

HERE = Path(__file__).parent
FILES = ("test_waits.py", "test_devices.py", "test_answers.py")
"""The quickest first."""
ANSWERED = 10
"""Added to pytest's exit codes: a process that ends for another reason has none of these."""
HEAVY = (
    "cv2",
    "hydra",
    "open_clip",
    "pydantic",
    "pytest",
    "sam2.build_sam",
    "scipy.sparse.linalg",
    "timm",
    "torch",
    # Of featsvc what knows no engine, and has none of the faults.
    "featsvc.catalog",
    "featsvc.work.operations",
)
PLUGINS = ("no:cacheprovider", "no:unraisableexception", "pytest_asyncio.plugin", "pytest_timeout")
"""Those that the tests' settings name; what other packages bring takes longer to import than most faults to notice."""


class Faulty(SourceFileLoader):
    """Loads a module with a fault."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.module, fault.file)
        self._fault = fault

    def get_code(self, fullname: str) -> CodeType:
        """Of the source that nobody has compiled before."""
        code: CodeType = self.source_to_code(self._fault.made().encode(), self.path)
        return code


class Finder(MetaPathFinder):
    """Finds that module before Python does."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module, if it is the one."""
        if fullname != self._fault.module:
            return None
        found = PathFinder.find_spec(fullname, path, target)
        assert found is not None
        return importlib.util.spec_from_file_location(
            fullname, found.origin, loader=Faulty(self._fault), submodule_search_locations=None
        )


def asked(number: int) -> int:
    """pytest's exit code where the engines have this fault."""
    import pytest

    # What is imported here already has no assertions of tests in it.
    known = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"
    plugins = [word for each in PLUGINS for word in ("-p", each)]
    arguments = ["-x", *plugins, "-W", known, *(str(HERE / each) for each in FILES)]
    # What shows in fp16 shows in bf16 as well.
    cases = "not fp16"
    if number >= 0:
        sys.meta_path.insert(0, Finder(FAULTS[number]))
        cases = f"{FAULTS[number].cases} and {cases}".removeprefix(" and ")
    return int(pytest.main([*arguments, "-k", cases]))


def main() -> None:
    """A line for a line."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    for each in (*HEAVY, *(each for each in PLUGINS if not each.startswith("no:"))):
        importlib.import_module(each)
    gc.freeze()  # or each child would look through all of it
    for line in sys.stdin:
        child = os.fork()
        if not child:
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
            os._exit(ANSWERED + asked(int(line)))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
