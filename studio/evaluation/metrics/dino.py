"""DINO: how much the generated pictures look like the reference pictures to a model that tells subjects apart."""

from __future__ import annotations

from lora_loom.studio.evaluation.similarity_metric import SimilarityMetric


class DinoSimilarity(SimilarityMetric):
    """Mean pairwise cosine of DINO's features (DreamBooth, arXiv:2208.12242, section 4.1), here DINOv2's."""

    name = "dino"
    title = "DINO"
    source = "arXiv:2208.12242"
    extractor_kinds = ("dinov2",)
