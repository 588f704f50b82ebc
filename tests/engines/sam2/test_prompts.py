"""Prompt masks are those of sam2's own predictor."""

from __future__ import annotations

import numpy as np
import pytest

from featsvc.engines.registry import Engines
from featsvc.engines.sam2 import predict as sam2_predict
from featsvc.engines.sam2.decoder import LowRes, decode
from featsvc.engines.sam2.model import Sam2Model
from featsvc.engines.sam2.prompts import Prompts
from featsvc.errors import InvalidFields, ReplyTooLarge
from featsvc.v1.schema import PredictMasksParams, Prompt, Tensor
from featsvc.work.item import PromptItem
from featsvc.work.operations import PREDICT_MASKS
from featsvc.work.results import PromptMasks
from tests.engines import models, upstream
from tests.engines.upstream import with_components

OPERATION = PREDICT_MASKS.rpc
WIDTH, HEIGHT = 130, 90
POINTS = ((40.0, 45.0), (90.0, 20.5))

__all__ = ["with_components"]


def ask(
    engines: Engines, model: Sam2Model, prompts: tuple[Prompt, ...], params: PredictMasksParams
) -> tuple[PromptMasks, ...]:
    item = PromptItem(models.encoded(models.picture(WIDTH, HEIGHT)), prompts=prompts)
    return models.prompted(engines, item, params, model).results


def expect(model: Sam2Model, thresholds: dict[str, float], **arguments: object) -> tuple[np.ndarray, ...]:
    reference = upstream.predictor(model, **thresholds)
    reference.set_image(np.array(models.picture(WIDTH, HEIGHT)))
    return reference.predict(**arguments)


def logits(mask_size: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 4, (1, mask_size, mask_size)).astype(np.float32)


def as_tensor(array: np.ndarray) -> Tensor:
    return Tensor(dtype="float32", shape=array.shape, data=array.tobytes())


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / (one | other).sum()


def as_wire(prompt: dict[str, object]) -> dict[str, object]:
    return {key: as_tensor(value) if key == "mask_input" else value for key, value in prompt.items()}


def moved(prompt: dict[str, object], by: int) -> dict[str, object]:
    """Another prompt of the same kind."""
    other = dict(prompt)
    if "point_coords" in other:
        other["point_coords"] = tuple((x + 7 * by, y + 3 * by) for x, y in other["point_coords"])
    if "box" in other:
        other["box"] = tuple(edge + 5 * by for edge in other["box"])
    if "mask_input" in other:
        other["mask_input"] = other["mask_input"] * (1 + by)
    return other


PROMPTS = {
    "point": {"point_coords": POINTS[:1], "point_labels": (1,)},
    "points": {"point_coords": POINTS, "point_labels": (1, 0)},
    "box": {"box": (10.0, 12.0, 80.5, 70.0)},
    "box and points": {"box": (10.0, 12.0, 80.5, 70.0), "point_coords": POINTS, "point_labels": (0, 1)},
    "mask": {"mask_input": logits(64)},
    "everything": {
        "box": (1, 2, 80, 70),
        "point_coords": POINTS,
        "point_labels": (1, 1),
        "mask_input": logits(64),
    },
    "nothing": {},
}


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("name", list(PROMPTS))
def test_masks_equal_those_of_the_package_predictor(
    engines: Engines, small_sam2: Sam2Model, name: str, multimask: bool
) -> None:
    given = PROMPTS[name]
    params = PredictMasksParams(multimask_output=multimask)
    (got,) = ask(engines, small_sam2, (Prompt(**as_wire(given)),), params)
    plain = {key: np.asarray(value) for key, value in given.items()}
    masks, ious, low = expect(small_sam2, {}, **plain, multimask_output=multimask)
    np.testing.assert_array_equal(models.unpacked(got.masks), masks.astype(bool))
    np.testing.assert_allclose(got.iou_predictions, ious, atol=1e-6)
    np.testing.assert_allclose(got.low_res_masks, low, atol=1e-5)
    assert got.masks.shape == (3 if multimask else 1, HEIGHT, WIDTH)
    assert masks.any()
    assert not masks.all()


def test_masks_of_a_real_architecture_equal_those_of_the_package_predictor(
    engines: Engines, sam2_tiny: Sam2Model
) -> None:
    (got,) = ask(
        engines, sam2_tiny, (Prompt(point_coords=POINTS, point_labels=(1, 1)),), PredictMasksParams()
    )
    masks, ious, low = expect(sam2_tiny, {}, point_coords=np.array(POINTS), point_labels=np.array([1, 1]))
    np.testing.assert_array_equal(models.unpacked(got.masks), masks.astype(bool))
    np.testing.assert_allclose(got.iou_predictions, ious, atol=1e-6)
    np.testing.assert_allclose(got.low_res_masks, low, atol=1e-5)
    assert got.low_res_masks.shape == (3, 256, 256)


def test_logits_come_back_where_asked_for(engines: Engines, small_sam2: Sam2Model) -> None:
    prompt = Prompt(point_coords=POINTS, point_labels=(1, 0))
    (got,) = ask(engines, small_sam2, (prompt,), PredictMasksParams(return_logits=True))
    masks, _, _ = expect(
        small_sam2, {}, point_coords=np.array(POINTS), point_labels=np.array([1, 0]), return_logits=True
    )
    assert got.masks.dtype == np.float32
    np.testing.assert_allclose(got.masks, masks, atol=1e-5)


def test_parts_of_the_picture_are_coordinates_where_they_are_not_normalized(
    engines: Engines, small_sam2: Sam2Model
) -> None:
    pixels = Prompt(point_coords=POINTS, point_labels=(1, 1), box=(13.0, 9.0, 65.0, 45.0))
    parts = Prompt(
        point_coords=tuple((x / WIDTH, y / HEIGHT) for x, y in POINTS),
        point_labels=(1, 1),
        box=(0.1, 0.1, 0.5, 0.5),
    )
    (by_pixels,) = ask(engines, small_sam2, (pixels,), PredictMasksParams())
    (by_parts,) = ask(engines, small_sam2, (parts,), PredictMasksParams(normalize_coords=False))
    np.testing.assert_allclose(by_parts.low_res_masks, by_pixels.low_res_masks, atol=1e-3)
    with pytest.raises(InvalidFields, match="normalize_coords false takes parts from 0 to 1"):
        ask(engines, small_sam2, (pixels,), PredictMasksParams(normalize_coords=False))


@pytest.mark.usefixtures("with_components")
@pytest.mark.parametrize("threshold", [0.0, 0.05])
@pytest.mark.parametrize(("hole", "sprinkle"), [(12.0, 0.0), (0.0, 9.0), (6.0, 6.0)])
def test_holes_and_islands_go_as_the_package_would_with_its_extension(
    engines: Engines, small_sam2: Sam2Model, hole: float, sprinkle: float, threshold: float
) -> None:
    areas = {"max_hole_area": hole, "max_sprinkle_area": sprinkle, "mask_threshold": threshold}
    prompt = Prompt(point_coords=POINTS, point_labels=(1, 1))
    (got,) = ask(engines, small_sam2, (prompt,), PredictMasksParams(**areas))
    masks, _, low = expect(small_sam2, areas, point_coords=np.array(POINTS), point_labels=np.array([1, 1]))
    np.testing.assert_array_equal(models.unpacked(got.masks), masks.astype(bool))
    # The logits for a next prompt stay as the decoder gave them.
    np.testing.assert_allclose(got.low_res_masks, low, atol=1e-5)
    (untouched,) = ask(engines, small_sam2, (prompt,), PredictMasksParams(mask_threshold=threshold))
    assert (untouched.masks.data != got.masks.data).any()


def test_several_prompts_get_the_answers_of_the_package_predictor(
    engines: Engines, small_sam2: Sam2Model
) -> None:
    given = [PROMPTS[name] for name in ("point", "box", "points", "mask", "nothing", "everything")]
    # Each kind several times, in turns, so that those that share a pass are not neighbours.
    several = [moved(each, by) for by in range(3) for each in given]
    answers = ask(
        engines, small_sam2, tuple(Prompt(**as_wire(each)) for each in several), PredictMasksParams()
    )
    for each, got in zip(several, answers, strict=True):
        masks, ious, low = expect(small_sam2, {}, **{key: np.asarray(value) for key, value in each.items()})
        np.testing.assert_allclose(got.low_res_masks, low, atol=1e-4)
        np.testing.assert_allclose(got.iou_predictions, ious, atol=1e-4)
        assert iou(models.unpacked(got.masks), masks.astype(bool)) > 0.999


def test_prompts_of_one_kind_share_a_pass_and_others_have_their_own(
    engines: Engines, small_sam2: Sam2Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def recorded(network: object, embedding: object, prompts: Prompts, multimask: bool) -> LowRes:
        answer = decode(network, embedding, prompts, multimask)
        sizes.append(len(answer.ious))
        return answer

    monkeypatch.setattr(sam2_predict, "decode", recorded)
    point, box, nothing = (Prompt(**PROMPTS[name]) for name in ("point", "box", "nothing"))
    at_once = sam2_predict.PROMPTS_AT_ONCE[True]
    ask(engines, small_sam2, (point, nothing, box, point, nothing) + (point,) * at_once, PredictMasksParams())
    assert sorted(sizes) == sorted([at_once, 2, 1, 1])


def test_identical_requests_give_identical_bytes(engines: Engines, small_sam2: Sam2Model) -> None:
    prompts = tuple(Prompt(**moved(PROMPTS["points"], by)) for by in range(3))
    one, other = (ask(engines, small_sam2, prompts, PredictMasksParams()) for _ in range(2))
    for first, second in zip(one, other, strict=True):
        assert first.masks.data.tobytes() == second.masks.data.tobytes()
        assert first.low_res_masks.tobytes() == second.low_res_masks.tobytes()
        assert first.iou_predictions.tobytes() == second.iou_predictions.tobytes()


def test_no_prompts_at_all_are_one_empty_prompt(engines: Engines, small_sam2: Sam2Model) -> None:
    (implied,) = ask(engines, small_sam2, (), PredictMasksParams())
    (given,) = ask(engines, small_sam2, (Prompt(),), PredictMasksParams())
    np.testing.assert_array_equal(implied.masks.data, given.masks.data)


def test_the_mask_threshold_moves_the_border(engines: Engines, small_sam2: Sam2Model) -> None:
    prompt = Prompt(point_coords=POINTS, point_labels=(1, 1))
    areas = [
        models.unpacked(
            ask(engines, small_sam2, (prompt,), PredictMasksParams(mask_threshold=threshold))[0].masks
        ).sum()
        for threshold in (-0.2, 0.0, 0.2)
    ]
    assert areas[0] > areas[1] > areas[2]


@pytest.mark.parametrize(
    ("tensor", "complaint"),
    [
        (as_tensor(logits(256)), "1 x 256 x 256; this model takes 1 x 64 x 64"),
        (Tensor(dtype="int64", shape=(1, 64, 64), data=bytes(64 * 64 * 8)), "logits are float32"),
        (Tensor(dtype="float32", shape=(1, 64, 64), data=bytes(10)), "holds 10 bytes"),
        (as_tensor(np.full((1, 64, 64), np.nan, np.float32)), "not finite"),
        (as_tensor(np.full((1, 64, 64), -3e38, np.float32)), "beyond 10000"),
    ],
)
def test_a_mask_prompt_that_the_model_cannot_take_is_refused(
    engines: Engines, small_sam2: Sam2Model, tensor: Tensor, complaint: str
) -> None:
    with pytest.raises(InvalidFields, match=complaint) as caught:
        ask(engines, small_sam2, (Prompt(), Prompt(mask_input=tensor)), PredictMasksParams())
    assert caught.value.violations[0].field == "prompts[1].mask_input"


def test_a_reply_over_the_limit_is_refused_with_its_exact_size(small_sam2: Sam2Model) -> None:
    row = (WIDTH + 7) // 8
    needed = 3 * HEIGHT * row + 3 * 64 * 64 * 4 + 3 * 4
    prompts = (Prompt(),)
    ask(models.engines(max_reply_bytes=needed), small_sam2, prompts, PredictMasksParams())
    with pytest.raises(ReplyTooLarge, match=f"{needed} bytes, at most {needed - 1}"):
        ask(models.engines(max_reply_bytes=needed - 1), small_sam2, prompts, PredictMasksParams())


def test_masks_that_memory_cannot_hold_are_refused_before_the_device_works(small_sam2: Sam2Model) -> None:
    prompts = (Prompt(), Prompt())
    needed = 2 * 3 * HEIGHT * WIDTH
    item = PromptItem(models.encoded(models.picture(WIDTH, HEIGHT)), prompts=prompts)
    params = PredictMasksParams()
    models.engines(max_mask_bytes=needed).prepare(OPERATION, item, params, small_sam2)
    few = models.engines(max_mask_bytes=needed - 1)
    with pytest.raises(ReplyTooLarge, match=f"{needed} bytes of memory.*: fewer prompts"):
        few.prepare(OPERATION, item, params, small_sam2)
    few.prepare(OPERATION, item, PredictMasksParams(multimask_output=False), small_sam2)
