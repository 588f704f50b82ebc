"""Ray Serve with demo-clip: `python -m tests.bench.peers.ray_serve THREADS BATCH REPLICAS [features]`.

REPLICAS is their number, or the least and the most of them (1..2), between which Serve follows the load.
As its documentation advises for rate: @serve.batch, max_ongoing_requests above the number of clients, no access
log, and RAY_SERVE_THROUGHPUT_OPTIMIZED (the bench sets it). Everything listens on loopback only.
"""

from __future__ import annotations

import json
import logging
import signal
import socket
import sys

import ray
from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.schema import LoggingConfig
from starlette.requests import Request
from starlette.responses import Response

from tests.bench.fixed import quarter
from tests.bench.peers.demo_clip import DemoClip, reply

THREADS, BATCH = (int(word) for word in sys.argv[1:3])
LEAST, MOST = (int(sys.argv[3].split("..")[end]) for end in (0, -1))
QUIET = LoggingConfig(enable_access_log=False, log_level="ERROR")
OPTIONS = {
    "num_replicas": None if LEAST < MOST else LEAST,
    "autoscaling_config": {"min_replicas": LEAST, "max_replicas": MOST} if LEAST < MOST else None,
    "max_ongoing_requests": 256,
    "ray_actor_options": {"num_cpus": 0.25},
    "logging_config": QUIET,
}


@serve.deployment(**OPTIONS)
class TextApi:
    """Embeddings of texts."""

    def __init__(self) -> None:
        self.clip = DemoClip(THREADS)

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=0.001)
    async def embedded(self, texts: list[str]) -> list[dict[str, object]]:
        """One reply for each text."""
        return [reply("text_embedding", row) for row in self.clip.texts(texts)]

    async def __call__(self, request: Request) -> Response:
        """The documented reply."""
        found = await self.embedded((await request.json())["text"])
        return Response(json.dumps(found), media_type="application/json")


@serve.deployment(**OPTIONS)
class PictureApi:
    """Embeddings of pictures."""

    def __init__(self) -> None:
        self.clip = DemoClip(THREADS)

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=0.001)
    async def embedded(self, images: list[str]) -> list[dict[str, object]]:
        """One reply for each picture."""
        pixels = [self.clip.picture(image) for image in images]
        return [reply("image_embedding", row) for row in self.clip.pictures(pixels)]

    async def __call__(self, request: Request) -> Response:
        """The documented reply."""
        found = await self.embedded((await request.json())["image"])
        return Response(json.dumps(found), media_type="application/json")


@serve.deployment(**OPTIONS)
class FeaturesApi:
    """16 MiB of features that no network computes: what it costs to hand them on."""

    def __init__(self) -> None:
        self.answer = quarter().tobytes()

    async def __call__(self, request: Request) -> Response:
        """They, as they lie in memory."""
        await request.body()
        return Response(self.answer, media_type="application/octet-stream")


def main() -> None:
    """Serve until ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ray.init(
        num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", logging_level=logging.ERROR,
        object_store_memory=200 << 20, configure_logging=True, log_to_driver=False,
    )  # fmt: skip
    serve.start(http_options=HTTPOptions(host="127.0.0.1", port=port), logging_config=QUIET)
    served = {"/encode_text": TextApi, "/encode_image": PictureApi}
    served |= {"/extract": FeaturesApi} if "features" in sys.argv else {}
    serve.run_many(
        [
            serve.RunTarget(api.bind(), name=api.name, route_prefix=path, logging_config=QUIET)
            for path, api in served.items()
        ]
    )
    print(json.dumps({"event": "listening", "port": port}), flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    ray.shutdown()


if __name__ == "__main__":
    main()
