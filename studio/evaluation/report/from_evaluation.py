"""From an evaluation to the content of a report: entries, findings in pairs, random sheets, judges that disagree."""

from __future__ import annotations

import base64
import io
import random
from collections.abc import Mapping, Sequence

from PIL import Image

from lora_loom.pipelines.errors import EvaluationError
from lora_loom.studio.evaluation.cells import Cell
from lora_loom.studio.evaluation.compare import compare
from lora_loom.studio.evaluation.cost import cost_of
from lora_loom.studio.evaluation.evaluate import Evaluation
from lora_loom.studio.evaluation.metrics.joint_success import JointSuccess
from lora_loom.studio.evaluation.picture_metric import PictureMetric
from lora_loom.studio.evaluation.picture_set import Picture
from lora_loom.studio.evaluation.report.content import Entry, Measure, Sheet, Tile
from lora_loom.studio.evaluation.result import Result

HEADLINES = ("joint_success_sealed", "joint_success")
DISAGREEMENTS = 16
TILE = 192  # pixels of a tile at most


def entries_of(found: Evaluation, name: str = "") -> list[Entry]:
    """One entry for each cell; `name` tells the set apart where a report has several."""
    return [_entry(found, cell, results, name) for cell, results in found.results.items()]


def _entry(found: Evaluation, cell: Cell, results: Sequence[Result], name: str) -> Entry:
    keys = {**({"set": name} if name else {}), **cell.keys}
    details: Mapping[str, float] = next((r.details for r in results if r.metric.startswith("concept_success")), {})
    return Entry(
        keys=keys,
        measures=tuple(_measure(result) for result in results),
        cost=cost_of(picture.sample for picture in found.cells[cell].pictures),
        concepts=details,
        kind="control" if keys.get("control") else "method",
    )


def _measure(result: Result) -> Measure:
    name = f"{result.metric} {result.variant}" if result.metric == "clip_score" else result.metric
    return Measure(name, result.value, result.ci_low, result.ci_high, result.n, result.higher_is_better)


def findings_of(found: Evaluation) -> list[str]:
    """For each k, which method leads by the headline, and how sure that is in pairs against the next."""
    by_k: dict[object, list[tuple[Cell, Result]]] = {}
    for cell, results in found.results.items():
        headline = next((r for name in HEADLINES for r in results if r.metric == name), None)
        if headline is not None and not cell.keys.get("control"):
            by_k.setdefault(cell.keys.get("k"), []).append((cell, headline))
    sentences: list[str] = []
    for k, ranked in by_k.items():
        if len(ranked) < 2:
            continue
        (first, best), (second, next_best) = sorted(ranked, key=lambda each: -each[1].value)[:2]
        names = [_method(cell) for cell in (first, second)]
        try:
            difference = compare(next_best, best)
        except EvaluationError:  # other prompts or seeds: the table has to do
            continue
        verdict = "more than chance" if difference.significant else "not significant"
        where = "" if k is None else f"k = {k}: "
        sentences.append(
            f"{where}{names[0]} leads with {best.value:.3f}; over {names[1]} that is {difference.difference:+.3f}"
            f" ({_span(difference.ci_low, difference.ci_high)}) in {difference.n} pairs, {verdict}."
        )
    return sentences


def _method(cell: Cell) -> str:
    return " ".join(str(value) for key, value in cell.items if key in ("method", "settings") and value)


def _span(low: float | None, high: float | None) -> str:
    return "no interval" if low is None or high is None else f"95 % interval {low:+.3f} to {high:+.3f}"


def sheets_of(found: Evaluation, samples: int, seed: int = 0) -> list[Sheet]:
    """Random pictures of every cell, never the best ones; then pictures on which two judges disagree."""
    sheets: list[Sheet] = []
    disagreeing: list[tuple[str, Picture, JointSuccess, JointSuccess]] = []
    in_order = sorted(found.cells.items(), key=lambda each: str(each[0].keys.get("k")))  # methods of one k together
    for cell, pictures in in_order:
        judges = [metric for metric in found.measured[cell] if isinstance(metric, JointSuccess)]
        scores = [m for m in found.measured[cell] if isinstance(m, PictureMetric) and m not in judges]
        chosen = random.Random(seed).sample(pictures.pictures, min(samples, len(pictures)))
        tiles = tuple(_tile(picture, judges[:1], scores) for picture in chosen)
        note = f"{len(chosen)} of {len(pictures)}"
        sheets.append(Sheet(cell.label, tiles, note))
        if len(judges) == 2:
            joint = [judge.by_name for judge in judges]
            disagreeing += [
                (cell.label, picture, judges[0], judges[1])
                for picture in pictures.pictures
                if joint[0][picture.sample.name] != joint[1][picture.sample.name]
            ]
    if disagreeing:
        shown = random.Random(seed).sample(disagreeing, min(DISAGREEMENTS, len(disagreeing)))
        tiles = tuple(
            _tile(picture, (one, other), [], caption=f"{label}: {_said(one, other, picture)}")
            for label, picture, one, other in shown
        )
        note = f"{len(shown)} of {len(disagreeing)}"
        sheets.append(Sheet("Where the judges disagree", tiles, note))
    return sheets


def _tile(picture: Picture, judges: Sequence[JointSuccess], scores: Sequence[PictureMetric], caption: str = "") -> Tile:
    name = picture.sample.name
    marks = tuple((v.expected, v.holds) for judge in judges[:1] for v in judge.verdicts_of(name))
    values = [f"{metric.title} {metric.by_name[name][0]:.3f}" for metric in scores]
    return Tile(_data_url(picture), picture.sample.prompt, marks, caption or ", ".join(values))


def _said(one: JointSuccess, other: JointSuccess, picture: Picture) -> str:
    name = picture.sample.name
    differ = [
        f"{a.expected} seen as {a.found} and {b.found}"
        for a, b in zip(one.verdicts_of(name), other.verdicts_of(name), strict=True)
        if a.holds != b.holds
    ]
    return ", ".join(differ)


def _data_url(picture: Picture) -> str:
    image = Image.fromarray(picture.pixels())
    image.thumbnail((TILE, TILE))
    file = io.BytesIO()
    image.save(file, format="WEBP", quality=88)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
