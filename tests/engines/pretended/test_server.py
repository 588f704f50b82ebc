"""A whole server whose two workers have a GPU each, which are pretended."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from featsvc_client.aio import AsyncFeatsvcClient

from featsvc.catalog.choice import DEMO
from featsvc.engines.registry import Engines
from featsvc.server.gateway import gateway
from featsvc.settings.tree import Settings
from featsvc.v1 import schema as S
from featsvc.work.item import PictureItem
from featsvc.work.results import Features
from tests.engines import models
from tests.engines.pretended.cases import Case, answers

KEY = "a-key"
PICTURES = [models.encoded(models.picture(75, 50, each)) for each in range(12)]


@pytest.mark.slow
async def test_workers_on_two_gpus_answer_as_one_on_the_cpu(engines: Engines) -> None:
    settings = Settings(
        profile="demo",
        grpc_port=0,
        devices="cuda:0,cuda:1",
        precision="fp32",
        offline=True,
        preload=tuple(DEMO.values()),
    )
    async with gateway(settings, (KEY,), engines="tests.engines.pretended.engines:build") as running:
        for alive in range(2):
            await running.pool.alive_change(alive)
        async with AsyncFeatsvcClient(f"127.0.0.1:{running.port}", api_key=KEY) as client:
            features = await asyncio.gather(*(client.dino_features(each) for each in PICTURES))
            texts = await client.encode_text(["a red circle", "a blue star"])
            (first,) = await client.predict_masks(PICTURES[0], point_coords=[(40, 30)], point_labels=[1])
            (again,) = await client.predict_masks(PICTURES[0], point_coords=[(40, 30)], point_labels=[1])
            status = await client.status()
    case = Case(S.DinoExtractFeaturesParams(), tuple(map(PictureItem, PICTURES)))
    for ours, theirs in zip(features, answers(engines, case, engines.load("demo-dino")), strict=True):
        assert isinstance(theirs, Features)
        np.testing.assert_allclose(ours.array, theirs.features, atol=1e-4)
    assert texts.array.shape == (2, 128)
    np.testing.assert_array_equal(first.masks, again.masks)
    assert {each.device for each in status.workers if each.items} == {"cuda:0", "cuda:1"}
    assert not any(each.restarts for each in status.workers)
