"""The page at /docs works on a machine without the internet."""

from __future__ import annotations

import re

import pytest

from tests.rest.fake_gateway import FakeGateway
from tests.rest.shim import Shim

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("family", ["clip", "dino", "sam2"])
async def test_who_opens_the_port_is_led_to_the_page(ports: Shim, gateway: FakeGateway, family: str) -> None:
    page = await ports.client.get(ports.url(family, "/"), follow_redirects=True)
    assert page.status_code == 200
    assert page.url.path == "/docs"
    assert family.upper() in page.text
    # Relative, for proxies that add a path in front.
    assert page.history[0].headers["location"] == "docs"


@pytest.mark.parametrize("family", ["clip", "dino", "sam2"])
async def test_everything_the_page_loads_comes_from_this_server(
    ports: Shim, gateway: FakeGateway, family: str
) -> None:
    page = await ports.client.get(ports.url(family, "/docs"))
    assert page.status_code == 200
    loaded = re.findall(r"(?:src|href)=\"([^\"]+)\"|\"url\":\"([^\"]+)\"", page.text)
    addresses = {one or other for one, other in loaded} - {"data:,"}
    assert addresses == {"openapi.json", "docs/assets/swagger-ui-bundle.js", "docs/assets/swagger-ui.css"}
    for address in addresses:
        assert not re.match(r"\w+:|//", address), f"{address} is on another host"
        assert (await ports.client.get(ports.url(family, f"/{address}"))).status_code == 200
