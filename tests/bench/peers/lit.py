"""LitServe with demo-clip: `python -m tests.bench.peers.lit THREADS BATCH WORKERS`.

As its documentation advises for rate: a batch size, a batch timeout of almost nothing, the fast queue, and
workers_per_device. Every endpoint has workers of its own; only one of them works at a time here.
"""

from __future__ import annotations

import json
import logging
import socket
import sys

import litserve
import numpy as np
import torch
from numpy.typing import NDArray

from tests.bench.peers.demo_clip import DemoClip, reply

THREADS, BATCH, WORKERS = (int(word) for word in sys.argv[1:4])


class TextApi(litserve.LitAPI):  # type: ignore[misc]  # litserve is untyped
    """Embeddings of texts."""

    def setup(self, device: str) -> None:
        """Loads the network, in the worker."""
        self.clip = DemoClip(THREADS)

    def decode_request(self, request: dict[str, str]) -> str:
        """The text."""
        return request["text"]

    def batch(self, inputs: list[str]) -> list[str]:
        """Texts need no stacking."""
        return inputs

    def predict(self, texts: list[str] | str) -> NDArray[np.float32]:
        """N x D, or 1 x D where there are no batches."""
        return self.clip.texts([texts] if isinstance(texts, str) else texts)

    def unbatch(self, output: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Row by row."""
        return list(output)

    def encode_response(self, output: NDArray[np.float32]) -> dict[str, object]:
        """The documented reply."""
        return reply("text_embedding", output.reshape(-1))


class PictureApi(TextApi):
    """Embeddings of pictures."""

    def decode_request(self, request: dict[str, str]) -> torch.Tensor:  # type: ignore[override]  # pixels, not text
        """The decoded picture."""
        return self.clip.picture(request["image"])

    def predict(self, pictures: list[torch.Tensor] | torch.Tensor) -> NDArray[np.float32]:  # type: ignore[override]
        """N x D, or 1 x D where there are no batches."""
        return self.clip.pictures([pictures] if isinstance(pictures, torch.Tensor) else pictures)

    def encode_response(self, output: NDArray[np.float32]) -> dict[str, object]:
        """The documented reply."""
        return reply("image_embedding", output.reshape(-1))


if __name__ == "__main__":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    logging.getLogger("uvicorn.access").disabled = True
    batches = {"max_batch_size": BATCH, "batch_timeout": 0.001} if BATCH > 1 else {}
    apis = [TextApi(api_path="/encode_text", **batches), PictureApi(api_path="/encode_image", **batches)]
    server = litserve.LitServer(
        apis, accelerator="cpu", workers_per_device=WORKERS, fast_queue=True, timeout=120
    )
    print(json.dumps({"event": "listening", "port": port}), flush=True)
    server.run(
        host="127.0.0.1", port=port, generate_client_file=False, log_level="warning", pretty_logs=False
    )
