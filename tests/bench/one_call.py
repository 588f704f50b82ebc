"""What one DescribeObjects spares a client that asks the three services: `python -m tests.bench.one_call`.

Both make the same of a drawn picture by the demo models: automatic masks, CLIP's vector of each object on black, and
DINO's dense features pooled under each mask. Messages are counted by a gateway in front of the server; times are taken
without it, in turns, and the best of each counts. Each picture is another file with the same pixels, so that nothing of
it is known.
"""

from __future__ import annotations

import argparse
import io
import itertools
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
from featsvc_client import FeatsvcClient, grid
from featsvc_client.results import Features
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from featsvc.demo.drawing.scenes import HELD_OUT_SEED, SceneOptions, draw
from tests.conformance.proxy import Context, Forwarding, in_front_of
from tests.servers import KEY, Server, running

SIZE = 1024
MASKS: dict[str, Any] = {"points_per_side": 8, "mask_encoding": "coco_rle"}
WAYS = [{"clip": {}, "crop": {"background": "black"}}, {"dino": {}, "pooled": {}}]
AT_ONCE = 8
TIMES = 2
NAMES = ("one call", "three services")
Vectors = tuple[NDArray[np.float32], NDArray[np.float32]]
Side = Callable[[FeatsvcClient, Image.Image], Vectors]
numbers = itertools.count()


@dataclass
class Traffic:
    """Messages of a client."""

    calls: int = 0
    sent: int = 0
    received: int = 0


class Counting(Forwarding):
    """Hands every call on, and counts."""

    def __init__(self, traffic: Traffic, upstream: grpc.Channel) -> None:
        super().__init__(upstream)
        self.traffic = traffic

    def answers(self, method: str, requests: Iterator[bytes], context: Context) -> Iterator[bytes]:
        """The messages of an answer."""
        self.traffic.calls += 1
        for message in super().answers(method, self._counted(requests), context):
            self.traffic.received += len(message)
            yield message

    def _counted(self, requests: Iterator[bytes]) -> Iterator[bytes]:
        for message in requests:
            self.traffic.sent += len(message)
            yield message


def file_of(picture: Image.Image) -> bytes:
    """The picture as a PNG that nobody has sent before."""
    about, file = PngImagePlugin.PngInfo(), io.BytesIO()
    about.add_text("number", str(next(numbers)))
    picture.save(file, "PNG", pnginfo=about)
    return file.getvalue()


def by_one_call(client: FeatsvcClient, picture: Image.Image) -> Vectors:
    """All by DescribeObjects."""
    found = client.describe_objects(file_of(picture), describe=WAYS, **MASKS)
    crops, pooled = (each.array for each in found.descriptors)
    return crops, pooled


def by_three_services(client: FeatsvcClient, picture: Image.Image) -> Vectors:
    """The same by GenerateMasks, ExtractFeatures, and EncodeImage of each crop."""
    file, pixels = file_of(picture), np.asarray(picture)
    found = [each.segmentation for each in client.generate_masks(file, **MASKS)]

    def crop(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        inside = np.where(mask[..., None], pixels, 0)[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return client.encode_image(inside).array[0]

    with ThreadPoolExecutor(AT_ONCE) as threads:
        crops = np.stack(list(threads.map(crop, found)))
    features = client.dino_features(file)
    shares = [shares_of_cells(each, features) for each in found]
    sums = np.stack([np.einsum("hw,hwd->d", each, features.array) for each in shares])
    return crops, sums / np.linalg.norm(sums, axis=1, keepdims=True)


def shares_of_cells(mask: NDArray[np.bool_], features: Features) -> NDArray[np.float32]:
    """The part of each cell of the grid that the mask covers, H x W."""
    height, width = features.array.shape[:2]
    ends = grid.positions(features.geometry, np.array([[-0.5, -0.5], [height - 0.5, width - 0.5]]))
    (left, top), (right, bottom) = (ends + 0.5).tolist()
    # Cells of the right and lower edge reach beyond the picture.
    whole = Image.fromarray(mask.astype(np.float32)).crop((0, 0, math.ceil(right), math.ceil(bottom)))
    return np.asarray(whole.resize((width, height), Image.Resampling.BOX, (left, top, right, bottom)))


def main() -> None:
    """Prints what each takes."""
    argparse.ArgumentParser(prog="python -m tests.bench.one_call", description=__doc__).parse_args()
    scene = draw(HELD_OUT_SEED, SceneOptions(size=SIZE, min_objects=6))
    picture = Image.fromarray(scene.image)
    print(f"{SIZE} x {SIZE} pixels, {len(file_of(picture)) / 1e3:.0f} KB")
    sides = (by_one_call, by_three_services)
    with tempfile.TemporaryDirectory() as folder:
        flags = ("--profile=demo", "--devices=cpu", "--offline")
        with running(Path(folder) / "log", "serve", *flags) as server:
            found = [counted(side, server.target, picture) for side in sides]
            times = [[timed(side, server, picture) for side in sides] for _ in range(TIMES)]
    for name, (vectors, traffic), (wall_s, cpu_s) in zip(NAMES, found, np.min(times, axis=0), strict=True):
        print(
            f"{name}: {len(vectors[0])} objects, {traffic.calls} calls, {traffic.sent / 1e3:.0f} KB sent, "
            f"{traffic.received / 1e3:.0f} KB received, {wall_s:.2f} s, {cpu_s:.2f} s of the server's processors"
        )
    pairs = zip(*(vectors for vectors, _ in found), strict=True)
    clip, dino = (float((one * other).sum(axis=1).min()) for one, other in pairs)
    print(f"least cosine of their vectors: CLIP {clip:.4f}, DINO {dino:.4f}")


def counted(side: Side, target: str, picture: Image.Image) -> tuple[Vectors, Traffic]:
    """What a side makes of the picture, and its messages."""
    traffic = Traffic()
    with in_front_of(target, partial(Counting, traffic)) as address, connected(address) as client:
        return side(client, picture), traffic


def timed(side: Side, server: Server, picture: Image.Image) -> tuple[float, float]:
    """Seconds that a side takes, and those of the server's processors."""
    with connected(server.target) as client:
        begin, cpu_s = time.perf_counter(), cpu_of(server)
        side(client, picture)
        return time.perf_counter() - begin, cpu_of(server) - cpu_s


def cpu_of(server: Server) -> float:
    """Seconds of processors that the server and its workers have taken."""
    gateway = psutil.Process(server.process.pid)
    times = [each.cpu_times() for each in (gateway, *gateway.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def connected(target: str) -> FeatsvcClient:
    """A client that waits for long."""
    return FeatsvcClient(target, api_key=KEY, timeout=300)


if __name__ == "__main__":
    main()
