"""Settings of calls, pictures, the REST ports metrics and traces."""

from __future__ import annotations

from dataclasses import dataclass

from featsvc.settings.kinds import (
    GIB,
    MIB,
    Common,
    Count,
    Natural,
    OptionalPort,
    Patience,
    Port,
    Prefix,
    Ratio,
    Room,
    Seconds,
    Size,
    WordList,
)


@dataclass(frozen=True, kw_only=True)
class Requests:
    """Requests."""

    max_request_bytes: Size = 64 * MIB
    """Most bytes of one request message, and of the body of a REST request."""
    request_timeout: Patience = 300.0
    """Seconds that a request may take where the caller sets no deadline."""
    grace: Seconds = 20.0
    """Seconds that running requests have at shutdown; a second Ctrl-C ends them at once."""
    give_back_after: Seconds = 30.0
    """Seconds without work, up to twice as many, until a process gives freed memory back to the system; 0 keeps it."""


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
    """Most connections of gRPC clients, at most a quarter of the files that the process may open. Before they are all
    taken, addresses (of IPv6, networks of 64 bits) that have most of them lose their newest."""
    max_refusals: Natural = 50
    """Most calls of one key that are told in a second that there is no place for them, and as many questions of
    streams; further ones hear it later, within the time that they are to wait. 0 tells all at once."""
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
class Rest:
    """REST ports."""

    page_port: Common[Port] = 8095
    """Port of the page in a browser, with the three REST applications below it; 0 takes a free one."""
    page: Common[bool] = True
    """Serve the page (--no-page turns it off)."""
    clip_port: Common[Port] = 8096
    """REST port of CLIP; 0 takes a free one."""
    dino_port: Common[Port] = 8097
    """REST port of DINO; 0 takes a free one."""
    sam2_port: Common[Port] = 8098
    """REST port of SAM2; 0 takes a free one."""
    rest_workers: Count = 1
    """Processes of the REST shim, all before one set of models."""
    cors_origins: WordList = ()
    """Origins whose pages may call the REST ports from a browser, such as https://a.example; * is any origin."""
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
    """Most bytes of REST bodies that one process holds at once, and no less than max_request_bytes. Beyond it those
    give way that arrive at less than 256 KiB a second, those of keys that hold more, and the latest of the same key."""
    max_json_bytes: Size = 4 * GIB
    """Most bytes of the arrays in one JSON reply, before base64; the REST ports write it as it is read."""
    rest_connections: Count = 1024
    """Most connections of each REST port and process; all ports together have about half of the files that the
    process may open. One address (of IPv6, one network of 64 bits) may have half of a port's."""


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Metrics."""

    metrics_port: OptionalPort = None
    """Port of /metrics (Prometheus), /healthz and /readyz by HTTP and without a key; off is none, 0 a free one."""
    metrics_host: str = "127.0.0.1"
    """Address of that port: who reaches it sees the names of callers and models."""
    metrics_callers: Natural = 50
    """Most callers that metrics name; all further ones are called other."""


@dataclass(frozen=True, kw_only=True)
class Traces:
    """Traces."""

    otlp_endpoint: str = ""
    """Where traces go by OpenTelemetry's OTLP over gRPC, such as http://127.0.0.1:4317; empty makes none."""
    otlp_sample: Ratio = 0.01
    """Part of the requests that are traced, where their callers do not say (by traceparent)."""
