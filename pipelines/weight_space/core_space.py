"""A basis that all updates of a layer share, in which each is a small matrix (KnOTS and Core Space).

    w_i dW_i = Q_out K_i Q_in^T        Q_out [m p], Q_in [n q], K_i [p q],  p and q at most the sum of the ranks

Q_out holds the left singular vectors of [w_1 dW_1 ... w_N dW_N], as in KnOTS (arXiv:2410.19735), and Q_in in the same
way the right ones of the updates on top of each other, as Core Space (arXiv:2509.17786) has a basis on either side. So
the basis depends on the updates alone, not on how their factors were trained or in which order they come; what is
linear is exact in it. Rules that look at single entries (TIES, DARE) look at those of K.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lora_loom.pipelines.adapters.factors import LoraFactors
from lora_loom.pipelines.weight_space.canonical import RELATIVE_FLOOR, balanced, canonical, spectrum
from lora_loom.pipelines.weight_space.decompose import thin_qr, thin_svd
from lora_loom.pipelines.weight_space.stack import Weighted


@dataclass(frozen=True)
class CoreSpace:
    """The shared bases and the weighted updates in them, in float64."""

    q_out: Tensor  # [m p]
    q_in: Tensor  # [n q]
    cores: tuple[Tensor, ...]  # each [p q]
    inputs: tuple[int, ...]

    def factors(self, core: Tensor) -> LoraFactors:
        """The update that a core [p q] stands for, in balanced factors."""
        return balanced(spectrum(self.q_out, core, self.q_in, self.inputs))


def core_space(updates: Sequence[Weighted]) -> CoreSpace:
    """The core space of at least one update of a layer."""
    forms = [canonical(factors) for _, factors in updates]
    scaled = [form.s * weight for (weight, _), form in zip(updates, forms, strict=True)]
    q_out = _principal(torch.cat([form.u * s for form, s in zip(forms, scaled, strict=True)], dim=1))
    q_in = _principal(torch.cat([form.v * s for form, s in zip(forms, scaled, strict=True)], dim=1))
    cores = tuple((q_out.T @ form.u * s) @ (form.v.T @ q_in) for form, s in zip(forms, scaled, strict=True))
    return CoreSpace(q_out, q_in, cores, forms[0].inputs)


def _principal(columns: Tensor) -> Tensor:
    """The left singular vectors of [m R], those of no energy left out."""
    q, r = thin_qr(columns)
    x, s, _ = thin_svd(r)
    return q @ x[:, : int((s > RELATIVE_FLOOR * s[0]).sum()) if s.numel() else 0]
