"""What `featsvc keys new` says of a file that it cannot add to."""

from __future__ import annotations

from pathlib import Path

import pytest

from featsvc.server.commands.cli import main


@pytest.mark.parametrize("text", ['[keys]\nalice = "secret"\n', "[[keys]]\n"])
@pytest.mark.parametrize("words", [[], ["--certificate=camera-7"]])
def test_a_file_with_other_values_than_tables_stays_as_it_is(
    text: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(text)
    assert main(["keys", "new", "camera-7", f"--api-key-file={path}", *words]) == 2
    told = capsys.readouterr().err
    assert f"api_key_file: {path} has other values than tables [keys.NAME]" in told
    assert "secret" not in told
    assert path.read_text() == text
