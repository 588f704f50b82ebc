"""Pictures of all kinds at the whole server: their right colours reach the model, and which way up is told."""

from __future__ import annotations

import base64
import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from featsvc_client import FeatsvcClient, errors
from numpy.typing import NDArray
from PIL import ExifTags, Image

from featsvc.demo.drawing.scenes import Scene
from tests.e2e.conftest import HEIGHT
from tests.pictures import corpus
from tests.pictures.files_of import run_lengths
from tests.servers import KEY, Server

HEADERS = {"Authorization": f"Bearer {KEY}"}
SIDEWAYS = 6
ODD = {each.name: each for each in corpus()}


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def upright_of(scene: Scene) -> NDArray[np.uint8]:
    return scene.image[:HEIGHT]


@pytest.fixture(scope="module")
def sideways(scene: Scene) -> bytes:
    """The scene as a camera held sideways stores it."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = SIDEWAYS
    buffer = io.BytesIO()
    Image.fromarray(upright_of(scene)).transpose(Image.Transpose.ROTATE_90).save(buffer, "PNG", exif=exif)
    return buffer.getvalue()


def middle(scene: Scene) -> list[list[float]]:
    """A point within the scene's first object."""
    rows, columns = np.nonzero(scene.masks[0, :HEIGHT])
    place = len(rows) // 2
    return [[float(columns[place]), float(rows[place])]]


def answered(server: Server, port: str, path: str, **body: Any) -> httpx.Response:
    found = httpx.post(f"{server.url(port)}{path}", json=body, headers=HEADERS, timeout=120, trust_env=False)
    assert found.status_code == 200, found.text
    return found


def test_a_click_on_the_shown_picture_of_a_sideways_file_finds_what_lies_there(
    demo_server: Server, scene: Scene, sideways: bytes
) -> None:
    point: dict[str, Any] = {"point_coords": middle(scene), "point_labels": [1]}
    with FeatsvcClient(demo_server.target, api_key=KEY) as client:
        upright = client.predict_masks(Image.fromarray(upright_of(scene)), **point)[0]
        shown = client.predict_masks(sideways, orientation="shown", **point)[0]
        stored = client.embed_image(sideways)
    np.testing.assert_array_equal(shown.masks, upright.masks)
    assert (upright.image_orientation, shown.image_orientation, stored.image_orientation) == (1, 6, 6)
    assert (stored.height, stored.width) == upright_of(scene).shape[1::-1]
    over_rest = answered(
        demo_server, "sam2", "/prompt_mask", image=base64_of(sideways), orientation="shown", **point
    )
    assert over_rest.headers["X-Featsvc-Orientation"] == "6"
    assert over_rest.json()["masks_shape"][1:] == list(upright_of(scene).shape[:2])
    assert "orientation" not in over_rest.json()


@pytest.mark.parametrize(
    "name", ["grey-16-white-is-zero-big.tif", "float-little.tif", "text-16.pgm", "cmyk.tif"]
)
def test_an_odd_file_has_the_features_of_its_right_colours(demo_server: Server, name: str) -> None:
    with FeatsvcClient(demo_server.target, api_key=KEY) as client:
        found = client.dino_features(ODD[name].content, load_size=56).array
        right = client.dino_features(ODD[name].right, load_size=56).array
    tolerance = 0.05 if ODD[name].tolerance else 0
    np.testing.assert_allclose(found, right, atol=tolerance)


def test_a_float_picture_beyond_1_is_refused_in_words_over_both_transports(demo_server: Server) -> None:
    content = ODD["float-to-1000.tif"].content
    with (
        FeatsvcClient(demo_server.target, api_key=KEY) as client,
        pytest.raises(errors.InvalidRequest, match=r"0 \(black\) to 1 \(white\)"),
    ):
        client.dino_features(content)
    body = {"image": base64_of(content)}
    found = httpx.post(
        f"{demo_server.url('dino')}/extract", json=body, headers=HEADERS, timeout=60, trust_env=False
    )
    assert found.status_code == 422
    assert "0 (black) to 1 (white)" in found.text


def test_while_a_picture_takes_long_to_decode_texts_and_clicks_of_others_are_answered(
    demo_server: Server, scene: Scene
) -> None:
    picture = Image.fromarray(upright_of(scene))
    with FeatsvcClient(demo_server.target, api_key=KEY) as client, ThreadPoolExecutor(1) as beside:
        client.embed_image(picture)
        client.encode_text("a red circle")
        # Answers that wait for the decoding come after it every time; those that do not, only where a machine stalls.
        for number in range(5):
            slow = run_lengths(3800, 3800 - number)
            decoding = beside.submit(client.dino_features, slow, load_size=56)
            while client.status().workers[0].state != "busy" and not decoding.done():
                pass
            client.encode_text(f"a blue star {number}")
            client.predict_masks(picture, point_coords=middle(scene), point_labels=[1])
            if is_beside := not decoding.done():
                break
        assert is_beside
        refused = decoding.exception()
    # On a slow machine it takes longer than any picture may.
    assert refused is None or "--decode-timeout" in str(refused)
