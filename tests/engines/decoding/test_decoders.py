"""Decoding that takes long is refused by the header, or ends in a process that is killed; other pictures go on."""

from __future__ import annotations

import errno
import io
import os
import signal
import struct
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from featsvc.engines.decoding import processes
from featsvc.engines.decoding import reading as reading_module
from featsvc.engines.decoding.pictures import decoded, limits_of, may_take_long
from featsvc.engines.decoding.processes import Decoders
from featsvc.engines.dino.model import DinoModel
from featsvc.engines.running.steps import stepping
from featsvc.errors import Abandoned, InvalidFields, OutOfMemory, Unavailable
from featsvc.v1.schema import DinoExtractFeaturesParams, Orientation
from featsvc.work.item import PictureItem
from featsvc.work.operations import EXTRACT_DINO
from featsvc.work.options import EngineOptions
from tests.engines import models
from tests.pictures import OddPicture, corpus
from tests.pictures.files_of import run_lengths, with_scans, with_segments

OPTIONS = EngineOptions()
CORPUS = corpus()
SMALL = next(each for each in CORPUS if each.name == "palette.gif")
SLOW = (
    "palette.gif",
    "animation.gif",
    "run-lengths.bmp",
    "grey-16-signed-big.tif",
    "text.ppm",
    "animation.webp",
)


def reading(**changes: float) -> EngineOptions:
    options = replace(OPTIONS, **changes)
    return replace(options, reader=Decoders(limits_of(options), options.decode_timeout))


@pytest.fixture(scope="module")
def options() -> EngineOptions:
    """Of a worker, with decoders."""
    return reading()


def photo(width: int, height: int, file_format: str, **how: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(file, file_format, **how)
    return file.getvalue()


@pytest.mark.parametrize("odd", [each for each in CORPUS if each.name in SLOW], ids=lambda odd: odd.name)
def test_what_no_header_judges_is_decoded_elsewhere_and_the_same(
    odd: OddPicture, options: EngineOptions
) -> None:
    assert may_take_long([PictureItem(odd.content)], options)
    np.testing.assert_array_equal(np.asarray(decoded(PictureItem(odd.content), options).pixels), odd.right)


@pytest.mark.parametrize(
    "odd", [each for each in CORPUS if "orientation" in each.name and each.name.endswith("tif")]
)
def test_a_decoder_turns_and_tells_the_orientation(odd: OddPicture, options: EngineOptions) -> None:
    item = PictureItem(odd.content, orientation=Orientation.SHOWN)
    there, here = decoded(item, options), decoded(item, OPTIONS)
    assert there.orientation == here.orientation == odd.orientation
    np.testing.assert_array_equal(np.asarray(there.pixels), np.asarray(here.pixels))


@pytest.mark.parametrize("name", ["float-to-1000.tif", "lab.tif", "cut-off.tif", "text-cut-off.pgm"])
def test_a_decoder_tells_what_is_wrong_with_a_file(name: str, options: EngineOptions) -> None:
    odd = next(each for each in CORPUS if each.name == name)
    with pytest.raises(InvalidFields, match=odd.refused):
        decoded(PictureItem(odd.content), options)


def test_pictures_of_cameras_and_browsers_are_decoded_at_once() -> None:
    for content in (
        photo(4000, 3000, "JPEG"),
        photo(4000, 3000, "JPEG", progressive=True),
        photo(4000, 3000, "PNG", compress_level=1),
        photo(2000, 1500, "WEBP"),
        photo(1920, 1080, "BMP"),
    ):
        assert not may_take_long([PictureItem(content)], OPTIONS)


def test_a_small_jpeg_of_500_scans_is_refused_by_its_header() -> None:
    content = with_scans(photo(7000, 7000, "JPEG", progressive=True, quality=1), 500)
    began = time.process_time()
    with pytest.raises(InvalidFields, match=r"7000 x 7000 pixels in 5\d\d scans takes about \d+ s"):
        decoded(PictureItem(content), OPTIONS)
    assert time.process_time() - began < 1


def test_scans_of_a_thumbnail_do_not_refuse_its_photograph() -> None:
    thumbnail = photo(160, 120, "JPEG", progressive=True)
    content = with_segments(photo(640, 480, "JPEG"), (0xE1, b"Exif\0\0" + thumbnail))
    assert decoded(PictureItem(content), OPTIONS).pixels.size == (640, 480)


def test_decoding_ends_at_its_time_and_the_next_picture_is_decoded() -> None:
    content = run_lengths(3500, 3500)
    options = reading(decode_timeout=0.2)
    with pytest.raises(InvalidFields, match=r"longer than 0.2 s \(--decode-timeout\)"):
        decoded(PictureItem(content), options)
    patient = reading(decode_timeout=60.0)
    np.testing.assert_array_equal(
        np.asarray(decoded(PictureItem(SMALL.content), patient).pixels), SMALL.right
    )


def stopped_decoder(options: EngineOptions) -> int:
    """The process of the one decoder of these options; it goes on where somebody tells it to."""
    assert isinstance(options.reader, Decoders)
    decoded(PictureItem(SMALL.content), options)
    (decoder,) = options.reader._idle
    os.kill(decoder._process.pid, signal.SIGSTOP)
    return decoder._process.pid


def test_a_decoder_that_gets_no_processor_is_left_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PATIENCE", 1e6)
    options = reading(decode_timeout=0.5)
    pid, began = stopped_decoder(options), time.monotonic()

    def wanted() -> bool:
        if time.monotonic() - began > 1:
            os.kill(pid, signal.SIGCONT)
        return True

    with stepping(wanted):
        picture = decoded(PictureItem(SMALL.content), options).pixels
    np.testing.assert_array_equal(np.asarray(picture), SMALL.right)
    assert time.monotonic() - began > 1


def test_a_decoder_that_never_gets_any_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PATIENCE", 2)
    options = reading(decode_timeout=0.2)
    stopped_decoder(options)
    with pytest.raises(InvalidFields, match="--decode-timeout"):
        decoded(PictureItem(SMALL.content), options)


def test_decoding_ends_when_its_caller_leaves(demo_dino: DinoModel) -> None:
    engines = models.engines()
    pid, looks = stopped_decoder(engines.options), iter((True, True))
    params = DinoExtractFeaturesParams()
    with pytest.raises(Abandoned):
        engines.prepare(
            EXTRACT_DINO.rpc, PictureItem(SMALL.content), params, demo_dino, lambda: next(looks, False)
        )
    assert not os.path.exists(f"/proc/{pid}")
    assert engines.prepare(EXTRACT_DINO.rpc, PictureItem(SMALL.content), params, demo_dino).flop


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        OSError("out of memory error when reading"),
    ],
)
def test_a_worker_without_memory_does_not_blame_the_file(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = photo(64, 48, "PNG")

    def without_memory(*given: object) -> object:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(reading_module, "rgb", without_memory)
        with pytest.raises(OutOfMemory, match="no memory to decode the PNG file"):
            decoded(PictureItem(content), OPTIONS)
    assert decoded(PictureItem(content), OPTIONS).pixels.size == (64, 48)


def test_a_decoder_that_dies_fails_its_picture_alone(
    options: EngineOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(options.reader, Decoders)
    decoded(PictureItem(SMALL.content), options)
    (decoder,) = options.reader._idle
    pid = decoder._process.pid
    answer = decoder._answer

    def killed_meanwhile() -> tuple[bytes, list[int]]:  # it has the picture, and does not answer
        os.kill(pid, signal.SIGKILL)
        return answer()

    monkeypatch.setattr(decoder, "_answer", killed_meanwhile)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(InvalidFields, match="its decoder died of it"):
        decoded(PictureItem(SMALL.content), options)
    assert decoded(PictureItem(SMALL.content), options).pixels.size == (18, 12)


def test_a_file_that_asks_for_endless_memory_is_refused(options: EngineOptions) -> None:
    # Each of many fields claims all of the file as its own.
    count, body = 3000, bytes(20 << 20)
    fields = b"".join(struct.pack("<HHII", 40000 + each, 1, len(body), 8) for each in range(count))
    content = (
        b"II*\0" + struct.pack("<I", 8 + len(body)) + body + struct.pack("<H", count) + fields + bytes(4)
    )
    with pytest.raises(InvalidFields, match=r"memory|damaged|longer than"):
        decoded(PictureItem(content), options)


def test_without_a_process_the_caller_may_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*given: object, **named: object) -> subprocess.Popen[bytes]:
        raise OSError("no more")

    monkeypatch.setattr(processes.subprocess, "Popen", failing)
    with pytest.raises(Unavailable, match="try again"):
        decoded(PictureItem(SMALL.content), reading())


def test_a_decoder_knows_no_model() -> None:
    program = (
        "import sys, featsvc.engines.decoding.child; print('torch' in sys.modules, 'pydantic' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]


def test_engines_decode_with_decoders(engines: object) -> None:
    assert isinstance(models.engines().options.reader, Decoders)


def test_a_decoder_that_died_while_it_idled_is_no_fault_of_the_next_picture(options: EngineOptions) -> None:
    assert isinstance(options.reader, Decoders)
    decoded(PictureItem(SMALL.content), options)
    for decoder in options.reader._idle:
        os.kill(decoder._process.pid, signal.SIGKILL)
        os.waitid(os.P_PID, decoder._process.pid, os.WEXITED | os.WNOWAIT)
    assert decoded(PictureItem(SMALL.content), options).pixels.size == (18, 12)


def test_without_room_for_a_picture_the_caller_may_try_again(
    options: EngineOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_descriptors(content: bytes) -> object:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(processes, "shared", without_descriptors)
        with pytest.raises(Unavailable, match="no memory or descriptors"):
            decoded(PictureItem(SMALL.content), options)
    assert decoded(PictureItem(SMALL.content), options).pixels.size == (18, 12)
