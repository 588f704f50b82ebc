"""The operations about objects: masks from SAM2 or the caller, vectors from CLIP and DINO, in one job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import torch
from torch import Tensor

from featsvc.engines.answers.limits import check_json, check_reply, label_bytes
from featsvc.engines.answers.mask_encoding import nbytes
from featsvc.engines.answers.rounding import Narrowed, array_of, in_order, narrowed, rounding_of
from featsvc.engines.clip.text import TextCache
from featsvc.engines.decoding.pictures import decoded
from featsvc.engines.decoding.reading import Decoded
from featsvc.engines.objects.describing import Describing, check_crops, describing, of_whole_boxes
from featsvc.engines.objects.finding import Query, fitting, query_of, text_map
from featsvc.engines.objects.overlaps import nestings
from featsvc.engines.objects.peaks import Peaks, check_way
from featsvc.engines.objects.sources import (
    Found,
    Given,
    Source,
    automatic,
    given_masks,
    mask_params,
    prompted,
)
from featsvc.engines.running.family import AnyComputation, Computation, Loaded, Prepared, Together, alone
from featsvc.engines.running.homeward import Later, when_home
from featsvc.engines.sam2.mask_list import MaskWriter
from featsvc.engines.sam2.model import Sam2Model
from featsvc.engines.sam2.view import EmbeddingCache, RequestPicture
from featsvc.v1.schema import (
    DescribeObjectsParams,
    FeatureDType,
    FindObjectsParams,
    ObjectSearch,
    ObjectSource,
)
from featsvc.work.item import FindItem, ObjectItem, PictureItem, Way
from featsvc.work.objects import ObjectsParams, are_given, descriptors_of
from featsvc.work.operations import DESCRIBE_OBJECTS, FIND_OBJECTS
from featsvc.work.options import EngineOptions
from featsvc.work.results import (
    DescribedObject,
    HeightWidth,
    LabelMap,
    Mask,
    ObjectList,
    ObjectsFound,
    ObjectVectors,
)

FEWER = "fewer objects or descriptors, or a smaller descriptor_dtype make it fit"


@dataclass(frozen=True)
class PreparedObjects(Prepared):
    """A picture, where its masks come from, and what describes them."""

    source: Source | Peaks
    described: tuple[Describing, ...]
    size: HeightWidth
    options: EngineOptions
    way: Way


@dataclass(frozen=True)
class PreparedFind(PreparedObjects):
    """The same, and what is looked for."""

    query: Query


@dataclass(frozen=True)
class ObjectPicture:
    """The picture of one request, decoded once for all models."""

    item: PictureItem
    picture: Decoded
    request: RequestPicture | None
    """As SAM2 is asked about it, where it is."""
    models: Sequence[Loaded]
    """Those that describe, in the order of the request: of each way one, or with its proxy two."""
    options: EngineOptions

    @classmethod
    def of(
        cls, cache: EmbeddingCache, item: ObjectItem, asks_sam2: bool, loaded: Loaded, options: EngineOptions
    ) -> ObjectPicture:
        """The picture of an item; SAM2 is the first of the models where it is asked."""
        models = loaded.models if isinstance(loaded, Together) else (loaded,)
        plain = PictureItem(item.image, item.digest, item.orientation)
        if not asks_sam2:
            return cls(plain, decoded(plain, options), None, models, options)
        sam2, *others = models
        if not isinstance(sam2, Sam2Model):
            raise TypeError(f"{type(sam2).__name__} makes no masks")
        request = RequestPicture(cache, plain, sam2, options)
        return cls(plain, request.picture, request, others, options)

    @property
    def size(self) -> HeightWidth:
        """Height and width."""
        return self.picture.pixels.height, self.picture.pixels.width

    def described(self, source: ObjectSource, params: ObjectsParams) -> tuple[Describing, ...]:
        """Each way to describe with its model."""
        ways = descriptors_of(params)
        if source.boxes:
            ways = tuple(map(of_whole_boxes, ways))
        return describing(ways, self.models, self.picture.pixels, self.options)

    def source(self, source: ObjectSource, params: ObjectsParams) -> Source:
        """Where the masks come from."""
        if self.request is None:
            return given_masks(source, self.size, self.options)
        return prompted(self.request, source, params) if source.prompts else automatic(self.request, params)


def prepare(
    cache: EmbeddingCache,
    item: ObjectItem,
    params: DescribeObjectsParams,
    loaded: Loaded,
    options: EngineOptions,
) -> PreparedObjects:
    """Decodes and checks; the parameters are those in force, without a preset behind them."""
    source = item.source or ObjectSource()
    picture = ObjectPicture.of(cache, item, not are_given(source), loaded, options)
    described = picture.described(source, params)
    masks = picture.source(source, params)
    return PreparedObjects(
        alone(),
        _pixels(masks, described),
        _flop(masks, described, options),
        masks,
        described,
        picture.size,
        options,
        item.way,
        orientation=picture.picture.orientation,
    )


def prepare_search(
    cache: EmbeddingCache,
    texts: TextCache,
    item: FindItem,
    params: FindObjectsParams,
    loaded: Loaded,
    options: EngineOptions,
) -> PreparedFind:
    """The same, with what is looked for."""
    source = item.source or ObjectSource()
    searches_peaks = params.search is ObjectSearch.PEAKS
    picture = ObjectPicture.of(cache, item, searches_peaks or not are_given(source), loaded, options)
    described = picture.described(source, params)
    query = query_of(item.query, params, described, options, texts)
    masks: Source | Peaks
    if searches_peaks and picture.request is not None:
        masks = Peaks(picture.request, check_way(described[0]), params, query.count)
    else:
        masks = picture.source(source, params)
    return PreparedFind(
        alone(),
        _pixels(masks, described),
        _flop(masks, described, options) + query.flop,
        masks,
        described,
        picture.size,
        options,
        item.way,
        query,
        orientation=picture.picture.orientation,
    )


def _pixels(masks: Source | Peaks, described: Sequence[Describing]) -> int:
    return masks.pixels + sum(each.pixels for each in described)


def _flop(masks: Source | Peaks, described: Sequence[Describing], options: EngineOptions) -> float:
    """What a request costs, about; refuses crops of given masks where they are too many."""
    if isinstance(masks, Given):
        check_crops(described, masks.expected, options)
    return masks.flop + sum(each.flop(masks.expected) for each in described)


def run(
    batch: list[PreparedObjects], params: DescribeObjectsParams, loaded: Loaded
) -> list[Later[ObjectList]]:
    """The objects of each picture."""
    return [_objects(item, params) for item in batch]


def _objects(item: PreparedObjects, params: DescribeObjectsParams) -> Later[ObjectList]:
    if isinstance(item.source, Peaks):
        raise TypeError("peaks are those of something that is looked for")
    found = item.source.found()
    check_crops(item.described, len(found.masks), item.options)
    dtype = params.descriptor_dtype
    vectors = [narrowed(each.vectors(found.bitmaps), dtype) for each in item.described]
    coming = _coming(vectors, [each.network.key for each in item.described], dtype)
    # While a GPU still makes the vectors.
    vector_bytes = sum(each.values.nbytes for each in vectors)
    objects, label_map = _written(found, item, params, vector_bytes)
    check_json(vector_bytes, item.way, FEWER)
    # Not the item, whose maps and networks would be held until the answer is written.
    size = item.size
    return coming.then(lambda vectors: ObjectList(objects, vectors, *size, label_map))


def _coming(
    vectors: Sequence[Narrowed], models: Sequence[str], dtype: FeatureDType
) -> Later[tuple[ObjectVectors, ...]]:
    """All objects by each descriptor, in the element type of the answer, on their way home."""
    kinds = [(each.values.dtype, len(each.beside)) for each in vectors]

    def made(*home: Tensor) -> tuple[ObjectVectors, ...]:
        left = iter(home)
        return tuple(
            ObjectVectors(array_of(next(left), kind), model, dtype, rounding_of(*islice(left, beside)))
            for model, (kind, beside) in zip(models, kinds, strict=True)
        )

    return when_home(made, *(part for each in vectors for part in (in_order(each.values), *each.beside)))


def run_search(
    texts: TextCache, batch: list[PreparedFind], params: FindObjectsParams, loaded: Loaded
) -> list[ObjectsFound]:
    """What fits in each picture."""
    return [_fitting(item, params, texts) for item in batch]


def _fitting(item: PreparedFind, params: FindObjectsParams, texts: TextCache) -> ObjectsFound:
    ways = item.described
    sought = item.query.sought(texts, ways[0].network.device)
    every = item.source.found(sought) if isinstance(item.source, Peaks) else item.source.found()
    check_crops(ways, len(every.masks), item.options)
    vectors = [way.vectors(every.bitmaps).to(sought.device) for way in ways]
    scores = sought.scores(vectors, params.relevancy_scale)
    fits = fitting(scores, every.shared, params)
    found = every.at(torch.from_numpy(fits.chosen))
    if params.ret_text_map:
        check_json(label_bytes(*item.size), item.way, "ret_text_map false or a smaller picture makes it fit")
    labels = text_map(fits.found, found.bitmaps) if params.ret_text_map else None
    objects, label_map = _written(found, item, params, 0 if labels is None else labels.nbytes)
    models = tuple(way.network.key for way in ways)
    return ObjectsFound(objects, fits.found, models, *item.size, label_map, labels)


def _written(
    found: Found, item: PreparedObjects, params: ObjectsParams, other_bytes: int
) -> tuple[tuple[DescribedObject, ...], LabelMap | None]:
    """The objects in the form of the answer, which has so many bytes beside them; raises where it is too large."""
    listed = MaskWriter(item.size, mask_params(params), item.options, item.way).mask_list(found.masks)
    map_bytes = 0 if listed.label_map is None else listed.label_map.nbytes
    mask_bytes = sum(nbytes(each.segmentation) for each in listed.masks)
    check_reply(mask_bytes + map_bytes + other_bytes, item.options, FEWER, item.way)
    around = nestings(found.shared, params.containment, found.granularities)
    lists = found.granularities or (None,) * len(around)
    masks = listed.masks if found.have_points else tuple(map(_without_points, listed.masks))
    objects = zip(masks, around, lists, strict=True)
    return tuple(DescribedObject(mask, *nesting, own) for mask, nesting, own in objects), listed.label_map


def _without_points(mask: Mask) -> Mask:
    """A mask that no point of a grid has given."""
    return replace(mask, point_coords=())


def computations(embeddings: EmbeddingCache, texts: TextCache) -> tuple[AnyComputation, ...]:
    """All over the caches of SAM2's embeddings and of CLIP's texts."""
    return (
        Computation(DESCRIBE_OBJECTS, partial(prepare, embeddings), run),
        Computation(FIND_OBJECTS, partial(prepare_search, embeddings, texts), partial(run_search, texts)),
    )
