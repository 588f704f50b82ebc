"""What is foretold, against what then happens; and what is shown meanwhile."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from featsvc_client.bulk import cli
from featsvc_client.bulk.estimate import Estimate, readable
from featsvc_client.bulk.progress import Progress

from tests.client.bulk.service import COMMAND, answer, asked, photos, results, run
from tests.client.gateway import answering

UNITS = {"B": 1, "kB": 1e3, "MB": 1e6}


@pytest.mark.parametrize("form", ["npy", "npz", "safetensors"])
def test_a_dry_run_foretells_what_is_then_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    pictures, out = photos(tmp_path / "photos", 30), tmp_path / "out"
    words = (pictures, "--out", out, "--format", form, "--preview")
    with answering(answer) as script:
        assert run(script, *words, "--dry-run") == 0
        said = capsys.readouterr().out
        assert not out.exists()
        assert sum(asked(script).values()) == 3
        assert run(script, *words) == 0
        written = sum(map(len, results(out).values()))
        assert run(script, *words, "--dry-run") == 0
    assert "30 pictures: 30 to do, 0 done before" in said
    amount, unit = re.search(r"about ([\d.]+) ?(k?M?B) will be written", said).groups()  # type: ignore[union-attr]
    assert float(amount) * UNITS[unit] == pytest.approx(written, rel=0.2)
    assert "estimated from 3 of the pictures" in said
    assert "0 to do, 30 done before" in capsys.readouterr().out


def test_a_dry_run_that_can_ask_about_nothing_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.png").write_bytes(b"bad")
    with answering(answer) as script:
        assert run(script, tmp_path, "--out", tmp_path / "out", "--dry-run") == 0
    assert "not known" in capsys.readouterr().out


def test_the_estimate_is_for_what_is_left() -> None:
    said = "\n".join(Estimate(100, 40, 3, 2000.0, 0.5).lines())
    assert "60 to do" in said
    assert f"about {readable(120_000)}" in said
    assert "00:30" in said


def test_without_a_terminal_there_are_lines_and_no_bar(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = photos(tmp_path / "photos", 4)
    (pictures / "0009.png").write_bytes(b"bad")
    with answering(answer) as script:
        words = [*COMMAND, str(pictures), "--out", str(tmp_path / "out"), "--target", script.target]
        assert cli.main(words) == 1
    said = capsys.readouterr().err
    assert "\r" not in said
    assert "failed: photos/0009.png: image: is damaged" in said
    assert re.search(r"^5 (of 5 )?pictures, 1 failed, [\d.]+/s", said, re.MULTILINE)
    assert "--retry-failed" in said


def test_on_a_terminal_there_is_a_bar_with_rate_failures_and_time_left() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    progress = Progress(stream=terminal)
    progress.expect(4)
    progress.skip()
    progress.done(10)
    progress.fail("c.png", "damaged")
    progress.close()
    shown = terminal.getvalue()
    assert "3/4" in shown
    assert "1 failed" in shown
    assert "failed: c.png: damaged" in shown
    assert "picture/s" in shown or "s/picture" in shown
    assert progress.tally.written == 10
