"""The CLIP operations: dense features, text and picture embeddings, similarity."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from PIL.Image import Image
from torch import Tensor

from featsvc.catalog import ClipEntry
from featsvc.engines.answers.dense import PreparedFeatures, features_of, prepared_features
from featsvc.engines.answers.feature_size import check_axes
from featsvc.engines.answers.joint_basis import BasisCache
from featsvc.engines.answers.limits import check_json, check_reply, float_bytes
from featsvc.engines.clip import model as clip_model
from featsvc.engines.clip import pyramids
from featsvc.engines.clip.dense import dense_features
from featsvc.engines.clip.dense import embedded as embeddings_of
from featsvc.engines.clip.dense_pass import DensePass
from featsvc.engines.clip.graphs import with_graphs
from featsvc.engines.clip.model import ClipModel
from featsvc.engines.clip.pyramids import PyramidCache
from featsvc.engines.clip.similarity import probability_maps, similarity_maps
from featsvc.engines.clip.text import TextCache, Words, checked_words, embedded, text_features
from featsvc.engines.decoding.pictures import decoded
from featsvc.engines.decoding.reading import FIELD
from featsvc.engines.geometry.sizing import NetworkInput
from featsvc.engines.networks.compiled import is_slow_at_first, warmed
from featsvc.engines.networks.graphs import has_graphs
from featsvc.engines.running.colours import Seen
from featsvc.engines.running.family import (
    Computation,
    FamilyEngines,
    Loaded,
    Prepared,
    picture_key,
)
from featsvc.engines.running.homeward import Later, all_of, each_home, when_home
from featsvc.engines.running.transfer import on_device
from featsvc.errors import invalid_field
from featsvc.v1.schema import (
    ClipExtractFeaturesParams,
    ComputeSimilarityParams,
    EncodeImageParams,
    EncodeTextParams,
)
from featsvc.work.item import FeaturesItem, PictureItem, QueryItem, TextItem
from featsvc.work.operations import COMPUTE_SIMILARITY, EMBED_PYRAMID, ENCODE_IMAGE, ENCODE_TEXT, EXTRACT_CLIP
from featsvc.work.options import EngineOptions
from featsvc.work.results import Features, Floats, ImageEmbedding, Similarity, TextEmbeddings


@dataclass(frozen=True)
class PreparedQuery(Prepared):
    """A picture for the dense path, and the texts of a similarity, positive ones first."""

    input: NetworkInput
    words: Words
    positives: int


@dataclass(frozen=True)
class PreparedTexts(Prepared):
    """Texts to embed."""

    words: Words


@dataclass(frozen=True)
class PreparedEmbed(Prepared):
    """A picture for the global embedding, 3 x S x S."""

    picture: Seen


def prepare_features(
    bases: BasisCache,
    item: FeaturesItem,
    params: ClipExtractFeaturesParams,
    loaded: Loaded,
    options: EngineOptions,
) -> PreparedFeatures:
    """Decodes and fits the picture."""
    return prepared_features(bases, item, params, DensePass.of(loaded, params), options)


def run_features(
    batch: list[PreparedFeatures], params: ClipExtractFeaturesParams, loaded: Loaded
) -> list[Later[Features]]:
    """Dense features of pictures of one size."""
    return features_of(batch, params, DensePass.of(loaded, params))


def prepare_text(
    cache: TextCache, item: TextItem, params: EncodeTextParams, loaded: ClipModel, options: EngineOptions
) -> PreparedTexts:
    """Tokenizes the texts that are new."""
    check_reply(float_bytes((len(item.texts.text), loaded.channels)), options, "send fewer texts at once")
    sought = checked_words({"texts.text": item.texts.text}, params, loaded, options, cache)
    flop = sought.flop(loaded)
    # A token of text takes memory like a patch of a picture.
    return PreparedTexts("texts", sum(sought.lengths) * loaded.patch_size**2, flop, sought)


def run_text(
    cache: TextCache, batch: list[PreparedTexts], params: EncodeTextParams, loaded: ClipModel
) -> list[TextEmbeddings]:
    """Embeddings of the texts of all items, computed together."""
    return [TextEmbeddings(each) for each in embedded([item.words for item in batch], loaded, cache)]


def prepare_similarity(
    cache: TextCache,
    item: QueryItem,
    params: ComputeSimilarityParams,
    loaded: Loaded,
    options: EngineOptions,
) -> PreparedQuery:
    """Decodes and fits the picture, tokenizes the texts that are new."""
    if params.ret_pca:
        message = "a similarity map has no principal components; ask ExtractFeatures (/extract) for them"
        raise invalid_field("params.ret_pca", message)
    picture, dense = decoded(item, options), DensePass.of(loaded, params)
    geometry, count = dense.geometry(picture.pixels, options), len(item.query.text)
    if params.ret_patches:
        nbytes = float_bytes((count, geometry.grid_height, geometry.grid_width))
    else:
        nbytes = float_bytes((count, geometry.resized_height, geometry.resized_width))
    remedy = "fewer texts, ret_patches true or a smaller load_size make it fit"
    check_reply(nbytes, options, remedy)
    check_json(nbytes, item.way, remedy)
    if item.query.negative_text and not params.ret_patches:
        check_axes(geometry, options)
    texts = {"query.text": item.query.text, "query.negative_text": item.query.negative_text}
    sought = checked_words(texts, params, dense.clip, options, cache)
    flop, ready = dense.flop(picture.pixels, options), dense.input(picture.pixels)
    key, cost = picture_key(ready.shape, options), dense.pixels(ready)
    flop += sought.flop(dense.clip)
    return PreparedQuery(key, cost, flop, ready, sought, count, orientation=picture.orientation)


def run_similarity(
    cache: TextCache, batch: list[PreparedQuery], params: ComputeSimilarityParams, loaded: Loaded
) -> list[Later[Similarity]]:
    """Heat maps of each picture's texts."""
    dense = DensePass.of(loaded, params)
    texts = embedded([item.words for item in batch], dense.clip, cache)
    outputs = dense.features([each.input for each in batch])
    return all_of(_similarity(*each, params) for each in zip(outputs, texts, batch, strict=True))


def _similarity(
    features: Tensor, texts: Floats, item: PreparedQuery, params: ComputeSimilarityParams
) -> Later[Similarity]:
    vectors = on_device(torch.from_numpy(texts), features.device)
    positive, negative = vectors[: item.positives], vectors[item.positives :]
    geometry = item.input.geometry
    if len(negative):
        maps = probability_maps(features, positive, negative, geometry, params)
    else:
        maps = similarity_maps(features, positive, geometry, params)
    single = item.positives == 1
    made = (maps[0] if single else maps).contiguous()
    return when_home(lambda home: Similarity(home.numpy(), geometry), made)


def prepare_image(
    item: PictureItem, params: EncodeImageParams, loaded: ClipModel, options: EngineOptions
) -> PreparedEmbed:
    """Decodes the picture and preprocesses it as the model's own evaluation does."""
    picture = decoded(item, options)
    _check_shape(picture.pixels, loaded, options)
    seen = loaded.eval_seen(picture.pixels)
    height, width = loaded.visual.image_size
    flop = loaded.transformer.flop(height * width // loaded.patch_size**2)
    key = picture_key((height, width), options)
    return PreparedEmbed(key, height * width, flop, seen, orientation=picture.orientation)


def _check_shape(picture: Image, loaded: ClipModel, options: EngineOptions) -> None:
    """Refuses a picture so long that bringing its shorter side to the network's size makes too many pixels."""
    side = max(loaded.visual.image_size)
    longest = side * max(picture.size) // min(picture.size)
    if longest * side > options.max_image_pixels:
        message = (
            f"{picture.width} x {picture.height} pixels become {longest} x {side} for this model, at most "
            f"{options.max_image_pixels} in all: cut the picture"
        )
        raise invalid_field(FIELD, message)


def run_image(
    batch: list[PreparedEmbed], params: EncodeImageParams, loaded: ClipModel
) -> list[Later[ImageEmbedding]]:
    """Global embeddings, 1 x D each."""
    outputs = embeddings_of([each.picture for each in batch], loaded)
    return each_home(lambda home: ImageEmbedding(home[None].numpy()), outputs)


def load(entry: ClipEntry, options: EngineOptions) -> ClipModel:
    """The model, warm, and compiled for pictures and texts if that is asked for."""
    loaded = clip_model.load(entry, options)
    if is_slow_at_first(options):
        height, width = loaded.visual.image_size
        pictures, texts = torch.zeros(2, 3, height, width), ["a photo", "two", "three"]
        tokens = loaded.tokenizer(texts).to(loaded.device)
        warmed(
            entry.key,
            (
                lambda: dense_features(loaded.visual, pictures[:1].to(loaded.device)),
                lambda: dense_features(loaded.visual, pictures.to(loaded.device)),
                lambda: text_features(loaded.network, tokens[:1]),
                lambda: text_features(loaded.network, tokens),
            ),
            options,
        )
    if has_graphs(options):
        with torch.inference_mode():
            return with_graphs(loaded)
    return loaded


def family(texts: TextCache, tiles: PyramidCache, bases: BasisCache) -> FamilyEngines:
    """The operations, all over one cache of text embeddings, one of pyramids and one of bases of several pictures."""
    return FamilyEngines(
        load,
        (
            Computation(EXTRACT_CLIP, partial(prepare_features, bases), run_features),
            Computation(ENCODE_TEXT, partial(prepare_text, texts), partial(run_text, texts)),
            Computation(
                COMPUTE_SIMILARITY, partial(prepare_similarity, texts), partial(run_similarity, texts)
            ),
            Computation(ENCODE_IMAGE, prepare_image, run_image),
            Computation(EMBED_PYRAMID, partial(pyramids.prepare, tiles), pyramids.run),
        ),
    )
