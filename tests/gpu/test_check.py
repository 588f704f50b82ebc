"""The check of a GPU, tried without one: it runs through, and tells what is wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from pycocotools import mask as coco

from featsvc.engines import registry
from featsvc.engines.dino import dense_pass as dino
from featsvc.engines.dino.features import descriptors as right
from featsvc.engines.geometry.resizing import Resizing
from featsvc.engines.networks import graphs
from featsvc.engines.networks.graphs import Graph, Graphed
from featsvc.engines.running.family import Loaded
from featsvc.pool.contract.protocol import Pool
from tests.engines import models
from tests.engines.pretended.cases import CASES
from tests.engines.pretended.faults import Fault
from tests.engines.pretended.numbers import BOUNDS as PRETENDED_BOUNDS
from tests.gpu import check, facts
from tests.gpu.answers import BOUNDS, answered, compared, one_of_each
from tests.gpu.check import DRY_FOLDER, FOLDER, REPORT, SECTIONS, Outcome, Section, checked, report
from tests.gpu.memory import memory, oom
from tests.gpu.pictures import pictures
from tests.gpu.rows import Row
from tests.gpu.served import Trial
from tests.gpu.speed import launches, nearest, replayed
from tests.gpu.stand import Stand
from tests.servers import ROOT

BROKEN = "tests.gpu.broken"
LIMIT_S, HANGING_LIMIT_S = 60.0, 2.0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_trial_without_a_gpu_passes_all_sections(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "tests.gpu.check", "--dry", "--folder", str(tmp_path)]
    asked = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert asked.returncode == 0, asked.stdout
    told = json.loads((tmp_path / REPORT).read_text())["sections"]
    assert [each["section"] for each in told] == list(SECTIONS)
    assert all(each["rows"] for each in told)


FAULT = Fault("sam2/embedding.py", ".div_(LARGEST_BYTE)", "")
"""Only a GPU is given the bytes of a picture, and then answers otherwise; nothing is raised."""
WITH_FAULT = f"""
import sys
from tests.engines.pretended.faults import Fault
from tests.engines.pretended.faulty import Finder
sys.meta_path.insert(0, Finder({FAULT}))
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_trial_of_engines_with_a_fault_fails_and_names_the_sections(tmp_path: Path) -> None:
    # Python runs it at the start of each process, of sections and of their servers.
    (tmp_path / "sitecustomize.py").write_text(WITH_FAULT)
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    names = ("answers", "pictures", "masks")
    words = [sys.executable, "-m", "tests.gpu.check", "--dry", "--folder", str(tmp_path), "--only", *names]
    env = {**os.environ, "PYTHONPATH": paths}
    asked = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert asked.returncode == 1, asked.stdout
    assert "0 of 3 sections passed ; failed: answers pictures masks" in asked.stdout
    assert "the section itself" not in asked.stdout


def test_a_quarter_of_an_hour_is_enough_for_all_sections() -> None:
    assert sum(each.limit_s for each in SECTIONS.values()) <= 15 * 60


def test_each_half_that_the_documentation_names_fits_ten_minutes() -> None:
    lines = re.findall(r'ARGS="--only ([a-z ]+)"  # one half', (ROOT / "docs" / "gpu.md").read_text())
    halves = [line.split() for line in lines]
    assert len(halves) == 2
    assert {name for half in halves for name in half} == set(SECTIONS)
    for half in halves:
        assert sum(SECTIONS[name].limit_s for name in half) <= 10 * 60
        assert half[0] == "weights", "whichever section came first would make them, within its own limit"


@pytest.mark.parametrize(("words", "folder"), [([], FOLDER), (["--dry"], DRY_FOLDER)])
def test_a_trial_leaves_alone_what_a_real_check_found(
    monkeypatch: pytest.MonkeyPatch, words: list[str], folder: Path
) -> None:
    folders: list[Path] = []

    def checked(*arguments: Any) -> list[Outcome]:
        folders.append(arguments[-1])
        return []

    def report(outcomes: object, path: Path, dry: bool) -> int:
        folders.append(path.parent)
        return 0

    monkeypatch.setattr(check, "checked", checked)
    monkeypatch.setattr(check, "report", report)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["check", *words])
    assert check.main() == 0
    assert folders == [folder, folder]
    assert FOLDER != DRY_FOLDER


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Of sections that go wrong, each in another way, and of one at the end that does not."""
    names = ("wrong", "raising", "dying", "hanging", "empty", "right")
    sections = {
        name: Section(f"{BROKEN}:{name}", HANGING_LIMIT_S if name == "hanging" else LIMIT_S) for name in names
    }
    folder = tmp_path_factory.mktemp("check")
    return {each.section: each for each in checked(sections, dry=False, within_s=600, folder=folder)}


def test_a_section_that_goes_wrong_is_told_and_ends_no_other(
    outcomes: dict[str, Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    assert [name for name, each in outcomes.items() if not each.failed] == ["right"]
    for name, each in outcomes.items():
        assert name == "empty" or each.rows[0].holds, f"what {name} found before is lost"
    assert report(outcomes.values(), None, dry=False) == 1
    shown = capsys.readouterr().out
    for said in ("a section that breaks", "ended with -9", "not done within 2 s", "found nothing"):
        assert said in shown
    assert "1 of 6 sections passed" in shown


def test_sections_for_which_no_time_is_left_are_told(tmp_path: Path) -> None:
    (outcome,) = checked({"right": Section(f"{BROKEN}:right", LIMIT_S)}, False, 0.0, tmp_path)
    assert outcome.failed
    assert outcome.rows[0].figures["why"] == "no time was left"


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    """A pretended GPU."""
    return Stand(tmp_path, dry=True)


@pytest.mark.parametrize("off", [0.0, 0.01])
def test_answers_tell_what_the_gpu_computes_otherwise(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, off: float
) -> None:
    cases = {name: case for name, case in one_of_each().items() if case.family == "dino"}
    here = answered(models.engines(), cases)

    def descriptors(*arguments: Any) -> torch.Tensor:
        made = right(*arguments)
        return made + off * made.abs().max()

    monkeypatch.setattr(dino, "descriptors", descriptors)
    with stand.at_work():
        there = answered(stand.engines(precision="fp32"), cases)
    assert compared("fp32", cases, here, there).holds is not bool(off)


def test_answers_tell_what_fails_on_the_gpu(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = {name: case for name, case in one_of_each().items() if case.family == "dino"}
    here = answered(models.engines(), cases)

    def fail(*arguments: object) -> torch.Tensor:
        raise RuntimeError("no kernel image")

    monkeypatch.setattr(dino, "descriptors", fail)
    row = compared("fp32", cases, here, answered(models.engines(), cases))
    assert row.holds is False
    assert "no kernel image" in row.figures["wrong"][0]


def test_cases_that_hold_on_a_pretended_gpu_hold_by_the_bounds_of_a_real_one() -> None:
    # pretended/test_answers.py asks all of them in each of these.
    assert all(BOUNDS[each] >= largest for each, largest in PRETENDED_BOUNDS.items())


def test_answers_allow_for_no_other_objects_than_those_of_prompts() -> None:
    one, two = {"vectors 0": np.ones((1, 4))}, {"vectors 0": np.ones((2, 4))}
    name = "object max of maps"
    assert not compared("bf16", {name: CASES[name]}, {name: [one]}, {name: [two]}).holds


def test_answers_allow_for_what_features_are_rounded_to() -> None:
    near, far = ({"features": np.array([1, part], np.float32)} for part in (0.5, 0.506))
    whole, rounded = ("clip tiles on a grid float32", "clip tiles on a grid int8")
    for name, holds in ((whole, False), (rounded, True)):
        assert compared("fp32", {name: CASES[name]}, {name: [near]}, {name: [far]}).holds is holds


@pytest.mark.parametrize("off", [0, 1])
def test_pictures_tell_of_one_byte_that_the_gpu_makes_otherwise(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, off: int
) -> None:
    right = Resizing.__call__

    def resized(self: Resizing, pixels: torch.Tensor) -> torch.Tensor:
        made = right(self, pixels)
        made[0, 0, 0] += off
        return made

    monkeypatch.setattr(Resizing, "__call__", resized)
    found = {row.what: row.holds for row in pictures(stand)}
    assert [holds for what, holds in found.items() if "square" not in what] == [not off] * 3
    assert [holds for what, holds in found.items() if "square" in what] == [True] * 3


@pytest.mark.parametrize("off", [0.0, 0.1])
def test_launches_tell_of_a_graph_that_answers_otherwise(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, off: float
) -> None:
    right = Graph.__call__
    monkeypatch.setattr(graphs, "_are_near", lambda *_: True)
    monkeypatch.setattr(
        Graph, "__call__", lambda self, *inputs: tuple((1 + off) * each for each in right(self, *inputs))
    )
    found = {row.what: row.holds for row in launches(stand)}
    assert [holds for what, holds in found.items() if "captured" in what] == [not off] * 2


def test_launches_tell_of_a_pass_that_is_not_captured(stand: Stand) -> None:
    never = Graphed(lambda given: (given,), "some pass")
    assert replayed(stand, "some pass", never, (torch.ones(1, 1),)).holds is False
    assert replayed(stand, "some pass", None, (torch.ones(1, 1),)).holds is False


@pytest.mark.parametrize("keeps", [False, True])
def test_memory_tells_of_a_model_that_stays(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, keeps: bool
) -> None:
    kept: list[Loaded] = []
    load = registry.Engines.load

    def loading(self: registry.Engines, model: str) -> Loaded:
        loaded = load(self, model)
        if keeps:
            kept.append(loaded)
        return loaded

    monkeypatch.setattr(registry.Engines, "load", loading)
    *_, first = islice(memory(stand), 3)
    assert first.what == stand.models["clip"]
    assert first.holds is not keeps


@pytest.mark.parametrize("told", [True, False])
def test_oom_tells_of_a_lack_of_memory_that_is_not_told_as_one(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    if not told:

        def as_it_is(message: str) -> AbstractContextManager[None]:
            return nullcontext()

        monkeypatch.setattr(registry, "out_of_memory_as", as_it_is)
    before, lacking = islice(oom(stand), 2)
    assert before.holds
    assert lacking.holds is told


@pytest.mark.parametrize("ours", [1, 2])
def test_facts_tell_of_gpus_that_are_counted_otherwise(monkeypatch: pytest.MonkeyPatch, ours: int) -> None:
    monkeypatch.setattr(facts, "COUNT", f"print('[{ours}, 1]')")
    assert facts.visible("0").holds is (ours == 1)


@pytest.mark.parametrize(
    ("said", "restarts"), [("killed-workers", 2), ("killed-workers", 10), ("INTERNAL", 2)]
)
async def test_faults_tell_of_workers_that_die_for_nothing(said: str, restarts: int) -> None:
    status = SimpleNamespace(workers=[SimpleNamespace(restarts=restarts)])
    rows: list[Row] = []

    async def asked(width: int) -> str:
        return said

    trial = Trial(cast(Pool, SimpleNamespace(status=lambda: status)), asked, rows)
    await trial.ask("a picture that breaks the device", 57, "killed-workers", 2, 60)
    assert rows[0].holds is (said == "killed-workers" and restarts == 2)


def test_masks_are_near_where_they_are_the_same_and_not_where_others_are() -> None:
    def mask(first: int) -> dict[str, object]:
        pixels = np.zeros((8, 8), np.uint8, order="F")
        pixels[:, first : first + 4] = 1
        encoded: dict[str, object] = coco.encode(pixels)
        return encoded

    assert nearest([mask(0), mask(4)], [mask(4), mask(0)]) == 1
    assert nearest([mask(0)], [mask(4)]) == 0
    assert nearest([], [mask(4)]) == 0
