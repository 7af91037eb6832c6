"""Arbiter: at each place of the picture the adapter speaks that has most to say there, relative to its own average."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from pipelines.contributions import (
    at_places,
    conditional_half,
    contribution_plan,
    contributions,
    energy,
    for_both_halves,
    smoothed,
)
from pipelines.method import FusionMethod
from pipelines.plan import FusionPlan, Predictions

if TYPE_CHECKING:
    from torch import Tensor

    from pipelines.request import AdapterChoice

_SILENT = 1e-6  # of its own average: an adapter that says less than this at a place says nothing there


@dataclass(frozen=True)
class Arbiter(FusionMethod):
    """eps = eps_base + sum_i gamma_i w_i Delta_i with Delta_i = eps_i - eps_base, w decided place by place.

    m_i = smooth_k(|Delta_i|^2) / its mean over the picture, w_i = softmax_i(s log m_i), s the `sharpness`.
    gamma_i = sum |Delta_i|^2 / sum w_i |Delta_i|^2 gives back what arbitration takes from adapter i, up to `max_gain`.
    Decided per sample on the conditional half of guidance, and the same for both halves.
    """

    name: ClassVar[str] = "arbiter"
    title: ClassVar[str] = "Arbiter"
    source: ClassVar[str] = "Loom"
    when_to_use: ClassVar[str] = (
        "For LoRAs that must all show in one picture: each rules the places it changes most and leaves the others be."
    )
    passes_per_step: ClassVar[str] = "N + 1"
    order_matters: ClassVar[bool] = False

    sharpness: float = field(
        default=3.0,
        metadata={
            "help": "How clearly one LoRA wins a place; 0 shares every place equally.",
            "min": 0.0,
            "max": 20.0,
        },
    )
    smoothing: int = field(
        default=3, metadata={"help": "Latent pixels over which places are judged together.", "min": 1, "max": 31}
    )
    gain: float = field(
        default=0.0,
        metadata={
            "help": "Strength given back to all; 0 gives each LoRA what arbitration took from it.",
            "min": 0.0,
            "max": 10.0,
        },
    )
    max_gain: float = field(
        default=2.5, metadata={"help": "The most that is given back by itself.", "min": 1.0, "max": 10.0}
    )
    budget: float = field(
        default=0.0,
        metadata={"help": "At most this many passes per step on average; 0 is no limit.", "min": 0.0, "max": 100.0},
    )

    def compose(self, adapters: tuple[AdapterChoice, ...], num_inference_steps: int) -> FusionPlan:
        return contribution_plan(adapters, num_inference_steps, self._combine, budget=self.budget)

    def _combine(self, predictions: Predictions) -> Tensor:
        base, deltas = contributions(predictions)
        e = energy(predictions, conditional_half(predictions, deltas))  # [n b h w]
        w = self.weights(e) * self.gains(e, self.weights(e))
        w = for_both_halves(predictions, w)
        return base + (at_places(predictions, w).to(deltas.dtype) * deltas).sum(dim=0)

    def weights(self, e: Tensor) -> Tensor:
        m = smoothed(e, self.smoothing | 1)
        m = m / m.mean(dim=(-2, -1), keepdim=True).clamp_min(1e-20)
        return (self.sharpness * m.clamp_min(_SILENT).log()).softmax(dim=0)

    def gains(self, e: Tensor, w: Tensor) -> Tensor:
        if self.gain:
            return w.new_full((1, 1, 1, 1), self.gain)
        kept = (w * e).sum(dim=(-2, -1), keepdim=True)
        return (e.sum(dim=(-2, -1), keepdim=True) / kept.clamp_min(1e-20)).clamp(1.0, self.max_gain)
