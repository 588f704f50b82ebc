"""What demo-clip is told in training: phrases for colours, shapes and coloured shapes."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from open_clip.model import CLIP
from torch.nn import functional as F

from featsvc.demo.drawing.scenes import Object
from featsvc.demo.drawing.shapes import SHAPES
from featsvc.demo.drawing.textures import COLOURS

PAIRS = tuple(product(COLOURS, SHAPES))
"""Every coloured shape, shapes fastest; class i + 1 of a patch is PAIRS[i], class 0 the background."""

CLASS_OF = {Object((colour,), shape): index + 1 for index, (colour, shape) in enumerate(PAIRS)}

_BACKGROUND = ("background", "the background", "a background", "nothing")
_COLOUR = ("{}", "a {} object", "a {} shape", "the {} thing", "something {}", "{} colour")
_NOUN = (
    "a {}",
    "the {}",
    "{}",
    "a photo of a {}",
    "a picture of a {}",
    "an image of the {}",
    "there is a {}",
)


def _phrase(templates: tuple[str, ...], name: str, rng: np.random.Generator) -> str:
    """The first template half of the time, as it is what most users type."""
    template = templates[0] if rng.random() < 0.5 else templates[rng.integers(len(templates))]
    return template.format(name)


def bank(rng: np.random.Generator) -> list[str]:
    """A phrase for the background, then each pair, each colour, each shape."""
    return [
        _phrase(_BACKGROUND, "", rng),
        *(_phrase(_NOUN, f"{colour} {shape}", rng) for colour, shape in PAIRS),
        *(_phrase(_COLOUR, colour, rng) for colour in COLOURS),
        *(_phrase(_NOUN, shape, rng) for shape in SHAPES),
    ]


def text_features(model: CLIP, tokens: torch.Tensor) -> torch.Tensor:
    """What encode_text gives, N x D, L2-normalised, without computing the padding behind the longest text."""
    length = int(tokens.argmax(dim=1).max()) + 1
    tokens = tokens[:, :length]
    states = model.token_embedding(tokens) + model.positional_embedding[:length]
    states = model.transformer(states, attn_mask=model.attn_mask[:length, :length])
    ends = model.ln_final(states[torch.arange(len(tokens)), tokens.argmax(dim=1)])
    return F.normalize(ends @ model.text_projection, dim=-1)
