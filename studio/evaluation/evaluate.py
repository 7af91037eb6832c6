"""Evaluate a set of pictures: every picture is decoded once, seen once by each extractor, and given to all metrics."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lora_loom.pipelines.errors import EvaluationError
from lora_loom.studio.evaluation.cells import Cell, cells_of
from lora_loom.studio.evaluation.extractor import FeatureExtractor
from lora_loom.studio.evaluation.feature_cache import FeatureCache
from lora_loom.studio.evaluation.features import TextFeatures
from lora_loom.studio.evaluation.metadata import expected_of
from lora_loom.studio.evaluation.metric import Batch, Metric, Sample, Side
from lora_loom.studio.evaluation.picture_set import PictureSet
from lora_loom.studio.evaluation.registry import find_extractor, find_metric, metrics
from lora_loom.studio.evaluation.result import Result

BATCH = 64
DEFAULT_EXTRACTOR = "pocket"
OnPictures = Callable[[int, int], None]  # pictures done, pictures in all


@dataclass(frozen=True)
class Refusal:
    """A measure that was asked for and would have meant nothing."""

    cell: Cell
    metric: str
    error: EvaluationError


@dataclass(frozen=True)
class Evaluation:
    """Results by cell, what was refused, and the metrics themselves with all they have seen."""

    pictures: PictureSet
    reference: PictureSet | None
    cells: Mapping[Cell, PictureSet]
    results: Mapping[Cell, tuple[Result, ...]]
    refusals: tuple[Refusal, ...]
    measured: Mapping[Cell, tuple[Metric, ...]] = field(repr=False)

    def rows(self) -> list[dict[str, Any]]:
        """One row for each cell and result, for a table."""
        return [{**cell.keys, **result.to_dict()} for cell, results in self.results.items() for result in results]


@dataclass(frozen=True)
class Asked:
    """One entry of `--metrics`: NAME, or NAME@EXTRACTOR to look through another extractor than the rest."""

    metric: type[Metric]
    extractor: FeatureExtractor | None

    @property
    def label(self) -> str:
        return self.metric.name if self.extractor is None else f"{self.metric.name}@{self.extractor.id}"


def ask(names: Sequence[str], extractor: str | FeatureExtractor = DEFAULT_EXTRACTOR) -> list[Asked]:
    """The metrics of these names with their extractors, checked before anything is read.

    Raises EvaluationError for an unknown name, an extractor that cannot be used, or one that a metric does not fit.
    """
    held: dict[str, FeatureExtractor] = {}
    if isinstance(extractor, FeatureExtractor):
        held[extractor.id], extractor = extractor, extractor.id

    def one(asked: str) -> FeatureExtractor:
        if asked not in held:
            held[asked] = find_extractor(asked)
            held[asked].require_available()
        return held[asked]

    found: list[Asked] = []
    for entry in names:
        name, _, own = entry.partition("@")
        metric = find_metric(name)
        if not metric.needs_features:
            if own:
                raise EvaluationError(f"{name} looks through no extractor", found=entry, remedy=f"Ask for {name}")
            found.append(Asked(metric, None))
            continue
        chosen = one(own or extractor)
        if metric.needs_prompts and not chosen.has_text:
            raise EvaluationError(f"{name} needs an extractor that reads prompts", found=chosen.id)
        if metric.extractor_kinds and chosen.kind not in metric.extractor_kinds:
            raise EvaluationError(
                f"{name} is not defined on {chosen.id}",
                expected=f"an extractor of kind {' or '.join(metric.extractor_kinds)}",
                remedy=f"Ask for {name}@{metric.extractor_kinds[0]}:SOURCE",
            )
        found.append(Asked(metric, chosen))
    if not found:
        raise EvaluationError("no metric is asked for", expected=f"some of {', '.join(metrics())}")
    return found


def fitting(pictures: PictureSet, reference: PictureSet | None, extractor: str = DEFAULT_EXTRACTOR) -> list[str]:
    """The metrics that these pictures allow, for whoever does not name any; raises EvaluationError if none does."""
    chosen = find_extractor(extractor)
    usable, reason = chosen.available()
    prompts = all(picture.sample.prompt for picture in pictures.pictures)
    expected = all(_expects(picture.sample) for picture in pictures.pictures)
    found = [
        name
        for name, metric in metrics().items()
        if (reference is not None or not metric.needs_reference)
        and (prompts or not metric.needs_prompts)
        and (expected or not metric.needs_expected)
        and (usable or not metric.needs_features)
        and (not metric.extractor_kinds or chosen.kind in metric.extractor_kinds)
        and not name.endswith("_sealed")  # for published tables only, and only if asked for
    ]
    if not found:
        raise EvaluationError(
            f"nothing can be measured on {pictures.path}",
            expected="an extractor, or the concepts that each picture has to show",
            found=f'no "expected" in the metadata, and {chosen.id} is unavailable because {reason}',
            remedy="Name an extractor with --extractor: `loom evaluate metrics` lists them",
        )
    return found


def evaluate(
    pictures: PictureSet,
    asked: Sequence[Asked],
    reference: PictureSet | None = None,
    *,
    by: Sequence[str] | None = None,
    any_size: bool = False,
    cache: FeatureCache | None = None,
    on_pictures: OnPictures | None = None,
) -> Evaluation:
    """Measure pictures, each cell on its own: pictures that agree in the metadata `by` (None finds what differs).

    A metric that refuses a cell becomes a Refusal, and the others are still measured. Raises EvaluationError for
    unreadable pictures, mixed sizes, a missing reference, and pictures without the metadata that a metric needs.
    """
    _check_metadata(pictures, reference, asked)
    pictures.check(any_size=any_size)
    if reference is not None:
        reference.check(any_size=any_size)
    cells = cells_of(pictures, by)
    reader = _Reader(asked, cache or FeatureCache(), on_pictures, len(pictures) + len(reference or ()))
    seen: list[Metric] = []
    if reference is not None:
        seen = reader.measure(reference, "reference")
    measured: dict[Cell, tuple[Metric, ...]] = {}
    for cell, members in cells.items():
        own = reader.measure(members, "generated")
        for metric, of_reference in zip(own, seen, strict=bool(seen)):
            metric.merge(of_reference)
        measured[cell] = tuple(own)
    results: dict[Cell, tuple[Result, ...]] = {}
    refusals: list[Refusal] = []
    for cell, own in measured.items():
        found: list[Result] = []
        for metric in own:
            try:
                found += metric.compute()
            except EvaluationError as error:
                refusals.append(Refusal(cell, metric.name, error))
        results[cell] = tuple(found)
    return Evaluation(pictures, reference, cells, results, tuple(refusals), measured)


class _Reader:
    """Reads pictures and feeds fresh metrics with them."""

    def __init__(self, asked: Sequence[Asked], cache: FeatureCache, on_pictures: OnPictures | None, total: int) -> None:
        self.asked, self.cache, self.on_pictures, self.total = asked, cache, on_pictures, total
        self.done = 0
        self.texts: dict[tuple[str, str], tuple[np.ndarray, bool]] = {}  # by extractor and text

    def measure(self, pictures: PictureSet, side: Side) -> list[Metric]:
        """New metrics that have seen these pictures."""
        own = [each.metric(each.extractor.info if each.extractor else None) for each in self.asked]
        used = [
            (each, metric)
            for each, metric in zip(self.asked, own, strict=True)
            if side == "generated" or metric.needs_reference
        ]
        for samples, pixels in _batches(pictures):
            features = {
                each.extractor.id: self.cache.features(each.extractor, pixels) for each, _ in used if each.extractor
            }
            for each, metric in used:
                extractor = each.extractor
                batch = Batch(
                    samples,
                    None if extractor is None else features[extractor.id],
                    {} if extractor is None else self._texts(extractor, samples, metric.templates),
                    pixels if metric.needs_pixels else None,
                )
                metric.update(batch, side)
            self.done += len(samples)
            if self.on_pictures is not None:
                self.on_pictures(self.done, self.total)
        return own

    def _texts(
        self, extractor: FeatureExtractor, samples: Sequence[Sample], templates: Sequence[str]
    ) -> dict[str, TextFeatures]:
        """The prompts' features in each template; every different text is embedded once."""
        wanted = {template: [template.replace("{}", sample.prompt) for sample in samples] for template in templates}
        every = dict.fromkeys(text for texts in wanted.values() for text in texts)
        if new := [text for text in every if (extractor.id, text) not in self.texts]:
            made = extractor.embed_text(new)
            for text, row, cut in zip(new, made.features, made.truncated, strict=True):
                self.texts[extractor.id, text] = (row, bool(cut))
        found: dict[str, TextFeatures] = {}
        for template, texts in wanted.items():
            rows, cuts = zip(*(self.texts[extractor.id, text] for text in texts), strict=True)
            found[template] = TextFeatures(np.stack(rows), np.array(cuts, dtype=np.bool_))
        return found


def _batches(pictures: PictureSet) -> Iterator[tuple[list[Sample], np.ndarray]]:
    """Samples and uint8 pixels [n h w 3], of one size at a time."""
    waiting: defaultdict[tuple[int, ...], list[tuple[Sample, np.ndarray]]] = defaultdict(list)
    for picture in pictures.pictures:
        pixels = picture.pixels()
        held = waiting[pixels.shape]
        held.append((picture.sample, pixels))
        if len(held) == BATCH:
            yield [sample for sample, _ in held], np.stack([one for _, one in held])
            held.clear()
    for held in waiting.values():
        if held:
            yield [sample for sample, _ in held], np.stack([one for _, one in held])


def _expects(sample: Sample) -> bool:
    try:
        return bool(expected_of(sample))
    except EvaluationError:  # GenEval's rows, for one, expect something else
        return False


def _check_metadata(pictures: PictureSet, reference: PictureSet | None, asked: Sequence[Asked]) -> None:
    for each in asked:
        name = each.metric.name
        if each.metric.needs_reference and reference is None:
            raise EvaluationError(f"{name} needs reference pictures", remedy="Name their folder with --reference")
        if each.metric.needs_prompts:
            bare = [picture.sample.name for picture in pictures.pictures if not picture.sample.prompt]
            if bare:
                raise EvaluationError(
                    f"{name} needs the prompt of every picture",
                    expected='a metadata.jsonl with "file_name" and "prompt", or pictures that Loom saved',
                    found=f"{len(bare)} of {len(pictures)} pictures without, such as {bare[0]}",
                )
