"""CLIP-I: how much the generated pictures look like the reference pictures to CLIP."""

from __future__ import annotations

from lora_loom.studio.evaluation.similarity_metric import SimilarityMetric


class ClipImageSimilarity(SimilarityMetric):
    """Mean pairwise cosine of image features (DreamBooth, arXiv:2208.12242, section 4.1)."""

    name = "clip_i"
    title = "CLIP-I"
    source = "arXiv:2208.12242"
    extractor_kinds = ("clip", "open_clip", "pocket")
