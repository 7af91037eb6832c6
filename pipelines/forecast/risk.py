"""A forecast of pictures from the report: how likely one of a set lacks one of the concepts when LoRAs are added up.

    risk = 1 / (1 + exp(-(b + sum_k a_k (x_k - mean_k) / scale_k)))

a logistic model of the figures below, fitted for one base on the outcomes of drawn sets. It holds for that base and for
LoRAs trained in the way of those that it was fitted on, and says on how many.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lora_loom.pipelines.forecast.report import Report


def features(report: Report) -> dict[str, float]:
    """What the forecast looks at, of a report on at least two adapters. Largest and smallest run over the pairs."""
    assert report.together is not None
    whole = [pair.whole for pair in report.pairs]
    norms = [each.norm for each in report.adapters if each.norm]
    return {
        "adapters": float(len(report.together.names)),
        "cosine_largest": max(each.cosine for each in whole),
        "cosine_smallest": min(each.cosine for each in whole),
        "out_largest": max(max(each.out_ab, each.out_ba) for each in whole),
        "into_largest": max(max(each.in_ab, each.in_ba) for each in whole),
        "both_largest": max(max(each.both_ab, each.both_ba) for each in whole),
        "log2_ratio_largest": max(abs(each.log2_ratio or 0.0) for each in whole),
        "log2_spread_largest": max(each.log2_spread or 0.0 for each in whole),
        "log2_faintest": math.log2(min(norms)) if norms else 0.0,
        "log2_all": 0.5 * math.log2(sum(norm**2 for norm in norms)) if norms else 0.0,
        "pressure": report.together.pressure,
        "interference": report.together.interference,
        "capacity_loss": report.together.capacity_loss,
    }


@dataclass(frozen=True)
class Term:
    """One figure of `features` in the model."""

    feature: str
    mean: float
    scale: float
    coefficient: float


@dataclass(frozen=True)
class Forecast:
    """A fitted model: `method` is what the pictures were drawn by, `sets` and `pictures` what it was fitted on.

    `auc` is that on held-out sets, None where there were none.
    """

    base_family: str
    method: str
    intercept: float
    terms: tuple[Term, ...]
    sets: int
    pictures: int
    auc: float | None

    def risk(self, found: Mapping[str, float]) -> float:
        """The probability in [0, 1] that a picture lacks a concept, from `features`."""
        score = self.intercept
        for term in self.terms:
            score += term.coefficient * (found[term.feature] - term.mean) / term.scale
        return 1.0 / (1.0 + math.exp(-min(max(score, -50.0), 50.0)))

    @property
    def provenance(self) -> str:
        """What it was fitted on, in words."""
        held = "" if self.auc is None else f", AUC {self.auc:.2f} on other sets"
        return f"fitted on {self.pictures} pictures of {self.sets} sets drawn by {self.method}{held}"

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Forecast:
        """The model that `to_json` wrote. Raises ValueError or KeyError for anything else."""
        data: dict[str, Any] = json.loads(text)
        terms = tuple(Term(**each) for each in data.pop("terms"))
        return cls(**data, terms=terms)


def read_forecast(path: Path) -> Forecast | None:
    """The model in a file of ours, None where there is none yet."""
    return Forecast.from_json(path.read_text(encoding="utf-8")) if path.is_file() else None
