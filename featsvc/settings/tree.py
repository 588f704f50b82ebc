"""The tree of settings: groups of attributes, each with its range, default and docstring, and who reads which groups.

An attribute is all that a setting needs: its flag, its FEATSVC_… variable, its TOML key, its lines in `--help` and
`featsvc config` follow from it, and whoever has the group has the setting. A group's docstring is its heading.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from featsvc.settings.kinds import (
    AnyPrecision,
    AutoRoom,
    Capitals,
    Common,
    Count,
    LogFormat,
    LogLevel,
    Natural,
    Patience,
    Port,
    Prefix,
    Profile,
    Room,
    Seconds,
    Size,
    Tflop,
    WordList,
)

MIB, GIB = 1 << 20, 1 << 30
DEFAULT_KEY = "smfeats"


@dataclass(frozen=True, kw_only=True)
class Host:
    """Where it listens."""

    host: Common[str] = "127.0.0.1"
    """Address to listen on; anything but loopback needs an API key of your own."""

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches the address; a name other than localhost counts as open."""
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def host_in_url(self) -> str:
        """The address as a URL has it, and gRPC: one of IPv6 in brackets."""
        return f"[{bare}]" if ":" in (bare := self.host.strip("[]")) else bare

    @property
    def reachable_host(self) -> str:
        """Where programs of this machine reach what listens on it, as a URL has it."""
        return {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(self.host_in_url, self.host_in_url)


@dataclass(frozen=True, kw_only=True)
class Keys:
    """API keys."""

    api_key: Common[WordList] = field(default=(), repr=False)
    """Keys that callers may use, separated by commas; where there is none, smfeats on this machine."""
    api_key_file: Common[str] = ""
    """File of further keys, one a line."""


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
    """Batches that a worker has at once; 0 is 2 on a CPU, and as prepare_threads on a GPU, up to max_concurrency."""
    max_batch: Natural = 0
    """Most requests in one batch; 0 is 8 on a CPU and 32 on GPUs."""
    max_batch_pixels: Count = 16 * MIB
    """Most pixels that a network sees in one pass, but for one picture that has more; halved where memory runs out."""
    max_batch_bytes: Size = 48 * MIB
    """Most bytes of pictures in one batch, but for one that is larger alone: a worker copies them."""
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
    max_mask_bytes: Size = 2 * GIB
    """Most bytes of masks that one request holds in memory, one byte a pixel: eight times what a message has."""
    max_feature_bytes: Size = 512 * MIB
    """Most bytes of features that principal components are taken of; the reply holds only those."""
    max_word_letters: Count = 1 << 16
    """Most letters of words of over 128 letters in one request, as of Thai, which take long to make tokens of."""
    max_pca_side: Count = 4096
    """Largest matrix that principal components are taken of, in rows; the time goes with its cube."""


@dataclass(frozen=True, kw_only=True)
class Requests:
    """Requests."""

    max_request_bytes: Size = 64 * MIB
    """Most bytes of one request message, and of the body of a REST request."""
    request_timeout: Patience = 300.0
    """Seconds that a request may take where the caller sets no deadline."""
    grace: Seconds = 20.0
    """Seconds that running requests have at shutdown; a second Ctrl-C ends them at once."""


@dataclass(frozen=True, kw_only=True)
class Calls:
    """Calls that run and wait."""

    grpc_port: Common[Port] = 50051
    """Port of the gRPC server; 0 takes a free one."""
    max_request_timeout: Patience = 3600.0
    """Most seconds that a caller's own deadline may give a request."""
    max_queue: Count = 256
    """Most requests that wait; more are refused at once."""
    max_queue_bytes: Size = 512 * MIB
    """Most bytes of requests that wait."""
    max_calls: Count = 1024
    """Most calls open at once; further ones take the places of those that wait for their callers, or are refused."""
    max_keyless_calls: Count = 128
    """Most calls open at once that need no key: health, reflection and the server's state."""
    max_calls_per_connection: Count = 100
    """Most calls open at once over one connection; clients hold further ones back."""
    max_open_per_stream: Count = 16
    """Questions of one stream at work at once; further ones are not read until one of these is answered."""
    max_connections: Count = 4096
    """Most connections of gRPC clients."""
    connection_idle: Patience = 300.0
    """Seconds after which a connection without calls is closed; clients connect again by themselves."""
    message_timeout: Patience = 60.0
    """Seconds within which the first message of a call must have arrived."""
    max_receiving_bytes: Size = 256 * MIB
    """Most bytes of messages that arrive, at least max_request_bytes; beyond it calls that wait for theirs end."""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Pictures by digest and by address."""

    image_cache: Room = 256 * MIB
    """Bytes of pictures that the server keeps for questions by digest; 0 keeps none."""
    url: bool = True
    """Fetch pictures by address (--no-url turns it off)."""
    url_allow: WordList = ()
    """Hosts and networks that picture addresses may name although they are not public."""
    url_timeout: Patience = 10.0
    """Seconds for fetching a picture, all redirects together."""
    url_max_redirects: Natural = 3
    """Most redirects on the way to a picture."""
    url_max_fetches: Count = 128
    """Most pictures that are fetched at once."""
    url_max_bytes: Size = 256 * MIB
    """Most bytes of pictures that are being fetched, all together."""


@dataclass(frozen=True, kw_only=True)
class KeyLimits:
    """What one API key may have of what all share."""

    image_cache_per_key: Room = 64 * MIB
    """Bytes of the pictures that the server keeps for questions by digest; 0 keeps none."""
    url_max_fetches_per_key: Count = 32
    """Most pictures that are fetched at once by address; further ones wait."""
    url_max_bytes_per_key: Size = 128 * MIB
    """Most bytes of pictures that are being fetched."""


@dataclass(frozen=True, kw_only=True)
class Rest:
    """REST ports."""

    clip_port: Common[Port] = 8096
    """REST port of CLIP; 0 takes a free one."""
    dino_port: Common[Port] = 8097
    """REST port of DINO; 0 takes a free one."""
    sam2_port: Common[Port] = 8098
    """REST port of SAM2; 0 takes a free one."""
    rest_workers: Count = 1
    """Processes of the REST shim, all before one set of models."""
    cors_origins: WordList = ("*",)
    """Origins that browsers may call the REST ports from."""
    root_path: Prefix = ""
    """Path that a proxy puts before those of the REST ports, such as /featsvc; it may take it off or leave it on."""
    keep_alive: Patience = 75.0
    """Seconds that an idle REST connection is kept."""
    header_timeout: Patience = 20.0
    """Seconds that the headers of a REST request may take."""
    body_timeout: Patience = 30.0
    """Seconds that the body of a REST request may take; one that comes at 16 KiB a second or more has longer."""
    max_header_bytes: Size = 64 * 1024
    """Most bytes of the line and the headers of a REST request."""
    max_total_body_bytes: Size = 256 * MIB
    """Most bytes of REST bodies that one process holds at once, and no less than max_request_bytes."""
    max_json_bytes: Size = 4 * GIB
    """Most bytes of the arrays in one JSON reply, before base64; the REST ports write it as it is read."""
    rest_connections: Count = 1024
    """Most connections of each REST port and process; one address may have half of them."""


@dataclass(frozen=True, kw_only=True)
class Logs:
    """Logs."""

    log_level: LogLevel = "info"
    """Debug, info, warning or error; on a terminal warning, unless it is set."""
    log_format: LogFormat = "auto"
    """Plain for people, json for programs; auto is plain on a terminal and json elsewhere."""


@dataclass(frozen=True, kw_only=True)
class GatewaySettings(
    Host, Keys, Weights, Models, Workers, Networks, Caches, Limits, Calls, Requests, Pictures, KeyLimits, Logs
):
    """What the gRPC server reads."""


@dataclass(frozen=True, kw_only=True)
class ShimSettings(Host, Keys, Requests, Rest, Logs):
    """What the REST ports read, beside a gateway or started on their own."""


@dataclass(frozen=True, kw_only=True)
class Settings(GatewaySettings, ShimSettings):
    """Every setting of the server."""
