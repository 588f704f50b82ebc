"""Pictures of the page's main states: `make screenshots` makes them in build/web, and the README's in docs/page.jpg."""

from __future__ import annotations

import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser

from tests.servers import ROOT
from tests.web.gallery import scene
from tests.web.look import Look, middle
from tests.web.speed import server_and_browser

FOLDER = ROOT / "build" / "web" / "screenshots"
BEST = ROOT / "docs" / "page.jpg"
SIZE = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
NAMES = ("star", "circle", "cross")


def masks(look: Look) -> None:
    """Three objects with their masks."""
    drawn = scene("stars-and-rings")
    look.open("stars-and-rings")
    for index, mask in enumerate((drawn.masks[3], drawn.masks[0], drawn.masks[2])):
        if index:
            look.press("New object")
        look.click(*middle(mask))
        look.answered(index + 1)
        name = look.page.get_by_label("Name of the object").nth(index)
        name.fill(NAMES[index])
        name.press("Enter")
        name.blur()
    look.page.mouse.move(5, 5)


def text(look: Look) -> None:
    """The map of a text."""
    look.page.get_by_role("button", name="Text CLIP").click()
    look.page.get_by_label("Texts, one a line").fill("a red circle\na blue ring\na red star")
    look.page.locator("button:not([disabled])", has_text="Map").wait_for()


def places(look: Look) -> None:
    """What is similar to a place, in two pictures."""
    look.page.get_by_role("button", name="Similar places DINO").click()
    look.open_second("red-circle")
    look.click(*middle(scene("stars-and-rings").masks[1]))
    look.page.locator("canvas.overlay[style*='0.8']").nth(1).wait_for()


def make(browser: Browser, address: str, scheme: str, size: dict[str, int]) -> None:
    """All states in light or dark, on a screen of this size."""
    page = browser.new_context(color_scheme=scheme, viewport=size).new_page()  # type: ignore[arg-type]
    page.goto(address)
    look = Look(page)
    for state in (masks, text, places):
        state(look)
        page.screenshot(path=FOLDER / f"{state.__name__}-{scheme}-{size['width']}.png")


def main() -> None:
    """Makes all of them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, server_and_browser(Path(name)) as (server, browser):
        for scheme, size in (("light", SIZE), ("dark", SIZE), ("dark", PHONE)):
            make(browser, server.url("page"), scheme, size)
    with Image.open(FOLDER / f"masks-light-{SIZE['width']}.png") as best:
        best.convert("RGB").save(BEST, quality=88, optimize=True)
    print(f"{FOLDER}, and {BEST}: look at them")


if __name__ == "__main__":
    main()
