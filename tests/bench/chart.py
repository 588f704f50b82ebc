"""The ratios as a picture for the README: one bar a row, on a scale of powers of two, the target marked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from tests.bench.figures import Row
from tests.bench.report import number

WIDTH, LINE, LEFT, RIGHT, TOP, BOTTOM = 1400, 36, 720, 120, 90, 60
INK, FAINT, OURS, SHORT = "#1f2328", "#d8dee4", "#2f7d4f", "#c0762b"


# What a row is about, and what it is held against, in words for people who do not run it.
WORDS = {
    "clip_dense_vs_bare": ("CLIP patch features, pictures a second", "the network alone"),
    "added_latency_text": ("Time added to a text's network", "the limit of 3 ms"),
    "added_latency_embed": ("Time added to a picture's network", "the limit of 3 ms"),
    "texts_vs_bare": ("CLIP texts a second", "the network alone"),
    "texts_vs_plain_fp32": ("CLIP texts a second", "plain FastAPI server"),
    "texts_vs_plain_bf16": ("CLIP texts a second, bfloat16", "plain FastAPI server"),
    "bf16_clip_speed": ("CLIP patch features, bfloat16", "the network alone, float32"),
    "bf16_clip_cosine": ("CLIP in bfloat16: likeness of answers", "float32"),
    "bf16_dino_speed": ("DINOv2 patch features, bfloat16", "the network alone, float32"),
    "bf16_dino_cosine": ("DINOv2 in bfloat16: likeness of answers", "float32"),
    "bf16_sam2_speed": ("SAM2 first click, bfloat16", "featsvc in float32"),
    "bf16_sam2_cosine": ("SAM2 in bfloat16: likeness of answers", "float32"),
    "click_vs_bare": ("Second click on a photograph", "decoder and upsampling alone"),
    "click_vs_plain": ("Second click on a photograph", "plain FastAPI server"),
    "auto_masks_exact": ("Masks of everything, the same bits", "sam2's own generator"),
    "auto_masks_memory": ("Memory of masks of everything", "the limit of 1 GiB"),
    "auto_masks_bounded": ("Masks of everything, bfloat16", "sam2's own generator"),
    "langsplat": ("Objects as LangSplat has them, processor time", "sam2 and open_clip as it calls them"),
    "langsplat_bf16": ("The same in bfloat16", "sam2 and open_clip in float32"),
    "mask_bytes_bits": ("Size of masks as bits", "masks as float32"),
    "mask_bytes_coco_rle": ("Size of masks as run lengths", "masks as float32"),
    "large_chunked": ("64 MiB of features in pieces, gRPC", "base64 JSON of FastAPI"),
    "large_octets": ("64 MiB of features as bytes, REST", "base64 JSON of FastAPI"),
    "large_unary": ("64 MiB of features in one message", "base64 JSON of FastAPI"),
    "beside_chunked_p99": ("Slowest small calls beside 64 MiB in pieces", "the limit of 25 ms"),
    "beside_chunked_step": ("Longest hold beside 64 MiB in pieces", "the limit of 5 ms"),
    "beside_unary_p99": ("Slowest small calls beside 64 MiB messages", "the limit of 25 ms"),
    "beside_unary_step": ("Longest hold beside 64 MiB messages", "the limit of 5 ms"),
    "small_call": ("Small calls a second", "an echo of grpc.aio"),
    "memory_gateway": ("Memory of the gateway after 2,000 requests", "after 500"),
    "memory_worker": ("Memory of a worker after 2,000 requests", "after 500"),
    "memory_sizes": ("Memory of a worker at rest after 300 sizes of pictures", "after 100"),
    "text_vs_ray": ("CLIP texts a second", "Ray Serve"),
    "embed_vs_ray": ("CLIP pictures a second", "Ray Serve"),
    "text_vs_litserve": ("CLIP texts a second", "LitServe"),
    "embed_vs_litserve": ("CLIP pictures a second", "LitServe"),
    "text_vs_litserve_batches": ("CLIP texts a second", "LitServe, batches of 16"),
    "embed_vs_litserve_batches": ("CLIP pictures a second", "LitServe, batches of 16"),
}


def draw(rows: Sequence[Row], path: Path) -> None:
    """Writes the chart of all rows that were measured."""
    shown = [row for row in rows if row.available and row.ratio > 0]
    height = TOP + LINE * len(shown) + BOTTOM
    picture = Image.new("RGB", (WIDTH, height), "white")
    canvas = ImageDraw.Draw(picture)
    large, small = ImageFont.load_default(26), ImageFont.load_default(17)
    canvas.text((24, 22), "featsvc against the alternatives: how many times better", INK, large)
    legend(canvas, small)
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


def legend(canvas: ImageDraw.ImageDraw, font: ImageFont.ImageFont) -> None:
    """Says what colours and ticks mean, at the right of the title."""
    x = WIDTH - 24
    for words, colour, width in (
        ("target", INK, 3),
        ("short of its target", SHORT, 24),
        ("better than its target", OURS, 24),
    ):
        x -= round(font.getlength(words))
        canvas.text((x, 30), words, INK, font)
        canvas.rectangle((x - 8 - width, 28, x - 8, 50), colour)
        x -= 8 + width + 28


def _bar(
    canvas: ImageDraw.ImageDraw, row: Row, y: int, scale: tuple[int, int], font: ImageFont.ImageFont
) -> None:
    """One row: its sides by name, a bar from 1, a tick at the target."""
    name, against = WORDS.get(row.name, (row.name, row.sides[1].name if len(row.sides) > 1 else "the limit"))
    canvas.text((24, y + 4), name, INK, font)
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
