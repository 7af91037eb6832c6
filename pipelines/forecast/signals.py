"""The signals of a pair of adapters in some layers, energy-weighted, from the sums of `overlap`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lora_loom.pipelines.forecast.overlap import Sums


@dataclass(frozen=True)
class Signals:
    """What is known of an ordered pair (a, b) in some layers. Shares are in [0, 1]; `_chance` is that of random ones.

    `cosine` is signed, `cosine_noise` its deviation for random directions. `out_ab` is the share of a's energy that is
    written where b writes, and so on. `log2_ratio` is log2(|a| / |b|), `log2_spread` its deviation over the layers that
    both have; None where one of them has nothing. `energy_a` and `energy_b` are |w dW|^2.
    """

    cosine: float
    cosine_noise: float
    out_ab: float
    out_ba: float
    in_ab: float
    in_ba: float
    both_ab: float
    both_ba: float
    out_chance_ab: float
    out_chance_ba: float
    in_chance_ab: float
    in_chance_ba: float
    both_chance_ab: float
    both_chance_ba: float
    log2_ratio: float | None
    log2_spread: float | None
    energy_a: float
    energy_b: float
    layers: int


def signals(sums: Sums, a: int, b: int) -> Signals:
    """The signals of the pair of the adapters number a and b."""
    inner = sums.of("inner")
    energy_a, energy_b = float(inner[a, a]), float(inner[b, b])
    product = math.sqrt(max(energy_a * energy_b, 0.0))

    def share(field: str, i: int, j: int) -> float:
        whole = float(inner[i, i])
        return min(max(float(sums.of(field)[i, j]) / whole, 0.0), 1.0) if whole else 0.0

    weight = float(sums.of("weight")[a, b])
    mean = float(sums.of("log")[a, b]) / weight if weight else 0.0
    spread = math.sqrt(max(float(sums.of("square")[a, b]) / weight - mean**2, 0.0)) if weight else None
    return Signals(
        cosine=min(max(float(inner[a, b]) / product, -1.0), 1.0) if product else 0.0,
        cosine_noise=math.sqrt(float(sums.of("noise")[a, b])) / product if product else 0.0,
        out_ab=share("out", a, b),
        out_ba=share("out", b, a),
        in_ab=share("into", a, b),
        in_ba=share("into", b, a),
        both_ab=share("both", a, b),
        both_ba=share("both", b, a),
        out_chance_ab=share("out_chance", a, b),
        out_chance_ba=share("out_chance", b, a),
        in_chance_ab=share("in_chance", a, b),
        in_chance_ba=share("in_chance", b, a),
        both_chance_ab=share("both_chance", a, b),
        both_chance_ba=share("both_chance", b, a),
        log2_ratio=0.5 * math.log2(energy_a / energy_b) if energy_a and energy_b else None,
        log2_spread=spread,
        energy_a=energy_a,
        energy_b=energy_b,
        layers=sums.layers,
    )
