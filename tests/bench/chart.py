"""The ratios as a picture for the README: one bar a row, on a scale of powers of two, the target marked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from tests.bench.figures import Row
from tests.bench.report import number

WIDTH, LINE, LEFT, RIGHT, TOP, BOTTOM = 1400, 44, 640, 150, 90, 60
INK, FAINT, OURS, SHORT = "#1f2328", "#d8dee4", "#2f7d4f", "#c0762b"


def draw(rows: Sequence[Row], path: Path) -> None:
    """Writes the chart of all rows that were measured."""
    shown = [row for row in rows if row.available and row.ratio > 0]
    height = TOP + LINE * len(shown) + BOTTOM
    picture = Image.new("RGB", (WIDTH, height), "white")
    canvas = ImageDraw.Draw(picture)
    large, small = ImageFont.load_default(26), ImageFont.load_default(17)
    canvas.text((24, 22), "featsvc against the alternatives: ratio, higher is better", INK, large)
    low = math.floor(min(0, *(math.log2(min(row.ratio, row.target)) for row in shown)))
    high = math.ceil(max(1, *(math.log2(max(row.ratio, row.target)) for row in shown)))
    for power in range(low, high + 1):
        x = _across(2.0**power, low, high)
        canvas.line((x, TOP - 8, x, height - BOTTOM), INK if power == 0 else FAINT, 1)
        if power % 2 == 0 or high - low < 6:
            canvas.text((x, height - BOTTOM + 8), f"{number(2.0**power)}x", INK, small, anchor="ma")
    for index, row in enumerate(shown):
        _bar(canvas, row, TOP + index * LINE, (low, high), small)
    picture.save(path, optimize=True)


def _bar(
    canvas: ImageDraw.ImageDraw, row: Row, y: int, scale: tuple[int, int], font: ImageFont.ImageFont
) -> None:
    """One row: its sides by name, a bar from 1, a tick at the target."""
    against = row.sides[1].name if len(row.sides) > 1 else "limit"
    canvas.text((24, y + 4), f"{row.name}", INK, font)
    canvas.text((LEFT - 14, y + 4), f"against {against}", "#57606a", font, anchor="ra")
    x0, x1 = sorted((_across(1.0, *scale), _across(row.ratio, *scale)))
    canvas.rectangle((x0, y + 4, max(x1, x0 + 2), y + 24), OURS if row.reached else SHORT)
    tick = _across(row.target, *scale)
    canvas.line((tick, y, tick, y + 28), INK, 3)
    canvas.text((WIDTH - 24, y + 4), f"{number(row.ratio)}x", INK, font, anchor="ra")


def _across(ratio: float, low: int, high: int) -> float:
    """The place of a ratio on the scale."""
    part = (math.log2(ratio) - low) / (high - low)
    return LEFT + part * (WIDTH - LEFT - RIGHT)
