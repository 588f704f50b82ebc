"""Who has no mouse keeps a place on the page: when what has the focus goes, something near it has the focus."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser
from pycocotools import mask as coco

from featsvc.settings.access import DEFAULT_KEY
from tests.servers import Server
from tests.web.gallery import scene
from tests.web.look import TIMEOUT_MS, Look, iou, middle

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # pycocotools
]
PICTURE = "stars-and-rings"
STAR = scene(PICTURE).masks[3]
MOST_TABS = 100


@dataclass(frozen=True)
class Act:
    """What is done by keys on a control."""

    name: str
    control: str
    keys: tuple[str, ...]
    focused: str
    """What has the focus then."""
    before: Callable[[Look], None] = lambda look: None


def press(look: Look, selector: str, *keys: str) -> None:
    """Keys on a control."""
    control = look.page.locator(selector).first
    control.focus()
    for key in keys:
        look.page.keyboard.press(key)


def one(look: Look) -> None:
    """An object with its mask."""
    press(look, ".stage", "Enter")
    look.answered()


def two(look: Look) -> None:
    """A second one, which has no mask yet."""
    one(look)
    press(look, ".stage", "o")


def three(look: Look) -> None:
    """Three of them."""
    for number in range(1, 4):
        press(look, ".stage", "o", "ArrowRight", "Enter")
        look.answered(number)


def fetch(look: Look, address: str) -> None:
    """Opens what is there."""
    press(look, "text=Address…", "Enter")
    look.page.locator("input[type=url]:focus").wait_for()
    look.page.keyboard.type(address)
    look.page.keyboard.press("Enter")


def refused(look: Look) -> None:
    """An address that the server does not fetch."""
    fetch(look, "http://10.0.0.1/a.jpg")
    look.page.get_by_role("alert").get_by_text("is not public").wait_for()


def second(look: Look) -> None:
    """Another picture beside it."""
    press(look, "nav >> text=Similar places", "Enter")
    press(look, "[aria-labelledby=second] .thumbnail", "Enter")
    look.page.locator(".stage").nth(1).wait_for()


def dialogue(look: Look) -> None:
    """That of the key."""
    press(look, "header >> text=Key", "Enter")
    look.page.locator("dialog input:focus").wait_for()


def camera(look: Look) -> None:
    """A camera that sees a canvas."""
    look.page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia = async () => { const canvas = document.createElement('canvas');"
        " canvas.getContext('2d').fillRect(9, 9, 99, 99); return canvas.captureStream(); }; }"
    )
    press(look, "text=Camera", "Enter")


REMOVE = "[aria-label='Remove object {}']"
ACTS = (
    Act("remove an object", REMOVE.format(2), ("Enter",), REMOVE.format(3), three),
    Act("remove the last one", REMOVE.format(3), ("Enter",), REMOVE.format(1)),
    Act("remove the only one", REMOVE.format(1), ("Enter",), REMOVE.format(1)),
    Act("take a point away", ".stage", ("Backspace",), ".stage", one),
    Act("undo an object", REMOVE.format(2), ("Control+z",), REMOVE.format(1), two),
    Act("undo the only mask", "text=PNG", ("Control+z",), "[aria-labelledby=export]"),
    Act("undo all", "text=Undo", ("Enter",) * 20, "text=Undo"),
    Act("clear all", "text=Clear all", ("Enter",), "text=Clear all", one),
    Act("begin an object", "text=New object", ("Enter",), "text=New object", one),
    Act("hide a message", "[aria-label='Hide this message']", ("Enter",), "[aria-label=Pictures]", refused),
    Act("find", "text=Find everything", ("Enter",), "[aria-labelledby=finding]"),
    Act("find no more", "text=Done", ("Enter",), "[aria-labelledby=finding]"),
    Act("close the second picture", "[aria-label='No second picture']", ("Enter",), "[aria-labelledby=second]", second),
    Act("close the dialogue", "dialog input", ("Escape",), "header >> text=Key", dialogue),
    Act("give a key", "dialog input", (*DEFAULT_KEY, "Enter"), "header >> text=Key", dialogue),
    Act("take a picture", "text=Take this", ("Enter",), "[aria-label=Pictures]", camera),
)  # fmt: skip


def test_the_focus_stays_near_where_it_was(look: Look) -> None:
    look.open(PICTURE)
    for act in ACTS:
        act.before(look)
        press(look, act.control, *act.keys)
        focused = look.page.locator(act.focused).and_(look.page.locator(":focus"))
        try:
            focused.wait_for()
        except Exception as error:
            there = look.page.evaluate("() => document.activeElement.outerHTML.slice(0, 200)")
            raise AssertionError(f"{act.name}: the focus is at {there}") from error


def test_an_address_and_a_key_are_given_by_keys(look: Look, server: Server) -> None:
    fetch(look, f"{server.url('page')}/pictures/{PICTURE}.jpg")
    look.page.locator("[aria-label=Pictures]:focus").wait_for()
    # A key that is refused is asked for again, until it is the right one.
    look.page.evaluate("() => sessionStorage.setItem('featsvc-key', 'of another server')")
    look.page.reload()
    look.page.locator("dialog input:focus").wait_for()
    for key, words in (("schlüssel", "printable ASCII"), ("wrong", "wrong"), (DEFAULT_KEY, "")):
        look.page.keyboard.press("Control+a")
        look.page.keyboard.type(key)
        look.page.keyboard.press("Enter")
        look.page.locator("dialog p").first.get_by_text(words).wait_for(state="attached")
    look.page.locator("main:focus").wait_for()


def reach(look: Look, selector: str) -> None:
    """Tab, until this has the focus."""
    control = look.page.locator(selector).first
    control.wait_for()
    for _ in range(MOST_TABS):
        if control.evaluate("element => element === document.activeElement"):
            return
        look.page.keyboard.press("Tab")
    raise AssertionError(f"no Tab leads to {selector}")


def test_five_things_are_done_by_keys_alone_on_a_narrow_dark_screen(server: Server, browser: Browser) -> None:
    screen: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}
    page = browser.new_context(**screen, permissions=["clipboard-read", "clipboard-write"]).new_page()
    page.set_default_timeout(TIMEOUT_MS)
    page.goto(server.url("page"))
    look = Look(page)

    def do(selector: str, *keys: str) -> None:
        reach(look, selector)
        for key in keys:
            page.keyboard.press(key)

    # A mask of the star, saved.
    do(f".thumbnail:has(img[src$='{PICTURE}.jpg'])", "Enter")
    right, down = (round((pixel - 256) / 10) for pixel in middle(STAR))
    do(".stage", *["ArrowRight"] * right, *["ArrowDown"] * down, "Enter")
    look.answered()
    with page.expect_download() as download:
        do("button:text-is('COCO')", "Enter")
    (found,) = json.loads(Path(download.value.path()).read_bytes())["annotations"]
    assert iou(coco.decode(found["segmentation"]).astype(bool), STAR) >= 0.85
    # Where 'a red circle' is.
    do("nav >> text=Text", "Enter")
    reach(look, "textarea")
    page.keyboard.type("a red circle")
    do("button:text-is('Map')")
    # What is similar to a place.
    do("nav >> text=Similar places", "Enter")
    do(".stage", "Enter")
    # The code, and a link.
    do("button:text-is('Copy')", "Enter")
    assert "/dino/extract" in page.evaluate("() => navigator.clipboard.readText()")
    do("text=Copy link", "Enter")
    assert "pinned" in page.evaluate("() => navigator.clipboard.readText()")
    page.context.close()
