"""The metrics and feature extractors that exist: those of their folders and of installed packages."""

from __future__ import annotations

from collections.abc import Mapping

from lora_loom.pipelines.errors import EvaluationError
from lora_loom.pipelines.plugins import Registry, classes
from lora_loom.studio.evaluation.extractor import FeatureExtractor
from lora_loom.studio.evaluation.metric import Metric

METRICS: Registry[type[Metric]] = Registry(
    "metric", folder="lora_loom.studio.evaluation.metrics", group="loom.metrics", offered=classes(Metric)
)
EXTRACTORS: Registry[type[FeatureExtractor]] = Registry(
    "feature extractor",
    folder="lora_loom.studio.evaluation.extractors",
    group="loom.extractors",
    offered=classes(FeatureExtractor),
    name_of=lambda extractor, module: extractor.kind,
)


def metrics() -> Mapping[str, type[Metric]]:
    """Every metric by its name."""
    return METRICS.parts


def extractors() -> Mapping[str, type[FeatureExtractor]]:
    """Every kind of feature extractor by its name."""
    return EXTRACTORS.parts


def find_metric(name: str) -> type[Metric]:
    """The metric of that name; raises EvaluationError that lists the known ones."""
    return METRICS.get(name, EvaluationError)


def find_extractor(asked: str) -> FeatureExtractor:
    """The extractor asked for as KIND or KIND:SOURCE; raises EvaluationError for an unknown kind."""
    kind, _, source = asked.partition(":")
    return EXTRACTORS.get(kind, EvaluationError)(source)
