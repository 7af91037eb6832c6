"""Arbitration: whose place it is, from how much each adapter changes there relative to its own average."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_loom.pipelines.predictions.contributions import (
    at_places,
    conditional_half,
    contributions,
    energy,
    for_both_halves,
    smoothed,
)

if TYPE_CHECKING:
    from torch import Tensor

    from lora_loom.pipelines.plan import Predictions

_SILENT = 1e-6  # of its own average: an adapter that says less than this at a place says nothing there
_TINY = 1e-20


@dataclass(frozen=True)
class Arbitration:
    """From the energies e_i = |Delta_i|^2 of n adapters at places [n b h w] to how strongly each speaks there.

    m_i = smooth_k(e_i) / its mean over the picture, w = softmax_i(s log m_i). An adapter with a flat map speaks
    everywhere for its `global_share` g_i: w_i = g_i + (1 - g_i) softmax_i(s log m_i + log(1 - g_i)). A `gain` of 0
    gives each adapter back what it lost, up to `max_gain`; any other multiplies them all.

    m has no strength in it, as each map is over its own average; so a rival comes with its `claims` c_i = min(|s_i|, 1)
    [n b 1 1] (or what broadcasts to it): max(s, 1) log c_i is added to its side of the softmax, and one at strength
    s_i -> 0 takes no place from the others. None, and strengths of 1, are claims of 1.
    """

    sharpness: float = 3.0
    smoothing: int = 3
    gain: float = 0.0
    max_gain: float = 2.5
    flat_from: float = 0.8

    def speaking(self, e: Tensor, claims: Tensor | None = None) -> Tensor:
        """gamma_i w_i at each place: [n b h w] of energies, 1 for an adapter alone."""
        w = self.weights(e, claims)
        return w * self.gains(e, w)

    def weights(self, e: Tensor, claims: Tensor | None = None) -> Tensor:
        m = smoothed(e, self.smoothing | 1)
        m = (m / m.mean(dim=(-2, -1), keepdim=True).clamp_min(_TINY)).clamp_min(_SILENT)
        g = self.global_share(m)
        rivals = self.sharpness * m.log() + (1 - g).clamp_min(_TINY).log()  # one that speaks everywhere is no rival
        if claims is not None:
            rivals = rivals + max(self.sharpness, 1.0) * claims.clamp(_TINY, 1.0).log()
        return g + (1 - g) * rivals.softmax(dim=0)

    def global_share(self, m: Tensor) -> Tensor:
        """g in [0, 1] of each adapter [n b 1 1]: 0 up to a flatness of `flat_from`, then rising to 1."""
        rising = (flatness(m) - self.flat_from) / max(1 - self.flat_from, 1e-6)
        g = rising.clamp(0.0, 1.0)
        return g * g * (3 - 2 * g)

    def gains(self, e: Tensor, w: Tensor) -> Tensor:
        """gamma_i [n b 1 1] = sum e_i / sum w_i e_i over the picture: the response of an adapter alone is kept."""
        if self.gain:
            return w.new_full((1, 1, 1, 1), self.gain)
        kept = (w * e).sum(dim=(-2, -1), keepdim=True)
        return (e.sum(dim=(-2, -1), keepdim=True) / kept.clamp_min(_TINY)).clamp(1.0, self.max_gain)


def arbitrated(predictions: Predictions, arbitration: Arbitration) -> Tensor:
    """eps_base + sum_i gamma_i w_i Delta_i [b ...] of a base pass and one pass for each adapter."""
    base, deltas = contributions(predictions)
    speaking = for_both_halves(predictions, speaking_of(predictions, arbitration))
    return base + (at_places(predictions, speaking).to(deltas.dtype) * deltas).sum(dim=0)


def speaking_of(predictions: Predictions, arbitration: Arbitration) -> Tensor:
    """gamma_i w_i [n b' h w] for the samples of the conditional half."""
    _, deltas = contributions(predictions)
    return arbitration.speaking(energy(predictions, conditional_half(predictions, deltas)), claims_of(predictions))


def claims_of(predictions: Predictions) -> Tensor | None:
    """|s_i| [n 1 1 1] of the adapter that each pass after the base's has and the base's has not."""
    if not predictions.passes:
        return None
    base, *own = (each.gates for each in predictions.passes)
    strengths = [max((abs(gate) for name, gate in gates.items() if name not in base), default=0.0) for gates in own]
    return predictions.noise_preds.new_tensor(strengths, dtype=predictions.weights.dtype).view(-1, 1, 1, 1)


def flatness(m: Tensor) -> Tensor:
    """mean(m)^2 / mean(m^2) over the picture, [n b 1 1] in (0, 1]: 1 if it speaks everywhere alike, as a style does."""
    return m.mean(dim=(-2, -1), keepdim=True).square() / m.square().mean(dim=(-2, -1), keepdim=True).clamp_min(_TINY)
