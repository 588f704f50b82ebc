"""Every form that a picture may come in."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from featsvc_client.errors import InvalidRequest
from featsvc_client.pictures import encode_image, picture
from PIL import Image

PIXELS = np.random.default_rng(5).integers(0, 256, (9, 7, 3), np.uint8)


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "JPEG")
    return buffer.getvalue()


def pixels(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as opened:
        return np.asarray(opened)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "image.jpg"
    path.write_bytes(jpeg())
    return path


def test_a_file_keeps_its_bytes_however_it_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    for given in (file, str(file), "image.jpg", Path("image.jpg")):
        assert picture(given).content == jpeg()


def test_encoded_bytes_stay_as_they_are() -> None:
    for given in (jpeg(), bytearray(jpeg()), memoryview(jpeg())):
        assert picture(given).content == jpeg()


def test_base64_and_data_uris_are_decoded() -> None:
    encoded = base64.b64encode(jpeg()).decode()
    lines = base64.encodebytes(jpeg()).decode()
    for given in (encoded, lines, f"data:image/jpeg;base64,{encoded}", f"DATA:;base64,{lines}"):
        assert picture(given).content == jpeg()


@pytest.mark.parametrize(
    "url", ["http://example.com/a.jpg", "https://example.com/a.jpg", "HTTPS://example.com/a"]
)
def test_an_address_is_left_to_the_server(url: str) -> None:
    assert picture(url).source == {"url": url}
    assert picture(url).body == {"image_url": url}


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 1), (9, 7, 3), (9, 7, 4)])
def test_arrays_arrive_pixel_for_pixel(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(6).integers(0, 256, shape, np.uint8)
    np.testing.assert_array_equal(
        pixels(picture(array).content), array.squeeze(2) if shape[2:] == (1,) else array
    )


def test_a_view_of_an_array_is_sent_as_it_looks() -> None:
    np.testing.assert_array_equal(pixels(picture(PIXELS[::2, ::-1]).content), PIXELS[::2, ::-1])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_pil_images_of_every_mode_arrive_as_they_look(mode: str) -> None:
    source = Image.fromarray(PIXELS).convert(mode)
    sent = Image.open(io.BytesIO(picture(source).content))
    assert sent.size == source.size
    np.testing.assert_array_equal(np.asarray(sent.convert("RGB")), np.asarray(source.convert("RGB")))


DEEP = np.random.default_rng(7).integers(0, 65536, (9, 7)).astype(np.uint16)


@pytest.mark.parametrize(
    ("given", "right"),
    [
        (DEEP, DEEP >> 8),
        (DEEP.astype(">u2"), DEEP >> 8),
        (np.dstack([DEEP] * 3), np.dstack([DEEP >> 8] * 3)),
        (Image.fromarray(DEEP), DEEP >> 8),
        (DEEP / 65535, np.rint(DEEP / 65535 * 255)),
        (
            Image.fromarray((DEEP / 65535).astype(np.float32)),
            np.rint((DEEP / 65535).astype(np.float32) * 255),
        ),
    ],
)
def test_sixteen_bits_and_floats_are_scaled_as_the_server_scales_files(
    given: object, right: np.ndarray
) -> None:
    np.testing.assert_array_equal(pixels(picture(given).content), right)  # type: ignore[arg-type]


def test_the_other_alphabet_and_missing_padding_are_base64_too() -> None:
    content = jpeg() + b"\xfb\xff\xfe"
    for more in (b"", b"1", b"12"):
        encoded = base64.urlsafe_b64encode(content + more).decode().rstrip("=")
        for given in (encoded, f"data:image/jpeg;base64,{encoded}"):
            assert picture(given).content == content + more


def test_a_file_object_gives_its_file(file: Path) -> None:
    written = io.BytesIO()
    written.write(jpeg())  # and its position is at the end
    assert picture(written).content == jpeg()
    with file.open("rb") as opened:
        assert picture(opened).content == jpeg()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("photo.jpg", "'photo.jpg' is no existing file"),
        ("photos/cat1", "'photos/cat1' is no existing file"),  # valid base64, but of 8 bytes
        ("!" * 5000, r"'!{77}\.\.\.' is no existing file"),
        ("data:image/png;base64", "no comma"),
        ("data:image/png;base64,###", "no valid base64"),
        (np.zeros((4, 4, 3), int), "array of int64 is no picture; convert it to uint8"),
        (np.full((4, 4), 200.0), r"from 200 to 200; they are taken from 0 \(black\) to 1 \(white\)"),
        (np.full((4, 4), np.nan), "from nan to nan"),
        (Image.new("I", (4, 4)), "mode I has no number that means white"),
        (np.zeros((3, 4, 4), np.uint8)[:, :, :2], r"shape \(3, 4, 2\)"),
        (np.zeros((0, 4), np.uint8), "array is empty"),
        (17, "int is no picture"),
    ],
)
def test_what_is_no_picture_is_refused_with_the_reason(given: object, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as caught:
        picture(given)  # type: ignore[arg-type]
    assert caught.value.violations[0].field == "image"


def test_a_path_without_a_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        picture(tmp_path / "none.jpg")


def test_a_file_wins_over_base64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = base64.b64encode(bytes(range(30))).decode().replace("/", "A")
    Path(name).write_bytes(b"the file")
    assert picture(name).content == b"the file"


def test_encode_image_gives_base64_of_the_file(file: Path) -> None:
    assert base64.b64decode(encode_image(str(file))) == jpeg()
    assert encode_image(encode_image(file)) == encode_image(file)


def test_encode_image_refuses_an_address() -> None:
    with pytest.raises(InvalidRequest, match="fetched by the server"):
        encode_image("http://example.com/a.jpg")
