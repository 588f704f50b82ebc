"""A link opens the same state, the code on the screen runs as it is printed, and the page is open to all."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.servers import ROOT, Server
from tests.web.conftest import looking
from tests.web.gallery import scene
from tests.web.look import Look, iou, middle

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # pycocotools
]
DRAWN_NAME = "stars-and-rings"
DRAWN = scene(DRAWN_NAME)
STAR, RING = DRAWN.masks[3], DRAWN.masks[1]
# Where the tests of clients put what they build.
BUILT = ROOT / "build" / "clients"
AXE = ROOT / "clients" / "web" / "node_modules" / "axe-core" / "axe.min.js"


def ask_all_three(look: Look) -> None:
    """Something of each kind."""
    look.open("stars-and-rings")
    look.click(*middle(STAR))
    look.answered()
    look.press("New object")
    look.click(*middle(RING))
    look.answered(2)
    look.page.get_by_role("button", name="Text CLIP").click()
    look.page.get_by_label("Texts, one a line").fill('a red circle\na "blue" ring\'s $edge')
    look.page.get_by_label("which fits best where").check()
    look.page.get_by_role("button", name="Similar places DINO").click()
    look.click(*middle(STAR))


def test_a_link_opens_the_same_masks_texts_and_place(look: Look, browser: Browser) -> None:
    ask_all_three(look)
    look.page.get_by_role("button", name="Masks SAM2").click()
    look.answered(2)
    before = look.annotations()
    # Its own first, then what the address became of it.
    look.page.wait_for_url("**/#tab=masks*objects*texts*")
    with looking(browser, look.page.url) as other:
        other.answered(2)
        after = other.annotations()
        assert all((one["mask"] == two["mask"]).all() for one, two in zip(before, after, strict=True))
        other.page.get_by_role("button", name="Text CLIP").click()
        assert other.page.get_by_label("which fits best where").is_checked()
        assert "smfeats" not in other.page.url


def test_link_and_code_are_copied_with_the_clipboard_of_browsers_and_without(look: Look) -> None:
    page = look.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    ask_all_three(look)
    page.wait_for_url("**#tab=places*objects*texts*")
    look.press("Copy link")
    look.page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("() => navigator.clipboard.readText()") == page.url
    # Pages from elsewhere without TLS have none.
    page.evaluate("() => Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    look.press("Copy")
    code = page.locator("pre").inner_text()
    page.get_by_role("button", name="Text CLIP").click()
    field = page.get_by_label("But not, one a line")
    field.focus()
    page.keyboard.press("Control+v")
    assert field.input_value() == code


def test_a_picture_at_an_address_comes_from_the_server_and_stands_in_link_and_code(
    look: Look, server: Server, browser: Browser, tmp_path: Path
) -> None:
    address = f"{server.url('page')}/pictures/{DRAWN_NAME}.jpg"
    asked: list[str] = []
    look.page.on("request", lambda request: asked.append(request.url))
    look.press("Address…")
    field = look.page.get_by_label("Address of the picture")
    field.fill("http://10.0.0.1/a.jpg")
    look.press("Fetch")
    look.page.get_by_role("alert").get_by_text("is not public").wait_for()
    field.fill(address)
    look.press("Fetch")
    look.page.get_by_text("answered in").wait_for()
    look.click(*middle(STAR))
    look.answered()
    assert iou(look.mask(), STAR) >= 0.85
    assert address not in asked
    look.page.wait_for_url("**picture=http*objects*")
    with looking(browser, look.page.url) as other:
        other.answered()
        assert (other.mask() == look.mask()).all()
    assert '"iou_predictions"' in ran(["bash", "-c", code_of(look, "curl")], tmp_path)
    assert "iou_predictions" in ran([sys.executable, "-c", code_of(look, "Python")], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_link_whose_picture_cannot_be_had_keeps_it_and_is_tried_again(look: Look, server: Server) -> None:
    page = look.page
    x, y = middle(STAR)
    address = f"{server.url('page')}/pictures/{DRAWN_NAME}.jpg"
    refused = {"status": 400, "json": {"detail": "not now"}}
    page.route(re.compile(r"/picture\?"), lambda route: route.fulfill(**refused), times=1)
    objects = f'[{{"id":1,"name":"star","points":[[{x},{y},1]],"box":null,"choice":null}}]'
    page.goto(f"{server.url('page')}/#picture={address}&objects={objects}")
    page.get_by_role("alert").get_by_text("not now").wait_for()
    page.wait_for_url("**/#tab=masks&picture=http*objects*")
    look.press("Try again")
    look.answered()
    assert iou(look.mask(), STAR) >= 0.85


def test_a_picture_is_pasted_while_a_field_is_focused_and_words_stay_in_the_field(look: Look) -> None:
    look.open(DRAWN_NAME)
    field = look.page.get_by_label("Names of things, one a line")
    paste = """async (field, words) => {
        const items = new DataTransfer();
        const picture = await (await fetch("./pictures/squares.jpg")).blob();
        items.items.add(new File([picture], "screen.jpg", { type: "image/jpeg" }));
        if (words) items.setData("text/plain", words);
        const given = { clipboardData: items, bubbles: true, cancelable: true };
        return field.dispatchEvent(new ClipboardEvent("paste", given));
    }"""
    assert field.evaluate(paste, "a cell of a table, which comes as a picture too")
    assert not field.evaluate(paste, "")
    look.page.get_by_text("screen.jpg, ").wait_for(state="attached")


def code_of(look: Look, language: str) -> str:
    look.page.get_by_label(language, exact=True).check()
    return look.page.locator("pre").inner_text()


def ran(words: list[str], folder: Path) -> str:
    beside = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    ended = subprocess.run(
        words, cwd=folder, capture_output=True, text=True, timeout=120, env=os.environ | beside, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.parametrize(("tab", "curl", "python"), [
    ("Masks SAM2", '"iou_predictions"', "iou_predictions"),
    ("Text CLIP", '"similarity_map"', "array"),
    ("Similar places DINO", '"features"', "float32[32, 32, 128]"),
])  # fmt: skip
def test_the_code_on_the_screen_runs_as_it_is_printed(
    look: Look, tmp_path: Path, tab: str, curl: str, python: str
) -> None:
    ask_all_three(look)
    look.page.get_by_role("button", name=tab).click()
    assert curl in ran(["bash", "-c", code_of(look, "curl")], tmp_path)
    assert (tmp_path / "stars-and-rings.jpg").exists()
    assert python in ran([sys.executable, "-c", code_of(look, "Python")], tmp_path)
    if node := shutil.which("node"):
        module = tmp_path / "ask.mjs"
        module.write_text(code_of(look, "TypeScript"))
        assert ran([node, str(module)], tmp_path).startswith("200 ")
    if grpcurl := shutil.which("grpcurl", path=f"{BUILT}:{os.environ['PATH']}"):
        code = code_of(look, "grpcurl").replace("grpcurl ", f"{grpcurl} ")
        assert '"model": "demo-' in ran(["bash", "-c", code], tmp_path)


@pytest.mark.parametrize(("button", "curl", "python"), [
    ("Find by name", '"found"', "Objects"),
    ("Find everything", '"masks"', "Masks"),
])  # fmt: skip
def test_the_code_of_what_was_found_runs_as_it_is_printed(
    look: Look, tmp_path: Path, button: str, curl: str, python: str
) -> None:
    look.open("three-circles")
    look.page.get_by_label("Names of things, one a line").fill("a green circle")
    look.press(button)
    look.page.get_by_text("move over the picture").wait_for()
    assert curl in ran(["bash", "-c", code_of(look, "curl")], tmp_path)
    assert python in ran([sys.executable, "-c", code_of(look, "Python")], tmp_path)
    if grpcurl := shutil.which("grpcurl", path=f"{BUILT}:{os.environ['PATH']}"):
        code = code_of(look, "grpcurl").replace("grpcurl ", f"{grpcurl} ")
        assert '"model": "demo-sam2"' in ran(["bash", "-c", code], tmp_path)


def test_nobody_is_kept_out(server: Server, browser: Browser) -> None:
    if not AXE.exists():
        pytest.skip("no axe-core on this machine: `make test-client-web` installs it")
    for scheme, width in (("light", 1360), ("dark", 390)):
        # axe is told to the page, which its Content-Security-Policy forbids to others.
        context = browser.new_context(
            bypass_csp=True, color_scheme=scheme, viewport={"width": width, "height": 850}
        )
        page = context.new_page()
        page.goto(server.url("page"))
        look = Look(page)
        page.add_script_tag(path=AXE)
        check(look, "start")
        assert page.get_by_role("button", name="Take this").count() == 0
        ask_all_three(look)
        for tab in ("Masks SAM2", "Text CLIP", "Similar places DINO", "Server"):
            page.get_by_role("button", name=tab).click()
            if tab == "Server":
                page.get_by_role("table").first.wait_for()
            check(look, f"{tab}, {scheme}, {width}")
            assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        context.close()


def check(look: Look, where: str) -> None:
    found = look.page.evaluate(
        "async () => (await axe.run()).violations.map(each => each.help + ': '"
        " + each.nodes.map(node => node.target + ' ' + node.failureSummary).join('; '))"
    )
    assert found == [], where
