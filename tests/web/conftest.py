"""A server with its page, and a browser that looks at it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from featsvc.settings.access import DEFAULT_KEY
from tests.servers import Server, running
from tests.web.look import TIMEOUT_MS, Look

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """What `make serve` starts, with the documented key."""
    log = tmp_path_factory.mktemp("page") / "log"
    flags = ("--profile=demo", "--offline", "--devices=cpu", "--url-allow=127.0.0.1")
    with running(log, "up", *flags, key=DEFAULT_KEY) as found:
        yield found


# Of a module: while Playwright runs, its event loop is the running one, and asyncio tests of other files fail.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, driven by Playwright; without either the tests are skipped, and say so."""
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no chromium on this machine: the page was not looked at")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="no playwright: the page was not looked at"
    )
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


@pytest.fixture
def look(server: Server, browser: Browser) -> Iterator[Look]:
    """The page, just opened; whatever goes wrong in its code fails the test."""
    with looking(browser, server.url("page")) as found:
        yield found


def looking(browser: Browser, address: str) -> _Looking:
    """The page at an address, in a tab of its own, until the block ends."""
    return _Looking(browser, address)


class _Looking:
    def __init__(self, browser: Browser, address: str) -> None:
        self._browser, self._address = browser, address

    def __enter__(self) -> Look:
        self._context = self._browser.new_context(viewport={"width": 1360, "height": 860})
        self._context.set_default_timeout(TIMEOUT_MS)
        page = self._context.new_page()
        self._errors: list[str] = []
        page.on("pageerror", lambda error: self._errors.append(str(error)))
        page.goto(self._address)
        return Look(page)

    def __exit__(self, kind: object, *_: object) -> None:
        self._context.close()
        assert kind is not None or self._errors == []
