"""The rows of the big table: rates with intervals, cost, what is attainable, and paired tests between methods."""

from collections.abc import Sequence
from statistics import mean, median

import numpy as np
from numpy.typing import NDArray

from lora_loom.pipelines.errors import LoomError
from lora_loom.studio.evaluation.kappa import agreement, cohens_kappa
from lora_loom.studio.evaluation.resampling import cluster_bootstrap, mcnemar, proportion_interval
from lora_loom.studio.pocket.concepts import CONCEPTS, concept
from lora_loom.studio.pocket.correction import Counted, corrected_share
from lora_loom.studio.results import Row, wilson
from lora_loom.studio.testbed.ceilings import CEILINGS
from lora_loom.studio.testbed.cheats import CHEATS
from lora_loom.studio.testbed.outcomes import ALONE, Cell, Outcomes
from lora_loom.studio.testbed.references import REFERENCES
from lora_loom.studio.testbed.scoring import composition_gap, product_of_singles
from lora_loom.studio.testbed.sets import SIZES

CONTROLS = (*CEILINGS, *CHEATS, "base", ALONE)
RIVALS = ("merge", "switch", "composite")  # the line to beat is the best of these
LINE, DEARER = 1.25, 2.0  # ratio of joint success to reach, at no more than so many forwards a step


def rate(outcomes: Sequence[float] | NDArray[np.float64], clusters: Sequence[str]) -> dict[str, float]:
    low, high = proportion_interval(outcomes, clusters)
    return {"value": round(float(np.mean(outcomes)), 4), "ci_low": round(low, 4), "ci_high": round(high, 4)}


def single_rates(outcomes: Outcomes, judge: str) -> dict[str, float]:
    """How often each LoRA alone shows its concept on its own prompts."""
    cell = outcomes.cells[("merge", 1)]
    shown: dict[str, list[bool]] = {}
    for each in cell.scores[judge]:
        for name, there in each.shown.items():
            shown.setdefault(name, []).append(there)
    return {name: mean(there) for name, there in shown.items()}


def single_rows(outcomes: Outcomes, judge: str) -> list[Row]:
    """Each LoRA alone on its own prompts, and the base on the same prompts."""
    rows: list[Row] = []
    for contestant, control in (("merge", "own"), ("base", "own without LoRA")):
        cell = outcomes.cells.get((contestant, 1))
        if cell is None:
            continue
        for name in CONCEPTS:
            there = [each.shown[name] for each in cell.scores[judge] if name in each.shown]
            if there:
                low, high = wilson(sum(there), len(there))
                keys: Row = {"what": "single", "control": control, "adapter": name, "category": concept(name).category}
                rows.append(keys | {"value": round(mean(there), 4), "ci_low": low, "ci_high": high, "n": len(there)})
    return rows


def cell_rows(outcomes: Outcomes, judge: str) -> list[Row]:
    """One row for each contestant and size: the headline, what lies beside it, and the cost."""
    singles = single_rates(outcomes, judge) if ("merge", 1) in outcomes.cells else {}
    rows: list[Row] = []
    for k in SIZES:
        for name in outcomes.contestants:
            cell = outcomes.cells.get((name, k))
            if cell is not None:
                rows.append(_cell_row(cell, outcomes, judge, singles))
    return rows


def _cell_row(cell: Cell, outcomes: Outcomes, judge: str, singles: dict[str, float]) -> Row:
    kind = "control" if cell.contestant in CONTROLS else "reference" if cell.contestant in REFERENCES else "method"
    row: Row = {"what": kind, "method": cell.contestant, "k": cell.k, "n": len(cell.sets)}
    row["sets"] = len(set(cell.clusters))
    if cell.errors:
        row |= {"failed_sets": len(cell.errors), "first_error": cell.errors[0][:200]}
    if not cell.sets:
        return row
    scores = cell.scores[judge]
    joint = rate(cell.joint(judge), cell.clusters)
    row |= {"joint_success": joint["value"], "ci_low": joint["ci_low"], "ci_high": joint["ci_high"]}
    shown = rate([mean(each.shown.values()) for each in scores], cell.clusters)
    row |= {"concepts_shown": shown["value"], "concepts_ci_low": shown["ci_low"], "concepts_ci_high": shown["ci_high"]}
    by_category: dict[str, list[bool]] = {}
    for each in scores:
        for name, there in each.shown.items():
            by_category.setdefault(concept(name).category, []).append(there)
    row |= {f"shown_{category}": round(mean(there), 4) for category, there in by_category.items()}
    row["colour_bound"] = round(mean(each.bound for each in scores), 4)
    row["preserved"] = round(mean(each.preserved for each in scores), 4)
    if singles and kind != "control":
        products = [product_of_singles(asked, singles) for asked in cell.sets]
        gap = composition_gap(joint["value"], products)
        row |= {"product_of_singles": round(mean(products), 4), "composition_gap": gap and round(gap, 4)}
    if kind != "control":
        row |= _corrected(cell, outcomes, judge)
    for other in outcomes.judges:
        if other != judge and other in cell.scores:
            mine, theirs = cell.joint(judge), cell.joint(other)
            kappa = cohens_kappa([str(each) for each in mine], [str(each) for each in theirs])
            row |= {f"joint_success_{other}": round(mean(theirs), 4), f"kappa_{other}": round(kappa, 4)}
    if cell.passes_per_step:
        row |= {"passes_per_step": round(mean(cell.passes_per_step), 3), "seconds": round(median(cell.seconds), 4)}
        row["peak_memory_mb"] = round(cell.peak_memory_bytes / 2**20)
    if (cell.contestant, cell.k) in outcomes.clocked:
        row["seconds_alone"] = round(outcomes.clocked[cell.contestant, cell.k], 4)
    return row


def _corrected(cell: Cell, outcomes: Outcomes, judge: str) -> Row:
    """The headline corrected for what the judge misses on round trips and sees where one concept lacks."""
    right, lacking = (outcomes.cells.get((name, cell.k)) for name in ("round_trip", "ignores_one"))
    if right is None or lacking is None:
        return {}
    judged, present = (Counted(sum(each.joint(judge)), len(each.sets)) for each in (cell, right))
    absent = Counted(len(lacking.sets) - sum(lacking.joint(judge)), len(lacking.sets))
    try:
        found = corrected_share(judged, present, absent)
    except LoomError:  # a judge no better than chance, as an untrained one: the raw figures say enough
        return {}
    keys = ("joint_success_corrected", "corrected_ci_low", "corrected_ci_high")
    return dict(zip(keys, map(_rounded, (found.value, found.ci_low, found.ci_high)), strict=True))


def judge_rows(outcomes: Outcomes) -> list[Row]:
    """How far the two judges agree on generated pictures, by factor."""
    if len(outcomes.judges) != 2:
        return []
    cells = [cell for cell in outcomes.cells.values() if cell.contestant not in (*CEILINGS, *CHEATS)]
    readings = [[v for cell in cells for v in cell.verdicts.get(judge, ())] for judge in outcomes.judges]
    rows: list[Row] = []
    for factor in sorted(set(readings[0][0]) & set(readings[1][0])):
        a, b = ([verdict[factor] for verdict in side] for side in readings)
        figures = {"agreement": round(agreement(a, b), 4), "kappa": round(cohens_kappa(a, b), 4)}
        rows.append({"what": "judges", "factor": factor, "n": len(a), **figures})
    return rows


def pair_rows(outcomes: Outcomes, judge: str) -> list[Row]:
    """Every method against each rival and the best of them, on the same sets and seeds, by size and over k >= 3."""
    names = [name for name in outcomes.contestants if name not in CONTROLS]
    rows: list[Row] = []
    for sizes in (*((k,) for k in SIZES), SIZES[1:]):
        joints = {name: _joint_by_key(outcomes, name, sizes, judge) for name in names}
        rivals = [name for name in RIVALS if joints.get(name)]
        best = max(rivals, key=lambda name: mean(joints[name].values()), default=None)
        for name in names:
            for rival in rivals:
                if rival != name and joints[name]:
                    label = str(sizes[0]) if len(sizes) == 1 else f">={sizes[0]}"
                    rows.append(_pair_row(name, rival, label, joints[name], joints[rival], rival == best))
    return rows


def _joint_by_key(outcomes: Outcomes, name: str, sizes: Sequence[int], judge: str) -> dict[tuple[str, int], bool]:
    cells = [outcomes.cells[name, k] for k in sizes if (name, k) in outcomes.cells]
    return {key: joint for cell in cells if cell.sets for key, joint in zip(cell.keys, cell.joint(judge), strict=True)}


def _pair_row(
    name: str,
    rival: str,
    k: str,
    mine: dict[tuple[str, int], bool],
    theirs: dict[tuple[str, int], bool],
    is_best: bool,
) -> Row:
    keys = [key for key in mine if key in theirs]
    a, b = (np.array([side[key] for key in keys], float) for side in (mine, theirs))
    row: Row = {"what": "pair", "method": name, "against": rival, "best_rival": is_best, "k": k, "n": len(keys)}
    if not keys:
        return row
    clusters = [key[0] for key in keys]
    interval = cluster_bootstrap(a - b, clusters) or (None, None)
    only_a, only_b = int(((a == 1) & (b == 0)).sum()), int(((a == 0) & (b == 1)).sum())
    row |= {"difference": round(float((a - b).mean()), 4)}
    row |= {"ci_low": _rounded(interval[0]), "ci_high": _rounded(interval[1])}
    row |= {"only_method": only_a, "only_rival": only_b, "mcnemar_p": float(f"{mcnemar(only_a, only_b):.3g}")}
    row["ratio"] = round(float(a.mean() / b.mean()), 4) if b.any() else None
    return row


def line_rows(outcomes: Outcomes, judge: str) -> list[Row]:
    """The line to beat, by size: the best method of Loom that costs at most two forwards, over the best rival."""
    rows: list[Row] = []
    for k in SIZES[1:]:
        cells = {name: outcomes.cells[name, k] for name in outcomes.contestants if (name, k) in outcomes.cells}
        joint = {name: mean(cell.joint(judge)) for name, cell in cells.items() if cell.sets}
        rivals = [name for name in RIVALS if name in joint]
        own = [
            name
            for name, cell in cells.items()
            if name in joint and name not in (*CONTROLS, *REFERENCES) and mean(cell.passes_per_step) <= DEARER
        ]
        if not rivals or not own:
            continue
        rival, best = max(rivals, key=joint.__getitem__), max(own, key=joint.__getitem__)
        ratio = joint[best] / joint[rival] if joint[rival] else None
        row: Row = {"what": "line", "k": k, "method": best, "against": rival, "ratio": ratio and round(ratio, 4)}
        rows.append(row | {"line": LINE, "holds": joint[best] > 0 if ratio is None else ratio >= LINE})
    return rows


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
