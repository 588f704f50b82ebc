"""Inputs that are nearly right, in thousands: no defect, no hang, no process lost, no memory kept."""

from __future__ import annotations

import base64
import ipaddress
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
from featsvc_client import channel
from featsvc_client.conformance.asking import OPERATIONS
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from featsvc.server.pictures.addresses import Allowed
from featsvc.server.pictures.web_addresses import encoded
from featsvc.twin.methods import question_field
from featsvc.v1 import clip_pb2, dino_pb2, estimate_pb2, image_pb2, sam2_pb2
from tests.chaos.attacks import at_rest, processes
from tests.chaos.crowd import cases
from tests.chaos.mutations import changed, changed_address, changed_bytes, changed_json
from tests.chaos.report import Report
from tests.drawn import base64_png
from tests.pictures import corpus
from tests.servers import KEY, Server, running

# What nearly right input takes at most on a busy machine, and how much later its end may be told.
LIMIT_S, LATER_S = 60.0, 15.0
SENDERS = 16
TOLD = 5
# Grown by more since the first tenth is memory that is kept. Until some ten thousand inputs were seen, buffers and the
# libraries' caches of shapes have not been as large as they become.
MOST_GROWTH, COMPARED_FROM = 0.02, 100_000
DEFECTS = ("INTERNAL", "UNKNOWN", "DATA_LOSS", "LOST")
# Small caches, full after the first tenth. What asks for seconds of work, by leaving out what would make it cheap, is
# refused where its cost is known: 8 of 1,500 inputs took 17 of the worker's 20 s.
FLAGS = (
    "up", "--profile=demo", "--offline", "--devices=cpu", "--image-cache=1MiB", "--embedding-cache=24MiB",
    "--text-cache=256KiB", "--pyramid-cache=256KiB", "--url-timeout=1", "--max-points=64", "--max-tflop=0.02",
    "--give-back-after=1",
)  # fmt: skip
ESTIMATE = "/featsvc.v1.EstimateService/Estimate"
SMALL = np.random.default_rng(0).integers(0, 255, (40, 56, 3), np.uint8)
BODIES: Mapping[str, dict[str, Any]] = {  # Any: JSON
    "clip/extract": {"load_size": 64, "model_name": "demo-clip", "model_pretrained": "demo"},
    "clip/encode_text": {"text": "a red circle"},
    "clip/similarity": {"text": ["a red circle"], "load_size": 64},
    "clip/encode_image": {"model_name": "demo-clip", "model_pretrained": "demo"},
    "clip/embed_pyramid": {
        "tile_ratio_min": 0.4,
        "tile_ratio_max": 0.9,
        "tile_levels": 2,
        "scaled_points": [[3, 4, 0.5]],
    },
    "dino/extract": {"model_type": "demo-dino", "facet": "key", "layer": 1},
    "sam2/auto_mask": {"points_per_side": 2, "model_cfg": "demo-sam2"},
    "sam2/prompt_mask": {"point_coords": [[3, 4]], "point_labels": [1], "model_cfg": "demo-sam2"},
    "sam2/embed_image": {"model_cfg": "demo-sam2"},
    "sam2/describe_objects": {
        "boxes": [[4, 4, 20, 30], [0, 0, 55, 39]],
        "describe": [
            {"clip": {"params": {"load_size": 64}}, "pooled": {"pooling": "eroded_mean", "erosion": 2}},
            {
                "dino": {},
                "crop": {"margin": 0.2, "levels": 2, "squaring": "pad", "background": "blur", "blur": 2.0},
            },
        ],
        "mask_encoding": "coco_rle",
    },
    "sam2/find_objects": {
        "text": ["a red circle", "a blue star"],
        "negative_text": ["object"],
        "search": "peaks",
        "max_peaks": 2,
        "describe": [{"clip": {"params": {"load_size": 64}}, "pooled": {}}],
        "ret_text_map": True,
    },
    "clip/estimate/extract": {"load_size": 64},
    "sam2/estimate/find_objects": {"text": ["a red circle"], "points_per_side": 2},
}

Send = Callable[[], str]
"""Sends one input and answers what came of it, in a word."""


class Web(threading.local):
    """A client of REST for each sender: one that all share closed, once in a million times, what another read from."""

    def __init__(self, stack: ExitStack) -> None:
        headers = {"authorization": f"Bearer {KEY}"}
        self.client = stack.enter_context(httpx.Client(headers=headers, timeout=LIMIT_S + LATER_S))


def fuzz(folder: Path, times: int) -> Report:
    """So many inputs over gRPC and REST; as many addresses are judged beside them."""
    faults = _misjudged(times)
    with running(folder / "log", *FLAGS) as server:
        found = processes(server)
        outcomes: Counter[str] = Counter()
        with grpc.insecure_channel(server.target, channel.OPTIONS) as connected, ExitStack() as stack:
            inputs = _inputs(random.Random(0), connected, server, Web(stack))
            _sent(itertools.islice(inputs, times // 10), outcomes, faults)
            before = at_rest(found)
            _sent(itertools.islice(inputs, times - times // 10), outcomes, faults)
            after = at_rest(found)
        faults += [f"{name} is gone" for name, process in found.items() if not process.is_running()]
    grown = {name: after[name] / before[name] - 1 for name in found if before[name]}
    words = ", ".join(f"{count} {name}" for name, count in outcomes.most_common())
    memory = ", ".join(f"{name} {part:+.1%}" for name, part in grown.items())
    is_right = not faults and (times < COMPARED_FROM or max(grown.values()) <= MOST_GROWTH)
    what = f"{times} messages, JSON bodies and pictures; {times} addresses"
    return Report("nearly right inputs", what, is_right, f"{words}; memory {memory}", tuple(faults[:TOLD]))


def _sent(inputs: Iterator[Send], outcomes: Counter[str], faults: list[str]) -> None:
    """Each sender takes the next as soon as its last is answered, so that one that takes long holds up no other."""
    lock = threading.Lock()

    def send_all() -> None:
        while True:
            with lock:
                each = next(inputs, None)
            if each is None:
                return
            began = time.monotonic()
            try:
                outcome = each()
            except (
                Exception
            ) as error:  # of a library: one lost answer must not cost what the others have shown
                outcome = f"LOST: {error!r}"
            took_s = time.monotonic() - began
            with lock:
                outcomes[outcome.partition(":")[0]] += 1
                if outcome.startswith(DEFECTS) or took_s > LIMIT_S + LATER_S:
                    faults.append(f"{outcome} after {took_s:.0f} s")

    with ThreadPoolExecutor(SENDERS) as senders:
        for each in [senders.submit(send_all) for _ in range(SENDERS)]:
            each.result()


def _inputs(chance: random.Random, connected: grpc.Channel, server: Server, web: Web) -> Iterator[Send]:
    seeds = seed_messages()
    pictures = [each.content for each in corpus()]
    while True:
        for path, message in seeds:
            raw = changed(message, chance).SerializeToString()
            yield _call(connected, path, changed_bytes(raw, chance) if chance.random() < 0.2 else raw)
            if (question := question_field(message.DESCRIPTOR)) is not None:
                dry = estimate_pb2.EstimateRequest()
                getattr(dry, question).MergeFromString(raw)
                yield _call(connected, ESTIMATE, dry.SerializeToString())
            picture = changed_bytes(chance.choice(pictures), chance)
            yield _call(connected, *_about(picture, chance))
            endpoint = chance.choice(tuple(BODIES))
            body = BODIES[endpoint]
            if endpoint != "clip/encode_text":
                content = base64.b64encode(picture).decode() if chance.random() < 0.5 else base64_png(SMALL)
                body = {"image": content, **body}
            family, _, path = endpoint.partition("/")
            yield _post(web, f"{server.url(family)}/{path}", changed_json(body, chance))


def seed_messages() -> list[tuple[str, Message]]:
    """Questions of the conformance kit, of every method that takes one and answers one."""
    known = {each.path: each for each in OPERATIONS}
    return [
        (f"/{case.rpc}", ParseDict(dict(question.request), known[f"/{case.rpc}"].request()))
        for case in cases()
        for question in case.questions
        if f"/{case.rpc}" in known
    ]


def _about(picture: bytes, chance: random.Random) -> tuple[str, bytes]:
    image = image_pb2.Image(content=picture)
    clip = clip_pb2.ClipServiceExtractFeaturesRequest(image=image, params=clip_pb2.ClipParams(load_size=64))
    dino = dino_pb2.DinoServiceExtractFeaturesRequest(image=image, params=dino_pb2.DinoParams(load_size=56))
    path, message = chance.choice(
        (
            ("/featsvc.v1.ClipService/ExtractFeatures", clip),
            ("/featsvc.v1.DinoService/ExtractFeatures", dino),
            ("/featsvc.v1.Sam2Service/EmbedImage", sam2_pb2.EmbedImageRequest(image=image)),
        )
    )
    return path, message.SerializeToString()


def _call(connected: grpc.Channel, path: str, raw: bytes) -> Send:
    def send() -> str:
        try:
            connected.unary_unary(path)(raw, timeout=LIMIT_S, metadata=channel.metadata(KEY))
        except grpc.RpcError as error:
            return f"{error.code().name}: {path} {error.details()[:200]}"
        return "OK"

    return send


def _post(web: Web, url: str, body: bytes) -> Send:
    def send() -> str:
        answer = web.client.post(url, content=body, headers={"x-request-timeout": f"{LIMIT_S:g}"})
        if answer.status_code >= 500 and answer.status_code != httpx.codes.GATEWAY_TIMEOUT:
            return f"INTERNAL: {url} {answer.status_code} {answer.text[:200]}"
        if answer.status_code >= 400 and set(answer.json()) != {"detail"}:
            return f"INTERNAL: {url} {answer.text[:200]}"
        return f"HTTP {answer.status_code}"

    return send


def _misjudged(times: int) -> list[str]:
    """Addresses that end in anything but an address or ValueError, or that lead to another host than they name."""
    chance, allowed, faults = random.Random(1), Allowed(), list[str]()
    for _ in range(times):
        address = changed_address(chance)
        try:
            made = encoded(address)
            if not made.isascii():
                faults.append(f"INTERNAL: {address!r} is encoded as {made!r}")
            allowed.permits(made, ipaddress.ip_address(chance.getrandbits(128)))
        except ValueError:
            continue
        except Exception as error:  # whatever else is raised is what is looked for
            faults.append(f"INTERNAL: {address!r} raises {type(error).__name__}")
    return faults
