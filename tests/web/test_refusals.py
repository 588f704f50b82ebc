"""What goes wrong is said in the server's words, and what was drawn is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from featsvc.settings.access import DEFAULT_KEY
from tests.drawn import png
from tests.servers import KEY, running, stop
from tests.web.conftest import looking
from tests.web.gallery import scene
from tests.web.look import Look, middle

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SCENE = scene("stars-and-rings")
CIRCLE, STAR = SCENE.masks[0], SCENE.masks[3]
FLAGS = ("--profile=demo", "--offline", "--devices=cpu", "--preload=demo-sam2")


def test_a_wrong_key_a_killed_worker_and_a_dead_server_lose_nothing(browser: Browser, tmp_path: Path) -> None:
    with (
        running(tmp_path / "log", "up", *FLAGS, key=KEY) as server,
        looking(browser, server.url("page")) as look,
    ):
        page = look.page
        # A server with a key of its own asks for it; a wrong one is told so, and asked for again.
        page.get_by_label("Key", exact=True).fill("wrong")
        look.press("Use it")
        page.get_by_role("dialog").get_by_text("wrong").wait_for()
        page.get_by_label("Key", exact=True).fill(KEY)
        look.press("Use it")
        page.locator(".thumbnail").first.click()
        assert KEY not in page.url
        # It is kept for the tab, and nowhere else.
        assert page.evaluate("() => Object.values(sessionStorage)") == [KEY]
        assert page.evaluate("() => [localStorage.length, document.cookie]") == [0, ""]
        look.click(*middle(STAR))
        look.answered()
        # A worker that dies in the middle is no matter: the server asks another.
        for process in server.workers:
            process.kill()
        look.press("New object")
        look.click(*middle(CIRCLE))
        look.answered(2)
        # A dead server: its words and a button, and both objects are still there.
        stop(server.process)
        look.press("New object")
        look.click(30, 30)
        page.get_by_role("alert").get_by_text("the server cannot be reached").wait_for()
        assert page.locator(".things li").count() == 3
        look.answered(2)
        page.get_by_role("button", name="Try again").wait_for()
        # A new one at the same address does not know the picture: it is sent again.
        port = server.url("page").rpartition(":")[2].strip("/")
        with running(tmp_path / "log 2", "up", *FLAGS, f"--page-port={port}", key=KEY):
            look.press("Try again")
            look.answered(3)


def test_the_same_key_entered_again_is_asked_with_again(look: Look) -> None:
    # As of a key that was taken out of the file of keys and put back.
    refused = {"status": 401, "json": {"detail": "API key wrong"}}
    look.page.get_by_role("button", name="Server").click()
    # From the next look on: the dialog of an earlier one would lie over the button.
    look.page.route("**/state.json", lambda route: route.fulfill(**refused), times=2)
    look.page.get_by_role("dialog").get_by_text("API key wrong").wait_for()
    look.page.get_by_label("Key", exact=True).fill(DEFAULT_KEY)
    look.press("Use it")
    look.page.get_by_role("dialog").get_by_text("API key wrong").wait_for()
    look.page.get_by_label("Key", exact=True).fill(DEFAULT_KEY)
    look.press("Use it")
    look.page.get_by_role("cell", name="demo-sam2", exact=True).wait_for()


def test_a_picture_over_the_limit_is_refused_with_the_limit(browser: Browser, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    large.write_bytes(png(SCENE.image))
    with (
        running(tmp_path / "log", "up", *FLAGS, "--max-request-bytes=100KiB", key=KEY) as server,
        looking(browser, server.url("page")) as look,
    ):
        look.page.get_by_label("Key", exact=True).fill(KEY)
        look.press("Use it")
        look.page.get_by_label("File of the picture").set_input_files(large)
        look.page.get_by_role("alert").get_by_text("at most").wait_for()
