"""What the cases ask: every rpc, element type, encoding of masks and kind of error."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
from featsvc_client.conformance.cases import OFFLINE, Case, Question

from featsvc.v1 import schema
from tests.conformance.requests import (
    AROUND_SQUARE,
    BLACKENED,
    BOXES,
    CLIP,
    CROPPED,
    DEMO_CLIP,
    DEMO_SAM2,
    DINO,
    FEATURE_DTYPES,
    GREY,
    MASK_ENCODINGS,
    MODEL,
    NOBODY,
    OBJECT,
    ON_CIRCLE,
    POOLED,
    SAM2,
    SCENE,
    SMALL,
    Json,
    automatic,
    clip,
    described,
    dino,
    prompted,
    pyramid,
    sought,
)
from tests.parts import parts


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _features()
    yield from _pyramids()
    yield from _texts()
    yield from _prompts()
    yield from _automatic()
    yield from _objects()
    yield from _models()
    yield from _errors()
    yield from _model_errors()


def one(name: str, rpc: str, request: Json, needs: str = "", **more: Any) -> Case:
    """A case of one question."""
    return Case(name, rpc, (Question("", request),), needs, **more)


def _features() -> Iterator[Case]:
    for family, rpc, ask in (("clip", CLIP, clip), ("dino", DINO, dino)):
        for dtype in FEATURE_DTYPES:
            request = ask(dtype=f"FEATURE_D_TYPE_{dtype}")
            for way in ("", "Chunked"):
                yield one(
                    f"{family} {dtype.lower()}{way and ' chunked'}",
                    f"{rpc}/ExtractFeatures{way}",
                    request,
                    f"demo-{family}",
                )
        channels_first = ask(dtype="FEATURE_D_TYPE_INT8", tensor_format="TENSOR_FORMAT_CHW")
        yield one(f"{family} int8 CHW", f"{rpc}/ExtractFeatures", channels_first, f"demo-{family}")
        points = ask(points=[{"x": 24, "y": 32}, {"x": 70.5, "y": 30.25}])
        yield one(f"{family} points", f"{rpc}/ExtractFeatures", points, f"demo-{family}")
        region = ask(region={"x0": 50, "y0": 10, "x1": 90, "y1": 50})
        yield one(f"{family} region", f"{rpc}/ExtractFeatures", region, f"demo-{family}")
        # Different options, so that no two share a batch, which may change last bits.
        many = (ask(), ask(GREY), ask(load_size=0), ask(ret_pca=True), ask({"digest": NOBODY}))
        names = ("plain", "grey", "bad size", "components", "unknown picture")
        questions = tuple(map(Question, names, many))
        rpc_of_stream = f"{rpc}/ExtractFeaturesStream"
        yield Case(f"{family} stream", rpc_of_stream, questions, f"demo-{family}")
        if family == "dino":
            yield Case("dino slow source", rpc_of_stream, questions, "demo-dino", timeout_s=60, paced=True)
    for dtype in FEATURE_DTYPES:
        large = dino(load_size=154, bin=True, dtype=f"FEATURE_D_TYPE_{dtype}")
        name = f"dino {dtype.lower()} in several pieces"
        yield one(name, f"{DINO}/ExtractFeaturesChunked", large, "demo-dino")
    keys = dino(facet="FACET_KEY", layer=2, stride=7)
    yield one("dino keys", f"{DINO}/ExtractFeatures", keys, "demo-dino")
    pixels = clip(ret_pca=True, ret_patches=False, interpolation_mode="INTERPOLATION_MODE_BICUBIC")
    yield one("clip colours of pixels", f"{CLIP}/ExtractFeatures", pixels, "demo-clip")
    foreground = dino(ret_pca=True, pca_foreground=True)
    yield one("dino colours of the foreground", f"{DINO}/ExtractFeatures", foreground, "demo-dino")
    for recipe in ("SCLIP", "CLEARCLIP", "NACLIP"):
        request = clip(dense_recipe=f"DENSE_RECIPE_{recipe}", window_size=48, window_stride=16)
        yield one(f"clip {recipe.lower()} in windows", f"{CLIP}/ExtractFeatures", request, "demo-clip")
    by_dino = clip(dense_recipe="DENSE_RECIPE_PROXYCLIP", proxy_model="demo-dino")
    yield one("clip proxyclip", f"{CLIP}/ExtractFeatures", by_dino, "demo-clip")


def _pyramids() -> Iterator[Case]:
    rpc = f"{CLIP}/EmbedPyramid"
    for dtype in FEATURE_DTYPES:
        request = pyramid(pyramid_dtype=f"FEATURE_D_TYPE_{dtype}")
        yield one(f"pyramid {dtype.lower()}", rpc, request, "demo-clip")
    at = {"scaled_points": [{"x": 24, "y": 32, "scale": 0.4}, {"x": 70.5, "y": 30.25, "scale": 0.77}]}
    yield one("pyramid points", rpc, pyramid(**at), "demo-clip")
    grid = {"scaled_grid": {"width": 64, "height": 48, "scales": [0.4, 0.9]}}
    for dtype in ("FLOAT32", "INT8"):
        request = pyramid(**grid, pyramid_dtype=f"FEATURE_D_TYPE_{dtype}")
        yield one(f"pyramid grid {dtype.lower()} in several pieces", f"{rpc}Chunked", request, "demo-clip")
    questions = (
        Question("tiles", pyramid()),
        Question("points", pyramid(**at)),
        Question("no such scale", pyramid(scaled_points=[{"x": 24, "y": 32, "scale": 0.1}])),
        Question("points and grid", pyramid(**at, **grid)),
    )
    yield Case("pyramid stream", f"{rpc}Stream", questions, "demo-clip")


def _texts() -> Iterator[Case]:
    texts = {"text": ["a red circle", "a blue square", "ein Bär, 熊"]}
    encode = {"texts": texts, "model": DEMO_CLIP}
    yield one("texts", f"{CLIP}/EncodeText", encode, "demo-clip")
    for name, wording in (
        ("texts in templates", {"templates": ["a drawing of {}.", "{}, twice"]}),
        ("texts in named templates", {"template_set": "TEMPLATE_SET_SIMPLE"}),
    ):
        yield one(name, f"{CLIP}/EncodeText", {**encode, "wording": wording}, "demo-clip")
    image = {"image": SCENE, "model": DEMO_CLIP}
    yield one("picture", f"{CLIP}/EncodeImage", image, "demo-clip")
    for name, query in (
        ("similarity", {"text": ["a red circle"]}),
        ("similarity of two texts", {"text": ["a red circle", "a blue square"]}),
        ("similarity with negatives", {"text": ["a red circle"], "negative_text": ["a blue square"]}),
    ):
        request = {**clip(), "query": query, "similarity": {"softmax": 0}}
        yield one(name, f"{CLIP}/ComputeSimilarity", request, "demo-clip")


def _prompts() -> Iterator[Case]:
    rpc = f"{SAM2}/PredictMasks"
    for encoding in MASK_ENCODINGS:
        request = prompted(ON_CIRCLE, AROUND_SQUARE, mask_encoding=f"MASK_ENCODING_{encoding}")
        yield one(f"prompts {encoding.lower()}", rpc, request, "demo-sam2")
    yield one("prompts logits", rpc, prompted(ON_CIRCLE, return_logits=True), "demo-sam2")
    single = prompted(AROUND_SQUARE, multimask_output=False, return_low_res=False)
    yield one("prompts one mask", rpc, single, "demo-sam2")
    yield one("prompts none", rpc, prompted(), "demo-sam2")
    earlier = np.where(np.hypot(*np.indices((64, 64)) - 32) < 16, 8, -8).astype("<f4")
    tensor = {"dtype": "D_TYPE_FLOAT32", "shape": [1, 64, 64], "data": _base64(earlier)}
    yield one("prompts earlier mask", rpc, prompted({"mask_input": tensor}), "demo-sam2")
    questions = (
        Question("point", prompted(ON_CIRCLE)),
        Question("box", prompted(AROUND_SQUARE, multimask_output=False)),
        Question("grey", prompted(image=GREY, mask_encoding="MASK_ENCODING_COCO_RLE")),
        Question("bad labels", prompted({**ON_CIRCLE, "point_labels": [1, 0]})),
    )
    yield Case("prompts stream", f"{SAM2}/PredictMasksStream", questions, "demo-sam2")
    embed = {"image": SCENE, "model": DEMO_SAM2}
    yield one("embed", f"{SAM2}/EmbedImage", embed, "demo-sam2")
    for dtype in ("FLOAT32", "FLOAT16"):
        itself = {**embed, "embedding": {"ret_embedding": True, "embedding_dtype": f"FEATURE_D_TYPE_{dtype}"}}
        yield one(f"embedding {dtype.lower()}", f"{SAM2}/EmbedImage", itself, "demo-sam2")


def _automatic() -> Iterator[Case]:
    for way in ("", "Stream"):
        rpc, suffix = f"{SAM2}/GenerateMasks{way}", way and " stream"
        for encoding in MASK_ENCODINGS:
            request = automatic(mask_encoding=f"MASK_ENCODING_{encoding}")
            yield one(f"automatic {encoding.lower()}{suffix}", rpc, request, "demo-sam2")
        for mode in ("UNCOMPRESSED_RLE", "COCO_RLE"):
            request = automatic(output_mode=f"OUTPUT_MODE_{mode}")
            yield one(f"automatic mode {mode.lower()}{suffix}", rpc, request, "demo-sam2")


def _objects() -> Iterator[Case]:
    describe, find = f"{OBJECT}/DescribeObjects", f"{OBJECT}/FindObjects"
    both = {"describe": [POOLED, CROPPED]}
    for dtype in FEATURE_DTYPES:
        request = described(descriptor_dtype=f"FEATURE_D_TYPE_{dtype}", **both)
        yield one(f"objects {dtype.lower()}", describe, request, "demo-sam2")
    mapped = described(mask_encoding="MASK_ENCODING_LABEL_MAP", **both)
    yield one("objects label map", describe, mapped, "demo-sam2")
    questions = (
        Question("automatic", described(**both)),
        Question("boxes", described(BOXES, describe=[BLACKENED], mask_encoding="MASK_ENCODING_BITS")),
        Question("prompts", described({"prompts": [ON_CIRCLE, AROUND_SQUARE]}, describe=[CROPPED])),
        Question("two sources", described({**BOXES, "prompts": [ON_CIRCLE]})),
    )
    yield Case("objects stream", f"{describe}Stream", questions, "demo-sam2")
    texts = ("a red circle", "a blue square")
    yield one("found", find, sought(*texts, ret_text_map=True), "demo-sam2")
    png = sought("a blue square", max_matches=1, mask_encoding="MASK_ENCODING_PNG")
    yield one("found one", find, png, "demo-sam2")
    peaks = {"search": "OBJECT_SEARCH_PEAKS", "describe": [POOLED], "max_peaks": 1}
    questions = (
        Question("masks", sought(*texts, mask_encoding="MASK_ENCODING_LABEL_MAP")),
        Question("peaks", sought("a red circle", **peaks)),
        Question("nothing", sought("a red circle", min_score=1)),
        Question("two ways", sought("a red circle", **both)),
    )
    yield Case("found stream", f"{find}Stream", questions, "demo-sam2")


def _models() -> Iterator[Case]:
    yield one("caller", f"{MODEL}/GetCaller", {})
    yield one("models", f"{MODEL}/ListModels", {"available_only": True})
    yield one("status", f"{MODEL}/GetStatus", {})
    for name in ("Load", "Unload"):
        yield one(f"{name.lower()} model", f"{MODEL}/{name}Model", {"key": "demo-dino"}, "demo-dino")


def _errors() -> Iterator[Case]:
    """What is refused before any model is asked, by every server alike."""
    for family, rpc, path in (("clip", CLIP, "ExtractFeatures"), ("dino", DINO, "ExtractFeatures")):
        for way in ("", "Chunked"):
            request = {"image": SCENE, "params": {"load_size": 9000}}
            yield one(f"{family} size{way and ' chunked'} too large", f"{rpc}/{path}{way}", request)
        yield one(f"{family} without a picture", f"{rpc}/{path}", {"params": SMALL})
        contradiction = {
            "image": SCENE,
            "features": {"points": [{"x": 1, "y": 1}], "region": {"x0": 0, "y0": 0, "x1": 9, "y1": 9}},
        }
        yield one(f"{family} points and region", f"{rpc}/{path}", contradiction)
    two = {"image": SCENE, "params": {"load_size": 9000}, "features": {"pca_q_min": 2}}
    yield one("two bad fields", f"{CLIP}/ExtractFeatures", two)
    unknown = {"image": SCENE, "grid": {"padding_mode": 77}}
    yield one("unknown enum value", f"{CLIP}/ExtractFeatures", unknown)
    no_proxy = {"image": SCENE, "params": {"dense_recipe": "DENSE_RECIPE_PROXYCLIP"}}
    yield one("proxyclip without a proxy", f"{CLIP}/ExtractFeatures", no_proxy)
    yield one("no texts", f"{CLIP}/EncodeText", {"texts": {}})
    yield one("too long a text", f"{CLIP}/EncodeText", {"texts": {"text": ["a" * 5000]}})
    components = {"image": SCENE, "query": {"text": ["a"]}, "similarity": {"ret_pca": True}}
    yield one("components of a map", f"{CLIP}/ComputeSimilarity", components)
    yield one("stride 0", f"{DINO}/ExtractFeatures", {"image": SCENE, "params": {"stride": 0}})
    inverted = {"image": SCENE, "prompts": [{}, {"box": {"x0": 9, "y0": 9, "x1": 3, "y1": 3}}]}
    yield one("second box inverted", f"{SAM2}/PredictMasks", inverted)
    grid = {"image": SCENE, "params": {"points_per_side": 0}}
    yield one("no points per side", f"{SAM2}/GenerateMasks", grid)
    yield one("no points per side stream", f"{SAM2}/GenerateMasksStream", grid)
    both = {"output_mode": "OUTPUT_MODE_COCO_RLE", "mask_encoding": "MASK_ENCODING_PNG"}
    two = {"image": SCENE, **parts(schema.GenerateMasksParams, both)}
    yield one("two ways to write masks", f"{SAM2}/GenerateMasks", two)
    yield one("nothing to find", f"{OBJECT}/FindObjects", {"image": SCENE, "query": {}})
    yield one("unknown digest", f"{SAM2}/EmbedImage", {"image": {"digest": NOBODY}})
    yield one("no digest", f"{SAM2}/EmbedImage", {"image": {"digest": "sha256:no"}})
    yield one("a picture's address of a file", f"{CLIP}/EncodeImage", {"image": {"url": "file:///picture"}})
    yield one("unknown model", f"{MODEL}/LoadModel", {"key": "no-such-model"})
    yield one("no model", f"{MODEL}/UnloadModel", {})
    yield one("wrong key", f"{MODEL}/ListModels", {}, api_key="not the key")
    yield one("status without a key", f"{MODEL}/GetStatus", {}, api_key="not the key")
    both = (Question("a", {"image": SCENE, "params": {"load_size": 0}}), Question("b", {}))
    yield Case("stream of bad questions", f"{DINO}/ExtractFeaturesStream", both)
    yield Case("stream with a wrong key", f"{DINO}/ExtractFeaturesStream", both, api_key="not the key")


def _model_errors() -> Iterator[Case]:
    unknown = {"image": SCENE, "model": {"model_type": "dino_vits99"}}
    yield one("unknown network", f"{DINO}/ExtractFeatures", unknown)
    missing = {"image": SCENE, "model": {"model_type": "dinov2_vitg14_reg"}}
    yield one("weights missing", f"{DINO}/ExtractFeatures", missing, OFFLINE)
    no_picture = {"content": _base64(np.arange(64, dtype=np.uint8))}
    yield one("no picture file", f"{DINO}/ExtractFeatures", dino(no_picture), "demo-dino")
    outside = dino(points=[{"x": 1, "y": 1}, {"x": 96, "y": 1}])
    yield one("point outside", f"{DINO}/ExtractFeatures", outside, "demo-dino")
    huge = clip(ret_patches=False, load_size=1024)
    yield one("reply too large", f"{CLIP}/ExtractFeatures", huge, "demo-clip")
    late = dino(load_size=700)
    yield one("deadline", f"{DINO}/ExtractFeatures", late, "demo-dino", timeout_s=0.001)


def _base64(array: np.ndarray[Any, Any]) -> str:
    return base64.b64encode(array.tobytes()).decode()
