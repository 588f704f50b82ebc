"""Every setting of the server, with its default: a flag, a FEATSVC_… variable and a TOML key of the same name."""

from __future__ import annotations

import ast
import inspect
import os
from dataclasses import dataclass, fields

from featsvc.engines.options import Precision

MIB = 1024 * 1024
GIB = 1024 * MIB
DEFAULT_KEY = "smfeats"


@dataclass(frozen=True)
class Settings:
    """All settings. Sizes are in bytes and may be written as 512MiB or 8GiB; lists are separated by commas."""

    profile: str = "default"
    """Which models answer where a request names none: `default` (as documented) or `demo`."""
    host: str = "127.0.0.1"
    """Address to listen on; anything but loopback needs an API key of your own."""
    grpc_port: int = 50051
    """Port of the gRPC server; 0 takes a free one."""
    clip_port: int = 8096
    """REST port of CLIP."""
    dino_port: int = 8097
    """REST port of DINO."""
    sam2_port: int = 8098
    """REST port of SAM2."""
    api_key: tuple[str, ...] = (DEFAULT_KEY,)
    """Keys that callers may use, separated by commas."""
    api_key_file: str = ""
    """File of further keys, one a line; only these count where api_key is left at its default."""
    log_level: str = "info"
    """Debug, info, warning or error."""
    devices: str = "auto"
    """Auto, or a list such as cpu, cpu:2 (two workers) or cuda:0,cuda:1."""
    workers_per_device: int = 1
    """Worker processes on each device."""
    threads: int = 0
    """Compute threads of a worker; 0 shares the cores out."""
    weights_dir: str = ""
    """Folder of weight files under their publishers' names."""
    offline: bool = False
    """Never download weights."""
    preload: tuple[str, ...] = ()
    """Models that every worker loads at the start."""
    model_memory: int = 8 * GIB
    """Bytes of models that one worker keeps; 0 sets no limit."""
    max_models: int = 8
    """Models that one worker keeps; 0 sets no limit."""
    precision: Precision = "fp32"
    """Type of the weights and of most arithmetic: fp32, bf16 or fp16; answers are float32 all the same."""
    compile: bool = False
    """Compile the networks before the first request: a slower start, faster answers on a GPU. On a CPU answers of CLIP
    and DINO are slower with it, those of SAM2 few percent faster; of that it compiles the encoder's blocks and the
    upscaling of masks, which are then no longer those of sam2 to the last bit."""
    embedding_cache: int = 1 * GIB
    """Bytes of encoded pictures that one worker keeps for further SAM2 prompts; 0 keeps none."""
    text_cache: int = 64 * MIB
    """Bytes of text embeddings that one worker keeps; 0 keeps none."""
    image_cache: int = 256 * MIB
    """Bytes of pictures that the server keeps for questions by digest; 0 keeps none."""
    image_cache_per_key: int = 64 * MIB
    """Bytes of those pictures that one API key may have; 0 keeps none."""
    max_concurrency: int = 4
    """Batches of one service at the workers at once; requests that share a batch count once."""
    max_batch: int = 8
    """Most requests in one batch."""
    max_queue: int = 256
    """Most requests that wait; more are refused at once."""
    max_queue_bytes: int = 512 * MIB
    """Most bytes of requests that wait."""
    max_calls: int = 1024
    """Most calls open at once, waiting ones included."""
    request_timeout: float = 300.0
    """Seconds that a request may take where the caller sets no deadline."""
    batch_timeout: float = 300.0
    """Seconds after which a computing batch counts as hung and its worker is replaced."""
    grace: float = 20.0
    """Seconds that running requests have at shutdown."""
    max_image_bytes: int = 32 * MIB
    """Most bytes of an encoded picture."""
    max_image_pixels: int = 50_000_000
    """Most pixels of a picture, checked before it is decoded."""
    image_formats: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM")
    """Formats that are decoded, by Pillow's names."""
    max_request_bytes: int = 64 * MIB
    """Most bytes of one request message."""
    max_reply_bytes: int = 64 * MIB
    """Most bytes of one reply message: gRPC holds up all other calls while it takes one over."""
    max_chunked_bytes: int = 2 * GIB
    """Most bytes of one reply in pieces."""
    max_open_per_stream: int = 16
    """Questions of one stream at work at once; further ones are not read until one of these is answered."""
    max_cells: int = 65536
    """Most cells of a feature grid."""
    max_points: int = 65536
    """Most points of one automatic mask request, all crops together."""
    max_mask_bytes: int = 2 * GIB
    """Most bytes of masks that one request holds in memory, one byte a pixel."""
    max_feature_bytes: int = 512 * MIB
    """Most bytes of features that principal components are taken of."""
    max_word_letters: int = 128
    """Most letters of one word of a text: longer ones take very long to make tokens of."""
    max_pca_side: int = 4096
    """Largest matrix that principal components are taken of, in rows."""
    url: bool = True
    """Fetch pictures by address (--no-url turns it off)."""
    url_allow: tuple[str, ...] = ()
    """Hosts and networks that picture addresses may name although they are not public."""
    url_timeout: float = 10.0
    """Seconds for fetching a picture, all redirects together."""
    url_max_redirects: int = 3
    """Most redirects on the way to a picture."""
    rest_workers: int = 1
    """Processes of the REST shim."""
    cors_origins: tuple[str, ...] = ("*",)
    """Origins that browsers may call the REST ports from."""


def names() -> tuple[str, ...]:
    """All settings, in order."""
    return tuple(each.name for each in fields(Settings))


def descriptions() -> dict[str, str]:
    """What each setting means: the text that stands below it."""
    body = ast.parse(inspect.getsource(Settings)).body[0]
    texts: dict[str, str] = {}
    name = ""
    for node in body.body if isinstance(body, ast.ClassDef) else ():
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and name:
            texts[name] = str(node.value.value)
    return texts


def environment() -> dict[str, str]:
    """The FEATSVC_… variables of this process; nothing else reads the environment."""
    return {name: value for name, value in os.environ.items() if name.startswith("FEATSVC_")}


def child_environment(**more: str) -> dict[str, str]:
    """The environment of this process for a child of it, with a few variables more."""
    return {**os.environ, **more}


def visible_gpus() -> str | None:
    """CUDA's own variable that hides GPUs from programs; None where it is not set."""
    return os.environ.get("CUDA_VISIBLE_DEVICES")
