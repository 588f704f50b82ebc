"""The drawn scenes of the page's gallery: `python -m tests.web.gallery` draws them into rest_shim/page/pictures."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from featsvc.demo.drawing.scenes import HELD_OUT_SEED, Scene, SceneOptions, draw

FOLDER = Path(__file__).parents[2] / "rest_shim" / "page" / "pictures"
OPTIONS = SceneOptions(size=512, min_objects=3, palette=4)
SEEDS = {"red-circle": 31, "three-circles": 29, "stars-and-rings": 22, "squares": 43, "two-colours": 33}


def scene(name: str) -> Scene:
    """The scene of a picture of the gallery, with the masks of what is in it."""
    return draw(HELD_OUT_SEED + SEEDS[name], OPTIONS)


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in SEEDS:
        Image.fromarray(scene(name).image).save(FOLDER / f"{name}.jpg", quality=85)
        print(name, scene(name).caption)
