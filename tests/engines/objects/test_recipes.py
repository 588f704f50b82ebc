"""Each published recipe against what its project computes, written down plainly: crops one by one, no batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms as T
from numpy.typing import NDArray
from PIL import Image
from sam2.utils.amg import batched_mask_to_box, box_xyxy_to_xywh

from featsvc.engines.clip.dense import dense_features
from featsvc.engines.clip.model import ClipModel
from featsvc.engines.dino.model import DinoModel
from featsvc.engines.registry import Engines
from featsvc.v1 import schema as S
from featsvc.work.item import ObjectItem, PictureItem
from featsvc.work.objects import objects_in_force
from featsvc.work.operations import DESCRIBE_OBJECTS, ENCODE_IMAGE
from tests.engines import models
from tests.engines.clip.plain import OPENAI_MEAN, OPENAI_STD, Plain

PICTURE = models.picture(300, 220)
PIXELS = np.asarray(PICTURE)
Embed = Callable[[Image.Image], torch.Tensor]
Masks = NDArray[np.bool_]
ATOL = 1e-4


def drawn() -> Masks:
    """A disc, a tall and a wide region, one at the picture's corner and a small one."""
    y, x = np.mgrid[:220, :300]
    return np.stack(
        [
            (x - 120) ** 2 + (y - 100) ** 2 < 60**2,
            (abs(x - 30) < 9) & (y > 40) & (y < 200),
            (y > 150) & (y < 171) & (x > 100) & ((x + y) % 7 > 1),
            (x > 260) & (y < 33),
            (abs(x - 200) < 4) & (abs(y - 80) < 3),
        ]
    )


MASKS = drawn()


def bbox(mask: Masks) -> tuple[int, int, int, int]:
    """Left, top, width and height as SAM's generators say them."""
    x, y, width, height = box_xyxy_to_xywh(batched_mask_to_box(torch.from_numpy(mask)[None])[0]).tolist()
    return x, y, width, height


def fused(local: Sequence[torch.Tensor], whole: torch.Tensor) -> list[torch.Tensor]:
    """ConceptFusion's: the more a region is like the picture, the more of that it has."""
    weights = torch.softmax(torch.stack([F.cosine_similarity(each, whole, dim=0) for each in local]), dim=0)
    return [F.normalize(w * whole + (1 - w) * each, dim=0) for w, each in zip(weights, local, strict=True)]


def conceptfusion(masks: Masks, embed: Embed) -> list[torch.Tensor]:
    local = []
    for x, y, width, height in map(bbox, masks):
        local.append(embed(Image.fromarray(PIXELS[y : y + height, x : x + width])))
    return fused(local, embed(PICTURE))


def conceptgraphs(masks: Masks, embed: Embed) -> list[torch.Tensor]:
    found = []
    for x, y, width, height in map(bbox, masks):
        left, top = x - min(20, x), y - min(20, y)
        right = x + width + min(20, 300 - x - width)
        bottom = y + height + min(20, 220 - y - height)
        found.append(embed(PICTURE.crop((left, top, right, bottom))))
    return found


def hovsg(masks: Masks, embed: Embed) -> list[torch.Tensor]:
    local = []
    for mask in masks:
        x, y, width, height = bbox(mask)
        black = (PIXELS * mask[..., None])[y : y + height, x : x + width]
        left, top = max(0, x - 50), max(0, y - 50)
        plain = PIXELS[top : y + height + 50, left : x + width + 50]
        one, other = (embed(Image.fromarray(cv2.resize(each, (512, 512)))) for each in (black, plain))
        local.append(F.normalize(0.4418 * one + (1 - 0.4418) * other, dim=0))
    return fused(local, embed(PICTURE))


def openmask3d(masks: Masks, embed: Embed) -> list[torch.Tensor]:
    found = []
    for mask in masks:
        rows, columns = np.nonzero(mask)
        x0, x1, y0, y1 = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
        vectors = []
        for level in range(3):
            across, down = int((x1 - x0) * 0.1) * level, int((y1 - y0) * 0.1) * level
            box = max(0, x0 - across), max(0, y0 - down), min(300, x1 + across), min(220, y1 + down)
            vectors.append(embed(PICTURE.crop(box)))
        found.append(F.normalize(torch.stack(vectors).mean(dim=0), dim=0))
    return found


def feature_splatting(features: torch.Tensor, masks: Masks, pixels: tuple[int, int]) -> list[torch.Tensor]:
    """Of dense features h x w x D of the whole picture: at 100 columns, averaged under the nearest mask."""
    width, height = pixels
    size = (height * 100 // width, 100)
    fine = F.interpolate(features.permute(2, 0, 1)[None], size, mode="bilinear", align_corners=False)[0]
    nearest = F.interpolate(torch.from_numpy(masks)[:, None].float(), size, mode="nearest")[:, 0].bool()
    return [F.normalize(fine[:, mask].mean(dim=1), dim=0) for mask in nearest]


PLAIN = {each.__name__: each for each in (conceptfusion, conceptgraphs, hovsg, openmask3d)}


def described(
    engines: Engines,
    loaded: Any,
    masks: Masks = MASKS,
    source: Any = None,
    picture: Image.Image = PICTURE,
    **params: Any,
) -> NDArray[np.float32]:
    """The vectors of masks by one model."""
    given = {"bitmaps": {"dtype": "uint8", "shape": masks.shape, "data": masks.tobytes()}}
    item = ObjectItem(models.encoded(picture), source=S.ObjectSource.model_validate(source or given))
    settled = objects_in_force(S.DescribeObjectsParams.model_validate(params))
    result: Any = models.answer(engines, DESCRIBE_OBJECTS.rpc, item, settled, loaded)
    vectors: NDArray[np.float32] = result.descriptors[0].vectors
    return vectors


@pytest.mark.parametrize("recipe", PLAIN)
def test_a_recipe_is_what_its_project_makes_of_the_demo_model(
    engines: Engines, demo_clip: ClipModel, recipe: str
) -> None:
    def embed(picture: Image.Image) -> torch.Tensor:
        item = PictureItem(models.encoded(picture))
        result: Any = models.answer(engines, ENCODE_IMAGE.rpc, item, S.EncodeImageParams(), demo_clip)
        return torch.from_numpy(result.image_embedding[0])

    expected = torch.stack(PLAIN[recipe](MASKS, embed))
    np.testing.assert_allclose(described(engines, demo_clip, recipe=recipe), expected, atol=ATOL)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", PLAIN)
def test_a_recipe_is_what_its_project_makes_of_vit_b_16(
    engines: Engines, vit_b16: ClipModel, recipe: str
) -> None:
    network = models.plain_clip()
    ready = T.Compose(
        [
            T.Resize(224, T.InterpolationMode.BICUBIC),
            T.CenterCrop(224),
            T.ToTensor(),
            T.Normalize(OPENAI_MEAN, OPENAI_STD),
        ]
    )

    @torch.inference_mode()
    def embed(picture: Image.Image) -> torch.Tensor:
        return F.normalize(network.encode_image(ready(picture)[None])[0], dim=0)

    expected = torch.stack(PLAIN[recipe](MASKS[:3], embed))
    np.testing.assert_allclose(described(engines, vit_b16, MASKS[:3], recipe=recipe), expected, atol=ATOL)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["hovsg", "openmask3d"])
def test_a_recipe_describes_by_dinov2_as_by_clip(engines: Engines, dinov2: DinoModel, recipe: str) -> None:
    network, entry = models.timm_network("dinov2_vits14"), dinov2.entry
    side = network.patch_embed.img_size[0]
    ready = T.Compose(
        [
            T.Resize(side, T.InterpolationMode.BICUBIC),
            T.CenterCrop(side),
            T.ToTensor(),
            T.Normalize(entry.mean, entry.std),
        ]
    )

    @torch.inference_mode()
    def embed(picture: Image.Image) -> torch.Tensor:
        return F.normalize(network.forward_features(ready(picture)[None])[0, 0], dim=0)

    expected = torch.stack(PLAIN[recipe](MASKS[:2], embed))
    got = described(engines, dinov2, MASKS[:2], recipe=recipe, describe=[{"dino": {}, "crop": {}}])
    np.testing.assert_allclose(got, expected, atol=ATOL)


@pytest.mark.parametrize("network", ["demo_clip", pytest.param("vit_b16", marks=pytest.mark.slow)])
def test_feature_splatting_is_what_its_project_makes(
    engines: Engines, network: str, request: pytest.FixtureRequest
) -> None:
    # Sides of whole patches: the project cuts off what is left over, and here it is padded.
    loaded, picture = request.getfixturevalue(network), models.picture(304, 224)
    masks = np.pad(MASKS, ((0, 0), (0, 4), (0, 4)))
    normal = T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    pixels = normal(T.functional.to_tensor(picture))
    with torch.inference_mode():
        if network == "vit_b16":
            plain = Plain(models.plain_clip()).of_normalised(
                pixels.permute(1, 2, 0).double().numpy(), "maskclip"
            )
            features = torch.from_numpy(plain).float()
        else:
            features = dense_features(loaded.visual, pixels[None])[0]
    expected = torch.stack(feature_splatting(features, masks, picture.size))
    got = described(engines, loaded, masks, picture=picture, recipe="feature_splatting")
    np.testing.assert_allclose(got, expected, atol=ATOL)


def test_what_is_given_wins_over_the_preset_and_that_over_the_recipe() -> None:
    given = {"recipe": "hovsg", "pred_iou_thresh": 0.5}
    alone = objects_in_force(S.DescribeObjectsParams(**given))
    assert (alone.pred_iou_thresh, alone.points_per_side, alone.points_per_batch) == (0.5, 12, 144)
    both = objects_in_force(S.DescribeObjectsParams(**given, preset="coarse"))
    assert (both.pred_iou_thresh, both.points_per_side, both.points_per_batch) == (0.5, 16, 64)
    found = objects_in_force(S.FindObjectsParams(recipe="hovsg"))
    assert found.describe == alone.describe


def test_a_recipe_fills_in_what_a_way_of_its_kind_leaves_out() -> None:
    view = {"model": {"model_name": "ViT-H-14"}}
    ways = [{"clip": view, "crop": {"margin_px": 3}}, {"clip": {}, "pooled": {}}]
    params = S.DescribeObjectsParams.model_validate({"recipe": "hovsg", "describe": ways})
    first, second = objects_in_force(params).describe
    assert first.clip == S.ClipView.model_validate(view)
    assert first.crop is not None
    assert (first.crop.margin_px, first.crop.square_side, first.crop.with_picture) == (3, 512, True)
    assert second == S.ObjectDescriptor(clip=S.ClipView(), pooled=S.PooledDescriptor())
    assert objects_in_force(objects_in_force(params)) == objects_in_force(params)


def test_boxes_that_are_given_are_cropped_whole(engines: Engines, demo_clip: ClipModel) -> None:
    boxes, way = {"boxes": [[20, 30, 90, 80]]}, [{"clip": {}, "crop": {"sam_box": True}}]
    whole = [{"clip": {}, "crop": {}}]
    of_boxes = described(engines, demo_clip, source=boxes, describe=way)
    np.testing.assert_array_equal(of_boxes, described(engines, demo_clip, source=boxes, describe=whole))
    mask = np.zeros((1, 220, 300), bool)
    mask[0, 30:80, 20:90] = True
    less = {"boxes": [[20, 30, 89, 79]]}
    np.testing.assert_array_equal(
        described(engines, demo_clip, mask, describe=way),
        described(engines, demo_clip, source=less, describe=whole),
    )
