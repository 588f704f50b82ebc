"""A gateway whose metrics port is open."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.server.conftest import Running, start

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass(frozen=True)
class Watched:
    """A gateway, and a client of its metrics port."""

    running: Running
    client: httpx.AsyncClient

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.client.get(path, headers=headers)

    async def samples(self) -> Samples:
        """What /metrics says now."""
        page = (await self.get("/metrics")).text
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        }


def labels(**given: str) -> frozenset[tuple[str, str]]:
    return frozenset(given.items())


def client_of(running: Running) -> httpx.AsyncClient:
    port = running.gateway.metrics_port
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60)


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    async with (
        start(metrics_port=0, metrics_callers=1, max_queue=7) as running,
        client_of(running) as client,
    ):
        yield Watched(running, client)
