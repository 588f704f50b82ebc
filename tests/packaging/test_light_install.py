"""Without the server's packages there are the contract and the client, and the commands say what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.packaging.environments import Environment, environment
from tests.servers import ROOT


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """What `pip install . ./clients/python` brings, with the sources of this tree."""
    made = environment(tmp_path_factory.mktemp("light") / "venv", "featsvc-client")
    sources = [ROOT, ROOT / "clients" / "python"]
    (made.packages / "sources.pth").write_text("".join(f"{folder}\n" for folder in sources))
    return made


@pytest.mark.parametrize("module", ["torch", "uvloop", "fastapi", "tqdm", "yaml"])
def test_it_has_none_of_the_servers_packages(light: Environment, module: str) -> None:
    assert light.ask(f"from importlib.util import find_spec; print(find_spec({module!r}))").strip() == "None"


def test_contract_and_client_are_imported(light: Environment) -> None:
    modules = [f"featsvc.v1.{each.stem}" for each in Path(ROOT, "featsvc", "v1").glob("*.py")]
    modules += ["featsvc", "featsvc.twin", "featsvc_client", "featsvc_client.aio", "featsvc_client.rest"]
    assert light.ask(f"import {', '.join(modules)}; print('all')").strip() == "all"


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_of_the_server_says_what_to_install(light: Environment, flag: str) -> None:
    ended = light.run(str(light.python), "-m", "featsvc", flag)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "usage: featsvc" in ended.stdout
    assert "make setup" in ended.stdout


@pytest.mark.parametrize("command", ["up", "serve", "config", "models list", "demo", "verify localhost:1"])
def test_a_command_that_needs_the_server_ends_with_what_to_install(light: Environment, command: str) -> None:
    ended = light.run(str(light.python), "-m", "featsvc", *command.split())
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "is not installed, which the server needs; at the top of a clone run `make setup`" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("words", [["--help"], ["extract", "--help"]], ids=" ".join)
def test_the_clients_command_says_what_to_install(light: Environment, words: list[str]) -> None:
    ended = light.run(str(light.python), "-m", "featsvc_client.bulk", *words)
    assert ended.returncode == 2
    assert "pip install './clients/python[bulk]' at the top of a clone" in ended.stderr
    assert "Traceback" not in ended.stderr
