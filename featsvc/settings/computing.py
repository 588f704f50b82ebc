"""Settings of what computes: models, workers, what these keep, and the limits of their pictures and answers."""

from __future__ import annotations

from dataclasses import dataclass

from featsvc.settings.kinds import (
    GIB,
    MIB,
    AnyPrecision,
    AutoRoom,
    BasisPictures,
    Capitals,
    Common,
    Count,
    Natural,
    Patience,
    Profile,
    Room,
    Seconds,
    Size,
    Tflop,
    WordList,
)


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Weights."""

    weights_dir: Common[str] = ""
    """Folder of weight files under their publishers' names."""
    offline: bool = False
    """Never download weights."""


@dataclass(frozen=True, kw_only=True)
class Networks:
    """Networks."""

    precision: AnyPrecision = "auto"
    """Type of weights and most arithmetic; answers are float32. auto is bf16 on a GPU that has it, elsewhere fp32."""
    compile: bool = False
    """Compile networks while models are loaded, for GPUs: on a CPU most is slower then. Masks lose sam2's last bits."""
    cuda_graphs: bool = False
    """Give a GPU passes of usual shapes as graphs of CUDA, captured while models are loaded. Not tried on a GPU yet."""
    jpeg_on_gpu: bool = False
    """Decode JPEG files on a GPU, of kinds whose pixels differ little there. Not tried on a GPU yet."""


@dataclass(frozen=True, kw_only=True)
class Models:
    """Models."""

    profile: Common[Profile] = "default"
    """Which models answer where a request names none: `default` (as documented) or `demo`."""
    preload: Common[WordList] = ()
    """Models that every worker loads at the start."""
    max_models: Natural = 8
    """Models that one worker keeps; 0 sets no limit."""
    model_memory: AutoRoom = None
    """Bytes of models that one worker keeps; 0 sets no limit, auto is 8GiB, or 60 % of a GPU shared by its workers."""


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Workers."""

    devices: Common[str] = "auto"
    """Auto, or a list such as cpu, cpu:2 (two workers), cuda:0,cuda:1, or of names that `nvidia-smi -L` shows."""
    workers_per_device: Count = 1
    """Worker processes on each device."""
    threads: Natural = 0
    """Compute threads of a worker; 0 shares the cores out."""
    max_concurrency: Count = 4
    """Batches of one family (CLIP, DINO or SAM2) on one worker at once; requests that share a batch count once."""
    prepare_threads: Natural = 0
    """Threads of a worker that decode pictures; 0 is 2 beside a CPU, and a share of the cores beside a GPU."""
    slots: Natural = 0
    """Batches that a worker has at once; 0 is 2 on a CPU; on a GPU prepare_threads or max_concurrency, at least 3."""
    max_batch: Natural = 0
    """Most requests in one batch; 0 is 8 on a CPU and 32 on GPUs."""
    max_batch_pixels: Count = 16 * MIB
    """Most pixels that a network sees in one pass, but for one picture that has more; halved where memory runs out."""
    max_batch_bytes: Size = 48 * MIB
    """Most bytes of pictures in one batch, but for one that is larger alone: a worker copies them."""
    worker_template: bool = True
    """Fork workers from a process that has imported their libraries; else each imports them when it starts."""
    batch_timeout: Patience = 300.0
    """Seconds that a worker may spend on one request; after that the request is refused and the worker replaced."""
    load_timeout: Patience = 1800.0
    """Seconds that loading a model may take, a download included; after that the worker is replaced."""
    heartbeat_timeout: Patience = 30.0
    """Seconds after which a worker that gives no sign of life is replaced; one that computes does."""
    quarantine: Seconds = 600.0
    """Seconds for which a request that ended two workers, or took too long, is refused at once; 0 remembers none."""


@dataclass(frozen=True, kw_only=True)
class Caches:
    """What a worker keeps."""

    embedding_cache: Room = 1 * GIB
    """Bytes of encoded pictures that one worker keeps for further SAM2 prompts; 0 keeps none."""
    text_cache: Room = 64 * MIB
    """Bytes of text embeddings that one worker keeps; 0 keeps none."""
    pyramid_cache: Room = 256 * MIB
    """Bytes of CLIP pyramids that one worker keeps for further points of their pictures; 0 keeps none."""
    basis_cache: Room = 16 * MIB
    """Bytes of bases of components of several pictures that one worker keeps, some 40 KB each; 0 keeps none: then
    all of their pictures go through the network for each request that does not wait beside another about the same."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Pictures and answers."""

    max_image_bytes: Size = 32 * MIB
    """Most bytes of an encoded picture."""
    max_image_pixels: Count = 50_000_000
    """Most pixels of a picture, checked before it is decoded."""
    image_formats: Capitals = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM")
    """Formats that are decoded, by Pillow's names."""
    decode_timeout: Patience = 10.0
    """Seconds of processor time to decode a picture (by the clock six times); what shows more is refused at once."""
    max_reply_bytes: Size = 64 * MIB
    """Most bytes of one reply message: gRPC holds up all other calls while it takes one over."""
    max_chunked_bytes: Size = 2 * GIB
    """Most bytes of one reply in pieces."""
    max_cells: Count = 65536
    """Most cells of a feature grid: attention takes time with their square."""
    max_tflop: Tflop = 0.0
    """Most arithmetic of one picture in CLIP or DINO, in 10^12 operations; 0 is 25 on a CPU and 2000 on a GPU."""
    max_points: Count = 65536
    """Most points of one automatic mask request, all crops together."""
    max_objects: Count = 1024
    """Most objects that one request describes."""
    max_crops: Count = 4096
    """Most crops of one request: of all objects, levels and descriptors together, or all tiles of a pyramid."""
    max_mask_bytes: Size = 2 * GIB
    """Most bytes of masks that one request holds in memory, one byte a pixel: eight times what a message has."""
    max_feature_bytes: Size = 512 * MIB
    """Most bytes of features that principal components are taken of; the reply holds only those."""
    max_word_letters: Count = 1 << 16
    """Most letters of words of over 128 letters in one request, as of Thai, which take long to make tokens of."""
    max_sentences: Count = 1 << 14
    """Most sentences that the texts of one request make in their templates; max_tflop limits what they cost too."""
    max_pca_side: Count = 4096
    """Largest matrix that principal components are taken of, in rows; the time goes with its cube."""
    max_basis_pictures: BasisPictures = 16
    """Most pictures of one request over which principal components are taken together, its own among them."""
