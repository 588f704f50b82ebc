"""The page as whoever looks at it uses it: pictures, clicks, and the files that it saves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco
from scipy.ndimage import distance_transform_edt

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

TIMEOUT_MS = 60_000


@dataclass(frozen=True)
class Look:
    """An open page."""

    page: Page

    def open(self, name: str) -> None:
        """Opens a picture of the gallery, and waits until the server has seen it."""
        self.thumbnail(name).click()
        self.page.get_by_text("answered in").wait_for()

    def thumbnail(self, name: str, region: str = "Pictures") -> Locator:
        """A picture of the gallery; the second one has a gallery of its own."""
        there = self.page.get_by_role("region", name=region, exact=True)
        return there.locator(f".thumbnail:has(img[src$='{name}.jpg'])")

    def open_second(self, name: str) -> None:
        """Opens a picture of the gallery beside the first, and waits until it is shown."""
        self.thumbnail(name, "Second picture").click()
        self.page.locator(".stage").nth(1).wait_for()

    @property
    def stage(self) -> Locator:
        return self.page.locator(".stage").first

    def at(self, x: float, y: float, size: int = 512) -> tuple[float, float]:
        """Where on the screen a pixel of a picture of this size lies."""
        box = self.stage.bounding_box()
        assert box is not None
        return box["x"] + box["width"] * (x + 0.5) / size, box["y"] + box["height"] * (y + 0.5) / size

    def click(self, x: float, y: float, *, right: bool = False, size: int = 512) -> None:
        """A click on a pixel of the picture."""
        self.page.mouse.click(*self.at(x, y, size), button="right" if right else "left")

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """A box from one pixel to another."""
        self.page.mouse.move(*self.at(*start))
        self.page.mouse.down()
        self.page.mouse.move(*self.at(*end), steps=4)
        self.page.mouse.up()

    def press(self, name: str) -> None:
        """A button of the page."""
        self.page.get_by_role("button", name=name, exact=True).click()

    def answered(self, times: int = 1) -> None:
        """Waits until so many objects have a mask."""
        self.page.locator(".things li[data-answered]").nth(times - 1).wait_for()

    def saved(self, name: str) -> bytes:
        """The file that a button saves."""
        with self.page.expect_download() as download:
            self.press(name)
        return Path(download.value.path()).read_bytes()

    def annotations(self) -> list[dict[str, Any]]:
        """What the COCO file says, as pycocotools reads it, with the mask of each as an array."""
        found: list[dict[str, Any]] = json.loads(self.saved("COCO"))["annotations"]
        return [{**each, "mask": coco.decode(each["segmentation"]).astype(bool)} for each in found]

    def mask(self) -> NDArray[np.bool_]:
        """That of the only object."""
        (found,) = self.annotations()
        mask: NDArray[np.bool_] = found["mask"]
        return mask


def middle(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """The pixel of a mask that is farthest from its edge, x and y."""
    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), mask.shape)
    return int(x), int(y)


def iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Intersection over union."""
    return float((one & other).sum() / (one | other).sum())
