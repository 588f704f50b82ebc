"""The SAM2 operations: masks of everything, and masks of what prompts point at."""

from __future__ import annotations

from featsvc.engines import sam2_generate, sam2_model, sam2_predict
from featsvc.engines.family import Family, Operation

FAMILY = Family(
    sam2_model.load,
    {
        "sam2.generate_masks": Operation(sam2_generate.prepare, sam2_generate.run),
        "sam2.predict_masks": Operation(sam2_predict.prepare, sam2_predict.run),
    },
)
