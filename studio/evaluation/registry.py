"""The metrics and feature extractors that exist: every file of their folders is read; adding one is adding a file."""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Iterable
from functools import cache
from types import ModuleType
from typing import TypeVar

import lora_loom.studio.evaluation.extractors as extractors_package
import lora_loom.studio.evaluation.metrics as metrics_package
from lora_loom.pipelines.errors import EvaluationError
from lora_loom.studio.evaluation.extractor import FeatureExtractor
from lora_loom.studio.evaluation.metric import Metric

Kind = TypeVar("Kind")


@cache
def metrics() -> dict[str, type[Metric]]:
    """Every metric by its name."""
    return _collect(metrics_package, Metric, "name")


@cache
def extractors() -> dict[str, type[FeatureExtractor]]:
    """Every kind of feature extractor by its name."""
    return _collect(extractors_package, FeatureExtractor, "kind")


def find_metric(name: str) -> type[Metric]:
    """The metric of that name; raises EvaluationError that lists the known ones."""
    found = metrics().get(name)
    if found is None:
        raise _unknown("metric", name, metrics())
    return found


def find_extractor(asked: str) -> FeatureExtractor:
    """The extractor asked for as KIND or KIND:SOURCE; raises EvaluationError for an unknown kind."""
    kind, _, source = asked.partition(":")
    found = extractors().get(kind)
    if found is None:
        raise _unknown("feature extractor", kind, extractors())
    return found(source)


def _collect(package: ModuleType, base: type[Kind], key: str) -> dict[str, type[Kind]]:
    found: dict[str, type[Kind]] = {}
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        for kind in vars(importlib.import_module(module.name)).values():
            if not inspect.isclass(kind) or not issubclass(kind, base) or inspect.isabstract(kind):
                continue
            if kind.__module__ != module.name:
                continue
            name = getattr(kind, key)
            if name in found:
                raise TypeError(f"{name!r} is defined in {found[name].__module__} and in {module.name}; rename one")
            found[name] = kind
    return dict(sorted(found.items()))


def _unknown(what: str, name: str, known: Iterable[str]) -> EvaluationError:
    close = difflib.get_close_matches(name, list(known), n=1)
    return EvaluationError(
        f"there is no {what} {name!r}",
        expected=f"one of {', '.join(known)}",
        remedy=f"Did you mean {close[0]!r}?" if close else "",
    )
