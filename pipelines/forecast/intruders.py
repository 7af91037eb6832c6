"""Intruder dimensions and safe strength: directions that an update pushes into the lead of the base's own.

An intruder is one of the first ten left singular vectors of W_0 + w dW whose |cos| with every left singular vector of
W_0 is below 0.5 (arXiv:2410.21228, section 3); a model full of them forgets what it knew. One step of block iteration
from the base's first 64 directions and the update's own gives a basis that holds the lead of W_0 + w dW for every w, so
that each strength is one small decomposition instead of one of [m n]. Only the first 64 vectors of W_0 are compared
with: one from deeper that an update lifts into the lead counts as an intruder too.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lora_loom.pipelines.forecast.base_spectra import BaseSpectrum
from lora_loom.pipelines.weight_space.canonical import Spectrum
from lora_loom.pipelines.weight_space.decompose import singular_values, thin_qr, thin_svd

LEADING, EPSILON = 10, 0.5
MOST = 4.0  # strengths beyond this are not looked at
HALVINGS = 7


class IntruderProbe:
    """W_0 + w dW of one layer, seen through the directions that can lead in it."""

    def __init__(self, weight: Tensor, base: BaseSpectrum, update: Spectrum) -> None:
        u_0, v_0 = base.u.to(weight.dtype), base.v.to(weight.dtype)
        u, v = update.u.to(weight.dtype), update.v.to(weight.dtype)
        q_in = thin_qr(torch.cat([v_0, v, weight.T @ u], dim=1))[0]
        q_out = thin_qr(torch.cat([u_0, u, weight @ q_in], dim=1))[0]
        self._base = q_out.T @ weight @ q_in
        self._update = (q_out.T @ u * update.s.to(weight.dtype)) @ (v.T @ q_in)
        self._known = u_0.T @ q_out  # [K p]

    def intruders(self, strength: float) -> int:
        """How many of the leading directions are new at this strength; at strength 0 that of the base itself."""
        x = thin_svd(self._base + strength * self._update)[0][:, :LEADING]
        return int(((self._known @ x).abs().amax(dim=0) < EPSILON).sum())

    def sigma(self, strength: float) -> float:
        """The largest singular value at this strength."""
        return float(singular_values(self._base + strength * self._update)[0])

    def safe_strength(self, sign: float = 1.0, most: float = MOST) -> float | None:
        """The largest strength up to `most` without a new intruder, to 1 in 2^7 of it; None if there is none up to it.

        `sign` is that of the strengths to look at.
        """
        own = self.intruders(0.0)
        low, high = 0.0, most
        if self.intruders(sign * most) <= own:
            return None
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            if self.intruders(sign * middle) <= own:
                low = middle
            else:
                high = middle
        return low
