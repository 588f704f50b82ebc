"""How long the page takes, as ratios to the plain calls behind it: `python -m tests.web.speed`."""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from featsvc_client import FeatsvcClient
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from featsvc.settings.access import DEFAULT_KEY
from tests.servers import ROOT, Server, running
from tests.web.conftest import looking
from tests.web.gallery import FOLDER, scene
from tests.web.look import Look, middle

WEB = ROOT / "clients" / "web"
TIMES = 40
# What a frame of the DINO hover does: cosines of a place with all others, and their colours on a canvas.
FRAMES = """
import { cosines, featureOf, normalised } from "./src/compute/grid.ts";
import { heatImage, paintCells } from "./src/view/paint.ts";
globalThis.frames = (side, channels, count) => {
  const values = Float32Array.from({ length: side * side * channels }, () => Math.random() - 0.5);
  const geometry = { patch_size: 14, stride: 14, resized_height: side * 14, resized_width: side * 14,
    grid_height: side, grid_width: side };
  const grid = { rows: side, columns: side, channels, features: normalised(values, channels), geometry };
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1024;
  return Array.from({ length: count }, (_, place) => {
    const began = performance.now();
    paintCells(canvas, heatImage(cosines(grid, featureOf(grid, place)), 0, 1), geometry, true);
    return performance.now() - began;
  });
};
"""
AGES = """() => {
  globalThis.ages = [];
  new MutationObserver(() => {
    const found = /preview ([0-9.]+) ms/.exec(document.querySelector("footer").textContent);
    if (found) globalThis.ages.push(Number(found[1]));
  }).observe(document.querySelector("footer"), { subtree: true, childList: true, characterData: true });
}"""


@contextmanager
def server_and_browser(folder: Path) -> Iterator[tuple[Server, Browser]]:
    """The demo models, and Debian's Chromium."""
    flags = ("--profile=demo", "--offline", "--devices=cpu")
    with running(folder / "log", "up", *flags, key=DEFAULT_KEY) as server, sync_playwright() as driver:
        arguments = ["--no-sandbox", "--disable-gpu"]
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
        yield server, browser
        browser.close()


def photo(folder: Path, name: str, shift: int) -> Path:
    """A picture of 12 megapixels, another one for each shift."""
    large = Image.fromarray(np.roll(scene("stars-and-rings").image, shift, axis=1)).resize((4000, 3000))
    large.save(folder / name, quality=92)
    return folder / name


def first_mask(look: Look, client: FeatsvcClient, folder: Path) -> None:
    """From opening a photo to its first mask, beside the plain call with the same kind of file."""
    one, other = photo(folder, "one.jpg", 1), photo(folder, "other.jpg", 2)
    began = time.monotonic()
    look.page.get_by_label("File of the picture").set_input_files(one)
    look.page.get_by_text("4000 × 3000").wait_for()
    box = look.stage.bounding_box()
    assert box is not None
    look.page.mouse.click(box["x"] + box["width"] * 0.25, box["y"] + box["height"] * 0.17)
    look.answered()
    in_page = time.monotonic() - began
    began = time.monotonic()
    client.predict_masks(other, point_coords=[[1000, 510]], point_labels=[1])
    plain = time.monotonic() - began
    ratio = in_page / plain
    print(f"12 megapixels to the first mask: {in_page:.2f} s, plain call {plain:.2f} s, ratio {ratio:.2f}")


def hover(look: Look, client: FeatsvcClient) -> None:
    """How old a preview is when it is there, beside the bare unary call."""
    look.open("stars-and-rings")
    look.page.get_by_text("512 × 512").wait_for()
    look.page.evaluate(AGES)
    x, y = middle(scene("stars-and-rings").masks[3])
    for step in range(TIMES):
        look.page.mouse.move(*look.at(x - TIMES + 2 * step, y))
        # As a hand moves: some ten places a second.
        look.page.wait_for_timeout(80)
    ages = look.page.evaluate("() => globalThis.ages")
    picture, took = FOLDER / "stars-and-rings.jpg", []
    for step in range(TIMES):
        began = time.monotonic()
        point = [[x - TIMES + 2 * step, y]]
        client.predict_masks(picture, point_coords=point, point_labels=[1], multimask_output=False)
        took.append(1000 * (time.monotonic() - began))
    age, bare = statistics.median(ages), statistics.median(took[1:])
    print(f"age of a preview: {age:.0f} ms of {len(ages)}, bare call {bare:.0f} ms, ratio {age / bare:.2f}")


def frames(browser: Browser) -> None:
    """Script time of a frame on a grid of 64 x 64 x 384."""
    words = ["npx", "esbuild", "--bundle", "--format=iife", "--loader=ts"]
    bundle = subprocess.run(words, cwd=WEB, input=FRAMES, capture_output=True, text=True, check=True).stdout
    page = browser.new_page()
    page.add_script_tag(content=bundle)
    took = page.evaluate("() => globalThis.frames(64, 384, 200)")
    print(f"a frame of 64 x 64 x 384: median {statistics.median(took):.1f} ms, most {max(took[20:]):.1f} ms")


def main() -> None:
    """Prints all three."""
    with tempfile.TemporaryDirectory() as name, server_and_browser(Path(name)) as (server, browser):
        frames(browser)
        with (
            looking(browser, server.url("page")) as look,
            FeatsvcClient(server.target, api_key=DEFAULT_KEY) as client,
        ):
            hover(look, client)
            first_mask(look, client, Path(name))


if __name__ == "__main__":
    main()
