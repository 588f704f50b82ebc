"""The embedding of a picture, handed out: the package's own decoder finds the same masks in it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from featsvc.engines.registry import Engines
from featsvc.engines.sam2.model import Sam2Model
from featsvc.errors import ReplyTooLarge
from featsvc.v1.schema import EmbedImageParams
from featsvc.work.item import Json, PictureItem, Way
from featsvc.work.operations import EMBED_IMAGE
from featsvc.work.results import EmbeddedImage
from tests.engines import models, upstream

SIZE = (130, 90)
POINT = {"point_coords": np.array([[40.0, 45.0]]), "point_labels": np.array([1])}


def embedded(engines: Engines, model: Sam2Model, item: PictureItem, **options: object) -> EmbeddedImage:
    params = EmbedImageParams(ret_embedding=True, **options)
    answer = models.answer(engines, EMBED_IMAGE.rpc, item, params, model)
    assert isinstance(answer, EmbeddedImage)
    return answer


def floats(array: np.ndarray) -> torch.Tensor:
    if array.dtype == np.uint16:
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return torch.from_numpy(array.astype(np.float32))


@pytest.mark.parametrize("fixture", ["small_sam2", "demo_sam2"])
@pytest.mark.parametrize(("dtype", "error"), [("float32", 0.0), ("float16", 0.02), ("bfloat16", 0.2)])
def test_the_decoder_of_the_package_finds_the_same_masks_in_it(
    engines: Engines, request: pytest.FixtureRequest, fixture: str, dtype: str, error: float
) -> None:
    model: Sam2Model = request.getfixturevalue(fixture)
    got = embedded(engines, model, models.picture_item(*SIZE), embedding_dtype=dtype)
    side, channels = model.image_size, model.network.hidden_dim
    assert got.image_embed.shape == (1, channels, side // 16, side // 16)
    assert got.high_res_feats_0.shape == (1, channels // 8, side // 4, side // 4)
    assert got.high_res_feats_1.shape == (1, channels // 4, side // 8, side // 8)

    own = upstream.predictor(model)
    own.set_image(np.array(models.picture(*SIZE)))
    wanted, scores, wanted_logits = own.predict(**POINT, return_logits=True)
    # What a program has that decodes elsewhere.
    own._features = {
        "image_embed": floats(got.image_embed),
        "high_res_feats": [floats(got.high_res_feats_0), floats(got.high_res_feats_1)],
    }
    found, found_scores, logits = own.predict(**POINT, return_logits=True)
    scale = np.abs(wanted_logits).max()
    assert np.abs(logits - wanted_logits).max() <= error * scale
    assert np.abs(found_scores - scores).max() <= max(error, 1e-6)
    assert ((found > 0) != (wanted > 0)).mean() <= error


def test_it_is_answered_only_where_it_is_asked_for(engines: Engines, small_sam2: Sam2Model) -> None:
    item = PictureItem(models.picture_item(*SIZE).image, digest="sha256:itself")
    plain = models.answer(engines, EMBED_IMAGE.rpc, item, EmbedImageParams(), small_sam2)
    assert plain.image_embed is plain.high_res_feats_0 is plain.high_res_feats_1 is None
    warm = embedded(engines, small_sam2, item)
    assert warm.was_cached
    assert warm.image_embed.dtype == np.float16
    cold = embedded(engines, small_sam2, models.picture_item(*SIZE))
    assert warm.image_embed.tobytes() == cold.image_embed.tobytes()


def test_one_that_is_too_large_is_refused_before_the_work(small_sam2: Sam2Model) -> None:
    elements = 4 * small_sam2.network.hidden_dim * (small_sam2.image_size // 16) ** 2
    item = models.picture_item(*SIZE)
    small = models.engines(max_reply_bytes=2 * elements)
    embedded(small, small_sam2, item)
    with pytest.raises(ReplyTooLarge, match=f"{4 * elements} bytes.*float16"):
        embedded(small, small_sam2, item, embedding_dtype="float32")
    over_json = PictureItem(item.image, way=Way(json=Json(2 * elements - 1)))
    with pytest.raises(ReplyTooLarge, match="--max-json-bytes"):
        embedded(small, small_sam2, over_json)
