"""The second picture is opened in all the ways of the first, and the first stays as it is."""

from __future__ import annotations

import pytest

from tests.servers import Server
from tests.web.gallery import FOLDER
from tests.web.look import Look

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
# A picture that is dropped on an element, or pasted while it has the focus.
DROP = """async (element, name) => {
    const items = new DataTransfer();
    const picture = await (await fetch(`./pictures/squares.jpg`)).blob();
    items.items.add(new File([picture], name, { type: "image/jpeg" }));
    element.dispatchEvent(new DragEvent("drop", { dataTransfer: items, bubbles: true, cancelable: true }));
}"""
PASTE = """(element, words) => {
    element.focus();
    const items = new DataTransfer();
    items.setData("text/plain", words);
    document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData: items, bubbles: true, cancelable: true }));
}"""


def test_a_second_picture_is_opened_as_the_first_one_is(look: Look, server: Server) -> None:
    look.open("stars-and-rings")
    look.page.get_by_role("button", name="Similar places DINO").click()
    there = look.page.get_by_role("region", name="Second picture")
    names = look.page.locator(".stage")

    def shown(first: str, second: str) -> None:
        look.page.locator(f".stage[aria-label^='{second}, the second']").wait_for()
        assert (names.first.get_attribute("aria-label") or "").startswith(f"{first}.jpg. ")

    look.open_second("cat")
    shown("stars-and-rings", "cat.jpg")
    there.get_by_label("File of the second picture").set_input_files(FOLDER / "coffee.jpg")
    shown("stars-and-rings", "coffee.jpg")
    there.get_by_role("button", name="Address…").click()
    there.get_by_label("Address of the second picture").fill(f"{server.url('page')}/pictures/rocket.jpg")
    there.get_by_role("button", name="Fetch").click()
    shown("stars-and-rings", "rocket.jpg")
    look.page.wait_for_url("**second=http*")
    there.evaluate(DROP, "dropped.jpg")
    shown("stars-and-rings", "dropped.jpg")
    names.nth(1).evaluate(PASTE, f"{server.url('page')}/pictures/cat.jpg")
    shown("stars-and-rings", "cat.jpg")
    # Elsewhere it is the first one that is opened.
    names.first.evaluate(PASTE, f"{server.url('page')}/pictures/red-circle.jpg")
    look.page.locator(".stage[aria-label^='red-circle.jpg']").wait_for()
    shown("red-circle", "cat.jpg")
    there.get_by_role("button", name="No second picture").click()
    names.nth(1).wait_for(state="detached")
