"""The SAM2 operations: masks of everything, masks of what prompts point at, and encoding ahead of both."""

from __future__ import annotations

from functools import partial

from featsvc.engines import sam2_embed, sam2_generate, sam2_model, sam2_predict
from featsvc.engines.family import Family, Operation
from featsvc.engines.sam2_view import EmbeddingCache


def family(embeddings: EmbeddingCache) -> Family:
    """The operations, all over one cache of embeddings."""
    return Family(
        sam2_model.load,
        {
            "sam2.generate_masks": Operation(partial(sam2_generate.prepare, embeddings), sam2_generate.run),
            "sam2.predict_masks": Operation(partial(sam2_predict.prepare, embeddings), sam2_predict.run),
            "sam2.embed_image": Operation(partial(sam2_embed.prepare, embeddings), sam2_embed.run),
        },
    )
