"""What the engines are asked: every operation, facet, encoding, and way to look at a picture."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from featsvc.engines.registry import Engines
from featsvc.engines.running.family import Loaded
from featsvc.fields.base import Parameters
from featsvc.settings.kinds import Precision
from featsvc.v1 import schema as S
from featsvc.work.item import Item, PictureItem, TextItem
from featsvc.work.operations import FIND_OBJECTS, OPERATIONS, AnyOperation, Family, Several
from featsvc.work.results import Result
from tests.engines import models

OPERATION: Mapping[type[Parameters], AnyOperation] = {each.params: each for each in OPERATIONS}
"""By the class of its parameters."""
FAMILIES: tuple[Family, ...] = ("clip", "dino", "sam2")
PICTURES = tuple(models.encoded(models.picture(*size)) for size in ((75, 50), (75, 50, 1), (60, 80)))
"""Two of one size and one of another."""
QUERY, AGAINST = ("a red circle", "a dog"), ("a blue star", "two")
MASK_SIDE = 64
"""Of the demo model's low-resolution masks."""
CLIP_CHANNELS = 128
"""Of the demo model's embeddings."""
FEW = {"points_per_side": 2, "pred_iou_thresh": 0.3, "stability_score_thresh": 0.5}


@dataclass(frozen=True)
class Case:
    """A question, or several of equal parameters."""

    params: Parameters
    items: tuple[Item, ...]
    is_around: bool = False
    """Whether it differs from another case only before and after the networks: one precision shows that."""

    @property
    def operation(self) -> AnyOperation:
        """What is asked."""
        return OPERATION[type(self.params)]

    @property
    def family(self) -> Family | Several:
        """Of the model that is asked."""
        return self.operation.family

    @property
    def models(self) -> str:
        """Which of `every_model` are asked."""
        if getattr(self.params, "proxy_model", None) is not None:
            return "proxied"
        return "find" if self.operation is FIND_OBJECTS else self.family

    @property
    def looks_for_masks(self) -> bool:
        """Whether it has masks that are good enough: one near a threshold may be so in one precision alone."""
        has_source = any(getattr(each, "source", None) is not None for each in self.items)
        return isinstance(self.params, S.AutomaticMaskParams) and not has_source


def every_model(engines: Engines) -> dict[str, Loaded]:
    """The demo models by their families, and those that answer together."""
    loaded: dict[str, Loaded] = {each: engines.load(f"demo-{each}") for each in FAMILIES}
    several = [loaded[each] for each in ("sam2", "clip", "dino")]
    proxied = engines.together([loaded["clip"], loaded["dino"]])
    of_objects = {"object": engines.together(several), "find": engines.together(several[:2])}
    return {**loaded, **of_objects, "proxied": proxied}


def answers(engines: Engines, case: Case, loaded: Loaded) -> list[Result]:
    """Results of all items, in runs of those that may share one, as a worker asks for them."""
    operation = case.operation.rpc
    runs: dict[Hashable, list[int]] = {}
    prepared = [engines.prepare(operation, item, case.params, loaded) for item in case.items]
    for index, each in enumerate(prepared):
        runs.setdefault(engines.batch_key(each), []).append(index)
    results: dict[int, Result] = {}
    for run in runs.values():
        made = engines.run(operation, [prepared[index] for index in run], case.params, loaded)
        results.update(zip(run, made, strict=True))
    return [results[index] for index in range(len(case.items))]


def asked(params: Parameters, pictures: int = 1, **fields: Any) -> Case:
    """Parameters about so many pictures, or about texts."""
    operation = OPERATION[type(params)]
    settled = operation.settled(params) if operation.settled else params
    if operation.item is TextItem:
        return Case(settled, (TextItem(**fields),))
    # Under these names embeddings are kept, so the encoder has to be asked once for all cases.
    named = [{"image": each, "digest": f"sha256:{number}"} for number, each in enumerate(PICTURES[:pictures])]
    return Case(settled, tuple(operation.item(**{**each, **fields}) for each in named))


def around(params: Parameters, **fields: Any) -> Case:
    """The same of what lies around the networks."""
    return replace(asked(params, **fields), is_around=True)


def _features(
    kind: type[S.ClipExtractFeaturesParams] | type[S.DinoExtractFeaturesParams],
) -> Iterator[tuple[str, Case]]:
    """What both families answer."""
    yield "grid", asked(kind(load_size=48))
    yield "several", asked(kind(load_size=48), pictures=3)
    for dtype in S.FeatureDType:
        yield f"{dtype} channels first", around(kind(load_size=48, dtype=dtype, tensor_format="CHW"))
    for mode in S.InterpolationMode:
        yield f"pixels {mode}", around(kind(load_size=48, ret_patches=False, interpolation_mode=mode))
    yield "components", asked(kind(load_size=48, ret_pca=True))
    yield "components of pixels", asked(kind(load_size=48, ret_pca=True, ret_patches=False))
    yield "components of the foreground", around(kind(load_size=48, ret_pca=True, pca_foreground=True))
    pixels = kind(load_size=48, ret_pca=True, ret_patches=False, pca_foreground=True, ret_pca_basis=True)
    yield "pixels of the foreground", around(pixels)
    other = PictureItem(PICTURES[2], digest="sha256:2")
    joint = kind(load_size=48, ret_pca=True, ret_patches=False, pca_digests=(other.digest,))
    yield "components of two pictures", around(joint, together=(other,))
    both = kind(load_size=48, ret_pca=True, pca_foreground=True, pca_digests=(other.digest,))
    yield "components of two foregrounds", around(both, together=(other,))
    yield "points", asked(kind(load_size=48, points=((3.0, 4.0), (70.5, 40.0))))
    yield "region", asked(kind(load_size=48, region=(5.0, 6.0, 50.0, 40.0)))


def _clip() -> Iterator[tuple[str, Case]]:
    yield from _features(S.ClipExtractFeaturesParams)
    yield "square", asked(S.ClipExtractFeaturesParams(load_size=48, center_crop=True))
    yield "trained grid", asked(S.ClipExtractFeaturesParams(load_size=192, center_crop=True))
    for recipe in (each for each in S.DenseRecipe if each is not S.DenseRecipe.PROXYCLIP):
        yield f"recipe {recipe}", asked(S.ClipExtractFeaturesParams(load_size=48, dense_recipe=recipe))
    # Of enough cells that one which is just alike enough, or just not, weighs little.
    by_dino = {"load_size": 98, "dense_recipe": "proxyclip", "proxy_model": "demo-dino"}
    yield "recipe proxyclip", asked(S.ClipExtractFeaturesParams(**by_dino), pictures=3)
    in_windows = S.ClipExtractFeaturesParams(**by_dino, window_size=84, window_stride=42)
    yield "windows of proxyclip", asked(in_windows, pictures=3)
    through = S.ClipExtractFeaturesParams(
        load_size=48, dense_recipe="naclip", window_size=32, window_stride=16
    )
    yield "windows", asked(through, pictures=3)
    few = {"tile_ratio_min": 0.6, "tile_ratio_max": 1.0, "tile_levels": 2, "tile_stride_ratio": 1.0}
    yield "tiles", asked(S.EmbedPyramidParams(**few))
    points = ((3.0, 4.0, 0.7), (70.5, 40.0, 0.8))
    yield "tiles at points", around(S.EmbedPyramidParams(**few, scaled_points=points))
    places = S.PyramidGrid(width=5, height=4, scales=(0.6, 0.9))
    for dtype in S.FeatureDType:
        on_grid = S.EmbedPyramidParams(**few, scaled_grid=places, pyramid_dtype=dtype)
        yield f"tiles on a grid {dtype}", around(on_grid)
    yield "picture", asked(S.EncodeImageParams())
    yield "several pictures", asked(S.EncodeImageParams(), pictures=3)
    yield "texts", asked(S.EncodeTextParams(), texts=S.Texts(text=(*QUERY, "a red circle and " * 4)))
    templates = S.EncodeTextParams(templates=("a photo of {}", "{}"))
    yield "texts in templates", asked(templates, texts=S.Texts(text=QUERY))
    one, several = S.TextQuery(text=QUERY[:1]), S.TextQuery(text=QUERY, negative_text=AGAINST)
    for name, query in (("one text", one), ("texts against others", several)):
        yield f"{name} patches", asked(S.ComputeSimilarityParams(load_size=48), query=query)
        pixels = S.ComputeSimilarityParams(load_size=48, ret_patches=False)
        yield f"{name} pixels", asked(pixels, query=query)


def _dino() -> Iterator[tuple[str, Case]]:
    yield from _features(S.DinoExtractFeaturesParams)
    for facet in S.Facet:
        yield f"{facet} of a layer", asked(S.DinoExtractFeaturesParams(facet=facet, layer=1))
    yield "stride", asked(S.DinoExtractFeaturesParams(stride=7))
    yield "log bins", asked(S.DinoExtractFeaturesParams(bin=True))


def _sam2() -> Iterator[tuple[str, Case]]:
    yield "embedding", asked(S.EmbedImageParams())
    yield "embedding itself", asked(S.EmbedImageParams(ret_embedding=True, embedding_dtype="float32"))
    for dtype in ("float16", "bfloat16"):
        itself = S.EmbedImageParams(ret_embedding=True, embedding_dtype=dtype)
        yield f"embedding itself {dtype}", around(itself)
    yield from _prompts()
    yield from _search()


def _prompts() -> Iterator[tuple[str, Case]]:
    P = S.PredictMasksParams
    logits = np.random.default_rng(0).normal(0, 4, (1, MASK_SIDE, MASK_SIDE)).astype(np.float32)
    mask = S.Tensor(dtype=S.DType.FLOAT32, shape=logits.shape, data=logits.tobytes())
    click = S.Prompt(point_coords=((40.0, 30.0),), point_labels=(1,))
    clicks = S.Prompt(point_coords=((40.0, 30.0), (3.0, 4.0)), point_labels=(1, 0))
    box = S.Prompt(box=(10.0, 10.0, 60.0, 40.0))
    refined = click.model_copy(update={"mask_input": mask})
    yield "no prompt", asked(P(return_logits=True))
    yield "click", asked(P(return_logits=True), prompts=(click,))
    yield "prompts", asked(P(return_logits=True), prompts=(click, box, clicks, refined, click))
    yield "mask alone", asked(P(return_logits=True), prompts=(S.Prompt(mask_input=mask),))
    # A single mask gives way to one of several where it is unstable: in this box precisions do not choose differently.
    disc = S.Prompt(box=(12.0, 12.0, 38.0, 38.0))
    yield "single mask", asked(P(return_logits=True, multimask_output=False), prompts=(click, disc))
    yield "holes and islands", asked(P(max_hole_area=20, max_sprinkle_area=20), prompts=(click,))
    yield "without logits", asked(P(return_low_res=False), prompts=(click,))
    for encoding in S.MaskEncoding:
        yield f"click {encoding}", around(P(mask_encoding=encoding), prompts=(click,))


def _search() -> Iterator[tuple[str, Case]]:
    P, few = S.GenerateMasksParams, FEW
    yield "masks", asked(P(**few))
    yield "masks in batches", asked(P(**few, points_per_batch=3))
    yield "masks refined", asked(P(**few, use_m2m=True))
    yield "masks one a point", asked(P(**few, multimask_output=False))
    yield "masks without islands", asked(P(**few, min_mask_region_area=20))
    yield "masks in crops", asked(P(**few, crop_n_layers=1, crop_n_points_downscale_factor=2))
    yield "masks of a preset", around(P(**few, preset=S.Preset.FINE_GRAINED, crop_n_layers=0))
    yield "masks that are none", asked(P(**{**few, "pred_iou_thresh": 1.0}))
    for mode in S.OutputMode:
        yield f"masks {mode}", around(P(**few, output_mode=mode))
    for encoding in S.MaskEncoding:
        yield f"masks {encoding}", around(P(**few, mask_encoding=encoding))


def _objects() -> Iterator[tuple[str, Case]]:
    P = S.DescribeObjectsParams
    clip, dino = S.ClipView(params=S.ClipParams(load_size=48)), S.DinoView(params=S.DinoParams(load_size=56))
    click = S.ObjectSource(prompts=(S.Prompt(point_coords=((40.0, 30.0),), point_labels=(1,)),))
    for pooling in S.Pooling:
        way = S.PooledDescriptor(pooling=pooling)
        ways = (S.ObjectDescriptor(clip=clip, pooled=way), S.ObjectDescriptor(dino=dino, pooled=way))
        yield f"{pooling} of maps", asked(P(describe=ways), source=click)
    yield "masks with vectors", around(P(**FEW, describe=ways))
    lists = {"granularities": tuple(S.MaskGranularity), "mask_nms_thresh": 0.8, "inner_nms_thresh": 0.5}
    places = (S.ObjectDescriptor(clip=clip, pooled=S.PooledDescriptor(grid_width=20)), ways[1])
    yield "lists of masks", around(P(**FEW, **lists, describe=places))
    crop = S.CropDescriptor(levels=2, background=S.Background.GREY, masked_weight=0.75, with_picture=True)
    ways = (S.ObjectDescriptor(clip=clip, crop=crop), S.ObjectDescriptor(dino=dino, crop=crop))
    yield "crops of prompts", asked(P(describe=ways), source=click)
    query = S.ObjectQuery(text=QUERY, negative_text=AGAINST)
    pooled = (S.ObjectDescriptor(clip=clip, pooled=S.PooledDescriptor()),)
    F = S.FindObjectsParams
    # Of one object it is sure which is the best.
    yield "found among prompts", asked(F(describe=pooled, ret_text_map=True), query=query, source=click)
    vectors = np.random.default_rng(0).normal(0, 1, (2, CLIP_CHANNELS)).astype(np.float32)
    tensor = S.Tensor(dtype=S.DType.FLOAT32, shape=vectors.shape, data=vectors.tobytes())
    by_vectors = F(describe=pooled, min_score=-1)
    yield "found by vectors", around(by_vectors, query=S.ObjectQuery(vectors=tensor), source=click)
    # Scores of several are near each other, and precisions put them in other orders.
    yield "found", around(F(**FEW, describe=pooled, max_matches=1, max_overlap=1), query=query)
    peaks = F(search="peaks", describe=pooled, max_peaks=1, max_matches=1, ret_text_map=True)
    yield "found by peaks", around(peaks, query=S.ObjectQuery(text=QUERY[:1]))


CASES: dict[str, Case] = {
    f"{family} {name}": case
    for family, cases in (("clip", _clip()), ("dino", _dino()), ("sam2", _sam2()), ("object", _objects()))
    for name, case in cases
}


def asked_in(precision: Precision, cases: Mapping[str, Case] = CASES) -> dict[str, Case]:
    """Those cases that are meant for a precision."""
    return {name: case for name, case in cases.items() if precision == "fp32" or not case.is_around}
