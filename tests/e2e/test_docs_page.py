"""/docs in a real browser: every endpoint is shown, and 'Execute' is answered as the page opens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from featsvc.settings.access import DEFAULT_KEY
from rest_shim.app.endpoints import FAMILIES
from tests.e2e.browser import Page, installed, page
from tests.servers import Server, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# Presses Execute until the page has taken it: a click on a button that is just drawn anew is lost.
EXECUTED = """new Promise((done) => {
  const block = %s, again = setInterval(() => {
    if (block.querySelector('.btn-clear')) { clearInterval(again); done(true); }
    else block.querySelector('.execute')?.click();
  }, 200);
})"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """What `make serve` starts, with the documented key."""
    log = tmp_path_factory.mktemp("docs") / "log"
    with running(log, "up", "--profile=demo", "--offline", key=DEFAULT_KEY) as found:
        yield found


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    program = installed()
    if program is None:
        pytest.skip("no chromium on this machine: /docs was not looked at")
    with page(program, tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.mark.parametrize("family", FAMILIES)
def test_every_endpoint_is_shown_and_answers_its_example(
    server: Server, browser: Page, tmp_path: Path, family: str
) -> None:
    browser.open(server.url(family) + "/docs")
    paths = "[...document.querySelectorAll('.opblock-summary-path')].map(e => e.innerText.replaceAll('\\u200b', ''))"
    asked = [endpoint.path for endpoint in FAMILIES[family].endpoints]
    expected = ["/health", "/readyz", *asked, *(f"/estimate{path}" for path in asked)]
    browser.until(f"{paths}.length == {len(expected)}")
    assert sorted(browser.value(paths)) == sorted(expected)
    # The key that everybody knows is filled in already.
    browser.until("document.querySelector('.btn.authorize.locked')")
    for endpoint in FAMILIES[family].endpoints:
        block = f"document.querySelector('[id$=\"-{endpoint.name}\"]')"
        browser.until(block)
        browser.value(f"{block}.querySelector('.opblock-summary-control').click()")
        browser.until(f"{block}.querySelector('.execute')")
        browser.value(EXECUTED % block)
        status = f"{block}.querySelector('.live-responses-table tbody .response-col_status')?.innerText"
        assert browser.until(status).split()[0] == "200", browser.value(f"{block}.innerText")
        answered = browser.value(f"{block}.querySelector('.live-responses-table .microlight').innerText")
        assert json.loads(answered)
    browser.screenshot(tmp_path / f"{family}.png")
    print(tmp_path / f"{family}.png")
