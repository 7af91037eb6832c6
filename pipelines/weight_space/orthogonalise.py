"""Updates whose outputs do not meet: for every input f_i . f_j = 0, whatever the activations are.

f_i = U_i S_i V_i^T x, so the features of two adapters are orthogonal for all x if their column spaces are. The closest
such set in the energy that each direction carries is a polar factor (weighted Procrustes):

    [U'_1 ... U'_N] = polar([U_1 D_1 ... U_N D_N]),   D_i = p_i w_i^2 S_i^2

V and S stay, so every adapter keeps its singular values and what it responds to. A share `beta` of the way is
polar((1 - beta) U_i + beta U'_i) for each adapter alone, which keeps its spectrum at any beta.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lora_loom.pipelines.weight_space.canonical import RELATIVE_FLOOR, Spectrum, spectrum
from lora_loom.pipelines.weight_space.decompose import frobenius, singular_values, thin_qr, thin_svd

WELL_POSED = 1e-4  # smallest singular value of [U_1 ... U_N] with which the polar factor is told from rounding
LEAST_WEIGHT = 1e-10  # D below this share of the largest would drown in float64


def orthogonal_outputs(
    forms: Sequence[Spectrum], weights: Sequence[float], priorities: Sequence[float], beta: float
) -> list[Spectrum]:
    """The updates of one layer with their outputs turned apart by the share `beta` in [0, 1]: 0 none, 1 orthogonal.

    `weights` are the strengths, `priorities` above 1 let an adapter keep more of its own directions. Where more
    directions are asked for than the layer has outputs, or two adapters share one, what they share is removed instead
    (`without_shared`).
    """
    if beta == 0.0 or len(forms) < 2:
        return list(forms)
    stacked = torch.cat([form.u for form in forms], dim=1)  # [m R]
    if not stacked.shape[1]:
        return list(forms)
    if stacked.shape[1] > stacked.shape[0]:
        return without_shared(forms, weights, priorities, beta)
    q, r = thin_qr(stacked)
    if float(singular_values(r)[-1]) < WELL_POSED:
        return without_shared(forms, weights, priorities, beta)
    pairs = zip(forms, weights, priorities, strict=True)
    energy = torch.cat([form.s.square() * (priority * weight**2) for form, weight, priority in pairs])
    turned = polar(r * energy.clamp_min(LEAST_WEIGHT * float(energy.max())))  # [R R]
    moved: list[Spectrum] = []
    for form, own, apart in zip(forms, _blocks(r, forms), _blocks(turned, forms), strict=True):
        moved.append(replace(form, u=q @ polar((1.0 - beta) * own + beta * apart)))
    return moved


def without_shared(
    forms: Sequence[Spectrum], weights: Sequence[float], priorities: Sequence[float], beta: float
) -> list[Spectrum]:
    """The updates, each without the share `beta` of what lies in both spaces of a stronger one.

    dW_i - beta P_j dW_i Q_j, where P_j and Q_j project onto the column and the row space of adapter j. The strongest,
    by priority x (weight x norm)^2, stays as it is. Of two equal updates, at beta 1, one is left. The rank grows by
    that of the stronger one at most.
    """
    pairs = zip(forms, weights, priorities, strict=True)
    energies = [priority * (weight * form.norm) ** 2 for form, weight, priority in pairs]
    order = sorted(range(len(forms)), key=lambda index: -energies[index])
    kept = list(forms)
    for place, i in enumerate(order):
        for j in order[:place]:
            kept[i] = _remove(kept[i], forms[j], beta)
    return kept


def polar(matrix: Tensor) -> Tensor:
    """The closest matrix with orthonormal columns [p q], p >= q."""
    x, _, y = thin_svd(matrix)
    return x @ y.T


def _remove(form: Spectrum, other: Spectrum, beta: float) -> Spectrum:
    shared = (other.u.T @ form.u * form.s) @ (form.v.T @ other.v)  # [k_j k_i] [k_i k_j]: P dW Q in the bases of j
    if frobenius(shared) <= RELATIVE_FLOOR * form.norm:
        return form
    q_out, r_out = thin_qr(torch.cat([form.u, other.u], dim=1))
    q_in, r_in = thin_qr(torch.cat([form.v, other.v], dim=1))
    core = torch.zeros(r_out.shape[1], r_in.shape[1], dtype=shared.dtype, device=shared.device)
    core[: form.rank, : form.rank] = form.s.diag()
    core[form.rank :, form.rank :] = -beta * shared
    left = spectrum(q_out, r_out @ core @ r_in.T, q_in, form.inputs)
    return left if left.norm > RELATIVE_FLOOR * form.norm else left.cut(0)


def _blocks(matrix: Tensor, forms: Sequence[Spectrum]) -> tuple[Tensor, ...]:
    return torch.split(matrix, [form.rank for form in forms], dim=1)
