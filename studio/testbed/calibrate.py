"""Fit the doctor's forecast on drawn sets: how likely a picture by `merge` lacks a concept, from the factors alone.

Fitted on the tuning sets of a run, measured on its test sets, beside plain cosine and beside the number of LoRAs, which
alone tells a lot. The same LoRAs are in both parts; the sets are not.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import spearmanr

from lora_loom.pipelines.forecast.risk import Forecast, Term, features
from lora_loom.studio.results import Row, results_folder, write_results
from lora_loom.studio.testbed.outcomes import Outcomes, read
from lora_loom.studio.testbed.sets import LoraSet

Floats = NDArray[np.float64]
METHOD = "merge"
RESAMPLES = 200
STRENGTHS = (0.01, 0.1, 1.0, 10.0)  # C of the logistic model, chosen by cross-validation over sets
FOLDS = 5


@dataclass(frozen=True)
class Example:
    """One set: its figures, and of how many pictures how many lack a concept."""

    asked: LoraSet
    figures: Mapping[str, float]
    lost: int
    pictures: int


def examples(outcomes: Outcomes, part: str, judge: str, figures: Mapping[str, Mapping[str, float]]) -> list[Example]:
    """The sets of a part that `merge` drew, with the `figures` of each by the set's name."""
    found: dict[str, list[bool]] = {}
    asked: dict[str, LoraSet] = {}
    for (name, k), cell in outcomes.cells.items():
        if name == METHOD and k > 1:
            for each, joint in zip(cell.sets, cell.joint(judge), strict=True):
                if each.part == part:
                    found.setdefault(each.name, []).append(not joint)
                    asked[each.name] = each
    return [Example(asked[name], figures[name], sum(lost), len(lost)) for name, lost in found.items()]


def fit(tuning: Sequence[Example]) -> Forecast:
    """The logistic model, each picture counting once; raises ValueError where all or none lack a concept."""
    if not 0 < sum(each.lost for each in tuning) < sum(each.pictures for each in tuning):
        raise ValueError("pictures that lack a concept and pictures that have all are both needed")
    names = list(tuning[0].figures)
    table = np.array([[each.figures[name] for name in names] for each in tuning])
    mean, scale = table.mean(axis=0), table.std(axis=0)
    scale[scale == 0.0] = 1.0
    x = (table - mean) / scale
    lost, pictures = (np.array([getattr(each, name) for each in tuning], float) for name in ("lost", "pictures"))
    fold = np.arange(len(tuning)) % min(FOLDS, len(tuning))

    def held_out(c: float) -> float:
        """Log loss of a picture, of sets that had no part in the fit: the mean over folds."""
        losses: list[float] = []
        for each in range(fold.max() + 1):
            out = fold == each
            intercept, weights = logistic(x[~out], lost[~out], pictures[~out], c)
            losses.append(_log_loss(x[out] @ weights + intercept, lost[out], pictures[out]) / pictures[out].sum())
        return float(np.mean(losses))

    intercept, weights = logistic(x, lost, pictures, min(STRENGTHS, key=held_out))
    terms = tuple(
        Term(name, float(m), float(s), float(a)) for name, m, s, a in zip(names, mean, scale, weights, strict=True)
    )
    return Forecast("pocket", METHOD, intercept, terms, len(tuning), int(pictures.sum()), None)


def logistic(x: Floats, lost: Floats, pictures: Floats, c: float) -> tuple[float, Floats]:
    """Intercept and weights [d] that minimise c * log loss + |w|^2 / 2, over x [n d] with `lost` of `pictures` each.

    Newton's method in a trust region, from 0; the problem is convex.
    """
    table = np.column_stack((np.ones(len(x)), x))
    penalty = np.diag([0.0, *np.ones(x.shape[1])])

    def loss(w: Floats) -> float:
        return c * _log_loss(table @ w, lost, pictures) + float(w @ penalty @ w) / 2

    def slope(w: Floats) -> Floats:
        return c * table.T @ (pictures * expit(table @ w) - lost) + penalty @ w

    def curvature(w: Floats) -> Floats:
        p = expit(table @ w)
        return c * (table.T * (pictures * p * (1 - p))) @ table + penalty

    found = minimize(loss, np.zeros(table.shape[1]), jac=slope, hess=curvature, method="trust-exact", tol=1e-10)
    return float(found.x[0]), found.x[1:]


def _log_loss(z: Floats, lost: Floats, pictures: Floats) -> float:
    """Sum over pictures of -log p of what happened, at log odds z [n]."""
    return float((pictures * np.logaddexp(0.0, z) - lost * z).sum())


def auc(scores: Sequence[float], held: Sequence[Example]) -> float:
    """The chance that a picture that lacks a concept has the higher score of its set than one that has all."""
    score = np.asarray(scores)
    lost = np.array([each.lost for each in held], float)
    kept = np.array([each.pictures for each in held], float) - lost
    higher = np.sign(score[:, None] - score) / 2 + 0.5  # [n n]: 1, 0, or 1/2 for equal scores
    return float(lost @ higher @ kept / (lost.sum() * kept.sum()))


def rank_correlation(scores: Sequence[float], held: Sequence[Example]) -> float:
    """Spearman's, between the score of a set and its share of pictures that lack a concept."""
    result: Any = spearmanr(scores, [each.lost / each.pictures for each in held])
    return float(result.statistic)


def rows(forecast: Forecast, held: Sequence[Example], resamples: int = RESAMPLES) -> list[Row]:
    """AUC and rank correlation of the forecast, of the largest cosine and of the number of LoRAs, over all and by k."""
    predictors = {
        "forecast": lambda each: forecast.risk(each.figures),
        "cosine": lambda each: each.figures["cosine_largest"],
        "number of LoRAs": lambda each: each.figures["adapters"],
    }
    found: list[Row] = []
    for k, (name, score) in itertools.product((None, *sorted({e.asked.k for e in held})), predictors.items()):
        chosen = [each for each in held if k in (None, each.asked.k)]
        if k is not None and name == "number of LoRAs":
            continue
        scores = [score(each) for each in chosen]
        for what, measure in (("AUC", auc), ("rank correlation", rank_correlation)):
            line = 0.8 if (what, name, k) == ("AUC", "forecast", None) else None
            found.append(_row(what, name, k, measure, scores, chosen, line, resamples))
    return found


def _row(
    what: str,
    name: str,
    k: int | None,
    measure: Any,
    scores: Sequence[float],
    held: Sequence[Example],
    line: float | None,
    resamples: int,
) -> Row:
    """A figure with its interval by resampling sets; without a value where all outcomes or all scores are equal."""

    def value(chosen: NDArray[np.int64]) -> float | None:
        mine, sets = [scores[i] for i in chosen], [held[i] for i in chosen]
        shares = {each.lost / each.pictures for each in sets}
        return measure(mine, sets) if len(shares) > 1 and len(set(mine)) > 1 else None

    rng = np.random.default_rng(0)
    drawn = [value(rng.integers(0, len(held), len(held))) for _ in range(resamples)]
    kept = [each for each in drawn if each is not None]
    found = value(np.arange(len(held)))
    low, high = np.percentile(kept, (2.5, 97.5)) if kept else (None, None)
    return {
        "what": what,
        "predictor": name,
        "k": k,
        "value": None if found is None else round(found, 4),
        "ci_low": None if low is None else round(float(low), 4),
        "ci_high": None if high is None else round(float(high), 4),
        "n": len(held),
        "line": line,
        "holds": None if line is None or found is None else found >= line,
    }


def figures_of(sets: Sequence[LoraSet]) -> dict[str, dict[str, float]]:
    """`features` of the shipped LoRAs of every set, by its name."""
    from lora_loom.pipelines.adapters.load import BaseTarget, load_adapter
    from lora_loom.pipelines.forecast.examine import examine
    from lora_loom.studio.pocket import adapters_path
    from lora_loom.studio.session import Studio

    target = BaseTarget.from_pipeline(Studio("pocket").pipeline)
    names = sorted({name for each in sets for name in each.members})
    adapters = {n: load_adapter(adapters_path() / f"{n}.safetensors", name=n, target=target) for n in names}
    return {
        each.name: features(
            examine({name: adapters[name] for name in each.members}, dict.fromkeys(each.members, 1.0), turn=False)
        )
        for each in sets
    }


def write(paths: Sequence[Path], judge: str, out: Path, folder: Path | None = None) -> None:
    """Fit on the tuning sets, measure on the test sets; write the model and forecast.json of `results_folder`."""
    folder = results_folder(folder)
    outcomes = read(paths)
    drawn = {e.name: e for (name, k), cell in outcomes.cells.items() if name == METHOD and k > 1 for e in cell.sets}
    figures = figures_of(list(drawn.values()))
    tuning, held = (examples(outcomes, part, judge, figures) for part in ("tuning", "test"))
    if not tuning or not held:
        raise SystemExit("runs of tuning sets (--part tuning) and of test sets are both needed, drawn by merge")
    forecast = fit(tuning)
    measured = rows(forecast, held)
    value = measured[0]["value"]
    forecast = replace(forecast, auc=float(value) if isinstance(value, float) else None)
    out.write_text(forecast.to_json(), encoding="utf-8")
    about: Row = {"what": "about", "judge": judge, "fitted": forecast.provenance, "held_out_sets": len(held)}
    write_results(
        "forecast", "python -m lora_loom.studio.testbed calibrate RUN.jsonl.gz ...", [about, *measured], folder
    )
