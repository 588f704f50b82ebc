"""What a setting needs: one attribute with its range and docstring, here of settings that nobody has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from featsvc.server.commands.cli import main
from featsvc.server.commands.shim import shim_flags
from featsvc.settings.calls import Rest
from featsvc.settings.computing import Limits
from featsvc.settings.kinds import Count, Size
from featsvc.settings.sources import part
from featsvc.settings.tree import Settings, ShimSettings
from featsvc.work.options import EngineOptions
from rest_shim.processes.settings import RunnerSettings as OfShim
from rest_shim.processes.settings import parsed


@dataclass(frozen=True, kw_only=True)
class WiderRest(Rest):
    """REST ports."""

    tea_cups: Count = 3
    """Cups that are poured; 100% of them are drunk."""
    sugar: bool = True
    """Whether there is sugar."""


@dataclass(frozen=True, kw_only=True)
class WiderLimits(Limits):
    """Pictures and answers."""

    max_cake: Size = 2048
    """Most bytes of cake."""


@dataclass(frozen=True, kw_only=True)
class Wider(Settings, WiderRest, WiderLimits):
    """All settings, and those."""


class WiderShim(ShimSettings, WiderRest):
    """What the gateway tells its shim."""


@dataclass(frozen=True, kw_only=True)
class WiderRunner(OfShim, WiderRest):
    """Those of a runner, and those of REST."""


@dataclass(frozen=True, kw_only=True)
class WiderOptions(EngineOptions, WiderLimits):
    """Those of engines, and those of limits."""


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FEATSVC_CONFIG", "FEATSVC_TEA_CUPS", "FEATSVC_SUGAR", "FEATSVC_MAX_CAKE"):
        monkeypatch.delenv(name, raising=False)


def config(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, str]:
    """What `featsvc config` says of each setting."""
    assert main(["config", *words], Wider) == 0
    lines = (line.split(" = ", 1) for line in capsys.readouterr().out.splitlines())
    return {name: " ".join(text.split()) for name, text in lines}


def test_it_comes_from_a_flag_a_variable_a_file_or_its_default(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert config(capsys)["tea_cups"] == "3 # default"
    file = tmp_path / "featsvc.toml"
    file.write_text('tea-cups = 4\nsugar = false\nmax_cake = "1MiB"\n')
    told = config(capsys, f"--config={file}")
    assert told["tea_cups"] == f"4 # file {file}"
    assert told["sugar"] == f"False # file {file}"
    assert told["max_cake"] == f"1MiB # file {file}"
    monkeypatch.setenv("FEATSVC_TEA_CUPS", "5")
    assert config(capsys, f"--config={file}")["tea_cups"] == "5 # environment FEATSVC_TEA_CUPS"
    told = config(capsys, f"--config={file}", "--tea-cups=6", "--sugar", "--max-cake=1GiB")
    assert told["tea_cups"] == "6 # flag --tea-cups"
    assert told["sugar"] == "True # flag --sugar"
    assert told["max_cake"] == "1GiB # flag --max-cake"
    assert config(capsys, "--no-sugar")["sugar"] == "False # flag --sugar"


def test_its_range_is_kept_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--tea-cups=0"], Wider) == 2
    assert "flag --tea-cups: tea_cups: '0' must be at least 1" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["up", "config"])
def test_the_help_has_it_in_its_group(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"], Wider)
    text = " ".join(capsys.readouterr().out.partition("\nREST ports:\n")[2].split())
    assert "--tea-cups N Cups that are poured; 100% of them are drunk. [3]" in text
    assert "--sugar, --no-sugar Whether there is sugar." in text


def test_the_shim_of_a_gateway_is_told_and_a_runner_takes_it() -> None:
    told = shim_flags(Wider(tea_cups=7, sugar=False), WiderShim)
    assert {"--tea-cups=7", "--no-sugar"} < set(told)
    told.append("--grpc-target=127.0.0.1:1")
    assert parsed(told, ["page", "clip", "dino", "sam2"], WiderRunner).settings == WiderRunner(
        tea_cups=7, sugar=False, grpc_target="127.0.0.1:1"
    )


def test_engines_have_what_is_a_limit() -> None:
    assert part(Wider(max_cake=7), WiderOptions) == WiderOptions(max_cake=7, threads=0)
