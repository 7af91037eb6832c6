"""LiON on a set of adapters: consistent norms, then outputs turned apart, then a guard on the norm of the sum.

    dW_i(l) -> rho(l) gamma_i(l) U'_i S_i V_i^T

with gamma from `norms.consistent_scales`, U' from `orthogonalise.orthogonal_outputs`, and
rho(l) = min(1, sqrt(N) max_i |w_i gamma_i dW_i| / |sum_i w_i gamma_i dW'_i|)^beta, which acts where updates that point
the same way would add up to more than orthogonal ones can. With beta and the consistency at 0 it is the plain sum. The
principles are those of LiON-LoRA (arXiv:2507.05678); that paper observes orthogonal features where this makes them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lora_loom.pipelines.adapters.factors import Adapter, LoraFactors
from lora_loom.pipelines.weight_space.canonical import Spectrum, balanced, canonical
from lora_loom.pipelines.weight_space.layers import Layer, adapter_of, layers_of
from lora_loom.pipelines.weight_space.norms import consistent_scales
from lora_loom.pipelines.weight_space.orthogonalise import orthogonal_outputs


def turned_apart(
    adapters: Mapping[str, Adapter],
    strengths: Mapping[str, float],
    priorities: Mapping[str, float],
    beta: float,
    norm_consistency: float,
    recipe: Mapping[str, Any],
) -> dict[str, Adapter]:
    """Each adapter as it takes part in the fusion, under its own name; its strength is still to be applied."""
    layers = list(layers_of(adapters, strengths))
    forms = [[canonical(factors) for _, factors in layer.updates] for layer in layers]
    scales = _scales(layers, forms, norm_consistency)
    made: dict[str, dict[str, dict[str, LoraFactors]]] = {name: {} for name in adapters}
    for layer, own in zip(layers, forms, strict=True):
        gamma = [scales[layer.component].get(name, {}).get(layer.path, 1.0) for name in layer.names]
        weights = [weight * each for (weight, _), each in zip(layer.updates, gamma, strict=True)]
        apart = orthogonal_outputs(own, weights, [priorities[name] for name in layer.names], beta)
        rho = norm_guard(apart, weights) ** beta
        for name, (_, factors), before, form, each in zip(layer.names, layer.updates, own, apart, gamma, strict=True):
            untouched = form is before and each * rho == 1.0
            fused = factors if untouched else balanced(replace(form, s=form.s * (each * rho)))
            made[name].setdefault(layer.component, {})[layer.path] = fused
    return {name: adapter_of(name, made[name], {name: adapters[name]}, {**recipe, "part": name}) for name in adapters}


def _scales(
    layers: Sequence[Layer], forms: Sequence[Sequence[Spectrum]], strength: float
) -> dict[str, dict[str, dict[str, float]]]:
    """gamma by component, adapter and path: one component's norms never move another's."""
    norms: dict[str, dict[str, dict[str, float]]] = {layer.component: {} for layer in layers}
    for layer, own in zip(layers, forms, strict=True):
        for name, form in zip(layer.names, own, strict=True):
            if form.rank:
                norms[layer.component].setdefault(name, {})[layer.path] = form.norm
    return {component: consistent_scales(of, strength) for component, of in norms.items()}


def norm_guard(forms: Sequence[Spectrum], weights: Sequence[float]) -> float:
    """rho of one layer at beta = 1, from the updates as turned and the weights with gamma."""
    if len(forms) < 2:
        return 1.0
    most = max(abs(weight) * form.norm for form, weight in zip(forms, weights, strict=True))
    together = math.sqrt(max(_energy_of_sum(forms, weights), 0.0))
    return min(1.0, math.sqrt(len(forms)) * most / together) if together else 1.0


def _energy_of_sum(forms: Sequence[Spectrum], weights: Sequence[float]) -> float:
    """|sum_i w_i U_i S_i V_i^T|^2."""
    u, v = torch.cat([form.u for form in forms], dim=1), torch.cat([form.v for form in forms], dim=1)
    s: Tensor = torch.cat([form.s * weight for form, weight in zip(forms, weights, strict=True)])
    return float(((u.T @ u * s) * (v.T @ v * s).T).sum())
