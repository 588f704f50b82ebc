"""Makes the corpus: python -m tests.pictures.make

The right colours are those of plain arithmetic where a format is lossless, else those of OpenCV.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.pictures import FILES, INDEX
from tests.pictures.files_of import chunk, exif, png, tiff, with_segments
from tests.pictures.samples import (
    ALPHA,
    DEEP,
    DEEP_RGB,
    GREY,
    HEIGHT,
    INDICES,
    PALETTE,
    RGB,
    RNG,
    SIZE,
    WIDTH,
    Corpus,
    saved,
    three,
)  # fmt: skip


def pngs(corpus: Corpus) -> None:
    for bits in (1, 2, 4):
        values = INDICES % (1 << bits)
        corpus.add(f"grey-{bits}.png", png(values, bits), three(values * (255 // ((1 << bits) - 1))))
        few = PALETTE[: 1 << bits]
        corpus.add(f"palette-{bits}.png", png(values, bits, few.tobytes()), few[values])
    corpus.add("grey-8.png", png(GREY), three(GREY))
    corpus.add("grey-16.png", png(DEEP, 16), three(DEEP >> 8))
    corpus.add("grey-16-interlaced.png", png(DEEP, 16, interlaced=True), three(DEEP >> 8))
    corpus.add("rgb-8.png", png(RGB), RGB)
    corpus.add("rgb-8-interlaced.png", png(RGB, interlaced=True), RGB)
    corpus.add("rgb-16.png", png(DEEP_RGB, 16), (DEEP_RGB >> 8).astype(np.uint8))
    corpus.add("grey-alpha-8.png", png(np.dstack([GREY, ALPHA])), three(GREY))
    corpus.add("grey-alpha-16.png", png(np.dstack([DEEP, DEEP[::-1]]), 16), three(DEEP >> 8))
    corpus.add("rgb-alpha-8.png", png(np.dstack([RGB, ALPHA])), RGB)
    corpus.add("rgb-alpha-16.png", png(np.dstack([DEEP_RGB, DEEP]), 16), (DEEP_RGB >> 8).astype(np.uint8))
    corpus.add("palette-8.png", png(INDICES, 8, PALETTE.tobytes()), PALETTE[INDICES])
    clear = chunk(b"tRNS", bytes(range(256)))
    corpus.add("palette-transparent.png", png(INDICES, 8, PALETTE.tobytes(), before=clear), PALETTE[INDICES])
    one = chunk(b"tRNS", struct.pack(">H", 14))
    corpus.add("grey-transparent.png", png(GREY, before=one), three(GREY))
    long_text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(3 << 20)))
    corpus.add("text-of-3-mb.png", png(RGB, before=long_text), RGB)
    many = b"".join(chunk(b"zTXt", b"t%d\0\0" % n + zlib.compress(bytes(1 << 20))) for n in range(70))
    corpus.add("texts-of-70-mb.png", png(RGB, after=many), RGB)
    profile = chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(2 << 20)))
    corpus.add("profile-of-2-mb.png", png(RGB, before=profile), RGB)
    corpus.add("text-with-bad-checksum.png", png(RGB, before=chunk(b"tEXt", b"a\0b", 7)), RGB)
    corpus.add("time-with-bad-checksum.png", png(RGB, after=chunk(b"tIME", bytes(7), 7)), RGB)
    corpus.add("orientation-6.png", png(RGB, before=chunk(b"eXIf", exif(6))), RGB, orientation=6)
    corpus.add("orientation-behind.png", png(RGB, after=chunk(b"eXIf", exif(8, ">"))), RGB, orientation=8)
    frames = [Image.fromarray(RGB), Image.fromarray(RGB[::-1])]
    corpus.add("animation.png", saved(frames[0], "PNG", save_all=True, append_images=frames[1:]), RGB)
    whole = png(RNG.integers(0, 256, (HEIGHT, WIDTH, 3)))
    corpus.refuse("cut-off.png", whole[: len(whole) // 2], "damaged or cut off")
    head = chunk(b"IHDR", whole[16:29], 7)
    corpus.refuse("bad-checksum.png", whole[:8] + head + whole[33:], "damaged")
    corpus.refuse(
        "nothing-in-it.png",
        png(RGB).replace(struct.pack(">II", *SIZE), bytes(8), 1),
        "there is nothing in it",
    )


def jpegs(corpus: Corpus) -> None:
    corpus.lossy("baseline.jpg", saved(RGB, "JPEG", quality=95, subsampling=0))
    corpus.lossy("half-colours.jpg", saved(RGB, "JPEG", quality=90, subsampling=2))
    corpus.lossy("grey.jpg", saved(GREY, "JPEG", quality=95))
    corpus.lossy("progressive.jpg", saved(RGB, "JPEG", quality=95, progressive=True))
    corpus.lossy("restarts.jpg", saved(RGB, "JPEG", quality=95, restart_marker_blocks=1))
    corpus.lossy("rgb-not-ycc.jpg", saved(RGB, "JPEG", quality=95, keep_rgb=True))
    corpus.lossy("profile.jpg", saved(RGB, "JPEG", quality=95, icc_profile=bytes(100_000)))
    plain = saved(RGB, "JPEG", quality=95, subsampling=0)
    corpus.lossy("comments.jpg", with_segments(plain, *((0xFE, b"x" * 10) for _ in range(300))))
    cmyk = Image.fromarray(RGB).convert("CMYK")
    corpus.lossy("cmyk.jpg", saved(cmyk, "JPEG", quality=95), tolerance=4)
    for number in range(1, 9):
        body = b"Exif\0\0" + exif(number, "<>"[number % 2])
        corpus.lossy(f"orientation-{number}.jpg", with_segments(plain, (0xE1, body)), orientation=number)
    wrong = with_segments(plain, (0xE1, b"Exif\0\0" + exif(9)))
    corpus.lossy("orientation-unknown.jpg", wrong)
    noise = saved(RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), "JPEG", quality=95)
    corpus.refuse("cut-off.jpg", noise[:-200], "damaged or cut off")


def tiffs(corpus: Corpus) -> None:
    def deep(values: NDArray[np.generic], form: str, order: str, **fields: int) -> bytes:
        data = values.astype(order + form).tobytes()
        named = {"format": 339, "photometric": 262, "orientation": 274}
        bits = 8 * np.dtype(form).itemsize
        return tiff(data, SIZE, {258: bits} | {named[name]: value for name, value in fields.items()}, order)

    for order, name in (("<", "little"), (">", "big")):
        corpus.add(f"grey-16-{name}.tif", deep(DEEP, "u2", order), three(DEEP >> 8))
        corpus.add(
            f"grey-16-white-is-zero-{name}.tif",
            deep(DEEP, "u2", order, photometric=0),
            three(255 - (DEEP >> 8)),
        )
        signed = deep(DEEP.view(np.int16), "i2", order, format=2)
        corpus.lossy(f"grey-16-signed-{name}.tif", signed, tolerance=0)
        corpus.add(
            f"grey-8-white-is-zero-{name}.tif", deep(GREY, "u1", order, photometric=0), three(255 - GREY)
        )
        corpus.refuse(
            f"grey-32-{name}.tif", deep(DEEP.astype(np.int32), "i4", order, format=2), "32-bit integers"
        )
        unit = DEEP / np.float32(65535)
        corpus.add(f"float-{name}.tif", deep(unit, "f4", order, format=3), three(np.rint(unit * 255)))
    corpus.refuse(
        "float-to-1000.tif", deep(DEEP / 65.535, "f4", "<", format=3), "from .* to .*0 .black. to 1 .white."
    )
    holes = np.where(DEEP > 30000, np.nan, 0.5)
    corpus.refuse("float-with-holes.tif", deep(holes, "f4", "<", format=3), "not finite")
    corpus.refuse("unsigned-32.tif", deep(DEEP.astype(np.uint32), "u4", "<"), "32-bit integers")
    twelve = DEEP >> 4
    packed = np.packbits((twelve.reshape(-1, 1) >> np.arange(11, -1, -1)) & 1)
    corpus.add("grey-12.tif", tiff(packed.tobytes(), SIZE, {258: 12}), three(twelve >> 4))
    corpus.add("grey-big.tif", tiff(GREY.tobytes(), SIZE, {}, big=True), three(GREY))
    corpus.add(
        "orientation-big.tif", tiff(GREY.tobytes(), SIZE, {274: 5}, big=True), three(GREY), orientation=5
    )
    colour = {258: (8, 8, 8), 262: 2, 277: 3}
    for number in (3, 6):
        turned = tiff(RGB.tobytes(), SIZE, colour | {274: number}, "<>"[number % 2])
        corpus.add(f"orientation-{number}.tif", turned, RGB, orientation=number)
    corpus.add(
        "grey-16-orientation-8.tif", deep(DEEP, "u2", ">", orientation=8), three(DEEP >> 8), orientation=8
    )
    wide = tiff(DEEP_RGB.astype("<u2").tobytes(), SIZE, colour | {258: (16, 16, 16)})
    corpus.add("rgb-16.tif", wide, (DEEP_RGB >> 8).astype(np.uint8))
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        corpus.add(
            f"{compression.removeprefix('tiff_')}.tif", saved(RGB, "TIFF", compression=compression), RGB
        )
    corpus.add(
        "lzw-orientation-7.tif",
        saved(RGB, "TIFF", compression="tiff_lzw", tiffinfo={274: 7}),
        RGB,
        orientation=7,
    )
    corpus.lossy("jpeg.tif", saved(RGB, "TIFF", compression="jpeg"), tolerance=3)
    bits = Image.fromarray(GREY > 128)
    corpus.add("fax.tif", saved(bits, "TIFF", compression="group4"), three((GREY > 128) * 255))
    corpus.add("palette.tif", saved(_palette(), "TIFF"), PALETTE[INDICES])
    corpus.add("rgb-alpha.tif", saved(np.dstack([RGB, ALPHA]), "TIFF"), RGB)
    pages = [Image.fromarray(RGB), Image.fromarray(GREY)]
    corpus.add("pages.tif", saved(pages[0], "TIFF", save_all=True, append_images=pages[1:]), RGB)
    # By Pillow's own rule: ink takes light away, without a profile.
    ink = RNG.integers(0, 256, (HEIGHT, WIDTH, 4)).astype(np.uint8)
    cmyk = tiff(ink.tobytes(), SIZE, {258: (8, 8, 8, 8), 262: 5, 277: 4})
    light = (255 - ink[:, :, :3].astype(int)) * (255 - ink[:, :, 3:].astype(int)) / 255
    corpus.add("cmyk.tif", cmyk, np.rint(light).astype(np.uint8), tolerance=1)
    corpus.refuse("lab.tif", tiff(RGB.tobytes(), SIZE, colour | {262: 8}), "save it as RGB")
    whole = saved(RGB, "TIFF", compression="tiff_lzw")
    corpus.refuse("cut-off.tif", whole[: len(whole) // 3], "damaged")


def netpbms(corpus: Corpus) -> None:
    head = b"P%d\n%d %d\n"
    w, h = SIZE
    bits = (GREY > 128).astype(np.uint8)
    corpus.add("bits.pbm", head % (4, w, h) + np.packbits(bits, axis=1).tobytes(), three(255 - bits * 255))
    text = b"\n".join(b"".join(b"%d" % each for each in row) for row in bits)
    corpus.add("text-without-blanks.pbm", head % (1, w, h) + text, three(255 - bits * 255))
    corpus.add("grey-8.pgm", head % (5, w, h) + b"255\n" + GREY.tobytes(), three(GREY))
    corpus.add("grey-16.pgm", head % (5, w, h) + b"65535\n" + DEEP.astype(">u2").tobytes(), three(DEEP >> 8))
    low, mid = DEEP % 101, DEEP % 4096
    corpus.add(
        "grey-to-100.pgm",
        head % (5, w, h) + b"100\n" + low.astype(np.uint8).tobytes(),
        three((low * 255 + 50) // 100),
    )
    deep = three(((mid.astype(np.uint32) * 65535 + 2047) // 4095) >> 8)
    corpus.add("grey-to-4095.pgm", head % (5, w, h) + b"4095\n" + mid.astype(">u2").tobytes(), deep)
    commented = b"P2 # a comment\n# another\n%d\n%d # one more\n 65535\n" % SIZE
    numbers = b" ".join(b"%d" % each for each in DEEP.ravel()[:-1]) + b"\n# within\n%d" % DEEP[-1, -1]
    corpus.add("text-16.pgm", commented + numbers, three(DEEP >> 8))
    numbers = b"\n".join(b"%d" % each for each in RGB.ravel())
    corpus.add("text.ppm", head % (3, w, h) + b"255\n" + numbers, RGB)
    corpus.add("rgb-8.ppm", head % (6, w, h) + b"255\n" + RGB.tobytes(), RGB)
    corpus.add(
        "rgb-16.ppm",
        head % (6, w, h) + b"65535\n" + DEEP_RGB.astype(">u2").tobytes(),
        (DEEP_RGB >> 8).astype(np.uint8),
    )
    for order, scale in (("<", b"-1.0"), (">", b"1")):
        unit = (DEEP_RGB / 65535).astype(order + "f4")
        right = np.rint(unit * 255).astype(np.uint8)
        name = "little" if order == "<" else "big"
        corpus.add(f"rgb-float-{name}.pfm", b"PF\n%d %d\n%s\n" % (w, h, scale) + unit[::-1].tobytes(), right)
    unit = (DEEP / 65535).astype("<f4")
    corpus.add("grey-float.pfm", b"Pf\n%d %d\n-1\n" % SIZE + unit[::-1].tobytes(), three(np.rint(unit * 255)))
    corpus.refuse(
        "float-to-7.pfm",
        b"Pf\n%d %d\n-1\n" % SIZE + (unit * 7).tobytes(),
        "from 0.* to 6.*0 .black. to 1 .white.",
    )
    corpus.refuse(
        "scale-0.pfm", b"Pf\n%d %d\n0\n" % SIZE + unit.tobytes(), "header of the PPM file is damaged"
    )
    corpus.refuse("cut-off.ppm", head % (6, w, h) + b"255\n" + RGB.tobytes()[:-9], "pixels are missing")
    corpus.refuse("text-cut-off.pgm", head % (2, w, h) + b"255\n1 2 3", "not all written")
    corpus.refuse(
        "comment-of-70-kb.ppm",
        b"P6\n#" + b"x" * 70_000 + b"\n18 12\n255\n" + RGB.tobytes(),
        "longer than 64 KiB",
    )


def others(corpus: Corpus) -> None:
    corpus.add("palette.gif", saved(_palette(), "GIF"), PALETTE[INDICES])
    frames = [_palette(), _palette().transpose(Image.Transpose.ROTATE_180)]
    corpus.add(
        "animation.gif", saved(frames[0], "GIF", save_all=True, append_images=frames[1:]), PALETTE[INDICES]
    )
    corpus.add("transparent.gif", saved(_palette(), "GIF", transparency=3), PALETTE[INDICES])
    corpus.lossy("lossy.webp", saved(RGB, "WEBP", quality=90))
    corpus.add("lossless.webp", saved(RGB, "WEBP", lossless=True), RGB)
    seen = np.dstack([RGB, np.maximum(ALPHA, 1)])
    corpus.add("alpha.webp", saved(seen, "WEBP", lossless=True, exact=True), RGB)
    pair = [Image.fromarray(RGB), Image.fromarray(RGB[::-1])]
    corpus.add(
        "animation.webp", saved(pair[0], "WEBP", lossless=True, save_all=True, append_images=pair[1:]), RGB
    )
    corpus.add("orientation-6.webp", saved(RGB, "WEBP", lossless=True, exif=exif(6)), RGB, orientation=6)
    corpus.add("rgb.bmp", saved(RGB, "BMP"), RGB)
    corpus.add("palette.bmp", saved(_palette(), "BMP"), PALETTE[INDICES])
    corpus.add("run-lengths.bmp", _run_lengths(), PALETTE[INDICES])
    corpus.add("bits.bmp", saved(Image.fromarray(GREY > 128), "BMP"), three((GREY > 128) * 255))
    top_down = bytearray(saved(RGB[::-1], "BMP"))
    top_down[22:26] = struct.pack("<i", -HEIGHT)
    corpus.add("from-the-top.bmp", bytes(top_down), RGB)
    corpus.refuse("nothing.png", b"", "is empty")
    corpus.refuse("page.jpg", b"<!doctype html><title>404</title>", "not a picture in one of the formats")


def _palette() -> Image.Image:
    image = Image.fromarray(INDICES, "L").convert("P")
    image.putdata(INDICES.ravel().tolist())
    image.putpalette(PALETTE.tobytes())
    return image


def _run_lengths() -> bytes:
    """An 8-bit BMP in run lengths, each of one pixel."""
    rows = b"".join(b"".join(b"\1%c" % each for each in row) + b"\0\0" for row in INDICES[::-1]) + b"\0\1"
    table = np.dstack([PALETTE[:, ::-1].reshape(1, 256, 3), np.zeros((1, 256, 1), np.uint8)]).tobytes()
    begin = 14 + 40 + len(table)
    head = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, 8, 1, len(rows), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", begin + len(rows), 0, 0, begin) + head + table + rows


def main() -> None:
    FILES.mkdir(exist_ok=True)
    for old in FILES.iterdir():
        old.unlink()
    corpus = Corpus()
    for make in (pngs, jpegs, tiffs, netpbms, others):
        make(corpus)
    INDEX.write_text(json.dumps([asdict(each) for each in corpus.index], indent=1) + "\n")


if __name__ == "__main__":
    main()
