"""Norms and inner products of updates from their factors, and scales that make the norms of adapters consistent.

<B_i A_i, B_j A_j> = sum((B_i^T B_j) o (A_i A_j^T))
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from lora_loom.pipelines.adapters.factors import LoraFactors
from lora_loom.pipelines.weight_space.decompose import frobenius, thin_qr

LEAST_SCALE, LARGEST_SCALE = 0.25, 4.0


def inner(first: LoraFactors, second: LoraFactors) -> float:
    """<dW_1, dW_2> in float64, in 2 (m + n) r_1 r_2 operations."""
    outputs = first.up.double().T @ second.up.double()
    inputs = first.down.flatten(1).double() @ second.down.flatten(1).double().T
    return float((outputs * inputs).sum())


def norm(factors: LoraFactors) -> float:
    """|dW|_F."""
    return math.sqrt(max(inner(factors, factors), 0.0))


def distance(first: LoraFactors, second: LoraFactors) -> float:
    """|dW_1 - dW_2|_F, from factors [B_1 -B_2] [A_1; A_2] so that near equals do not cancel to noise."""
    down = torch.cat([first.down.flatten(1), second.down.flatten(1)]).double()
    up = torch.cat([first.up, -second.up], dim=1).double()
    return frobenius(thin_qr(up)[1] @ thin_qr(down.T)[1].T)


def consistent_scales(norms: Mapping[str, Mapping[str, float]], strength: float) -> dict[str, dict[str, float]]:
    """Scales gamma_i(l) by adapter and layer from the norms n_i(l) of one component, layers of zero norm left out.

    T(l) is the geometric mean of the n_i(l) over the adapters that have the layer, and
    gamma_i(l) = clip((T(l) / n_i(l))^strength, 1/4, 4), then times a constant of adapter i such that
    sum_l (gamma_i n_i)^2 = sum_l n_i^2: the profile over the depth is levelled, no adapter gains or loses strength.
    `strength` in [0, 1]; 0 gives all ones.
    """
    logs: dict[str, list[float]] = {}
    for layers in norms.values():
        for layer, value in layers.items():
            logs.setdefault(layer, []).append(math.log(value))
    target = {layer: sum(values) / len(values) for layer, values in logs.items()}
    scales: dict[str, dict[str, float]] = {}
    for name, layers in norms.items():
        gamma = {
            layer: min(max(math.exp(strength * (target[layer] - math.log(value))), LEAST_SCALE), LARGEST_SCALE)
            for layer, value in layers.items()
        }
        before = sum(value**2 for value in layers.values())
        after = sum((gamma[layer] * value) ** 2 for layer, value in layers.items())
        scales[name] = {layer: each * math.sqrt(before / after) for layer, each in gamma.items()}
    return scales
