"""Answers that the scripted server gives, and a picture to ask about."""

from __future__ import annotations

import numpy as np

from featsvc.codec.arrays import to_tensor
from featsvc.v1 import clip_pb2, image_pb2

PICTURE = bytes(range(40))
VALUES = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
GEOMETRY = image_pb2.Geometry(patch_size=14, grid_height=2, grid_width=3)
TEXTS = clip_pb2.EncodeTextResponse(text_embedding=to_tensor(VALUES[0]), model="m")
