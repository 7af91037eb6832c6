"""ChannelGate: AutoLoRA's gate, one per adapter, token and output channel, but a neutral one at the start.

    g_k = 2 sigma(c_k (w_base . LN_b(y0) + w_lora . LN_l(y_k) + w_cross . LN_b(y0) . LN_l(y_k) + b + U (p, t)))
    y   = y0 + sum_k (1 + c_k (w_out - 1)) . g_k . y_k

arXiv:2508.02107, as its released code has it, with products per channel. Three things are changed: 2 sigma with all
weights at zero starts at the plain sum where the original starts at random gates; the timestep p and the text t enter
as inputs of their own (rank 4) where they only showed in y0 and y_k; and the company c_k leaves an adapter alone at 1.
"""

from __future__ import annotations

from itertools import accumulate
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lora_loom.pipelines.gating.conditions import PROGRESS_FEATURES, Conditions
from lora_loom.pipelines.gating.layer_map import LayerMap

CONDITION_RANK = 4
_ZEROS = ("w_base", "w_lora", "w_cross", "b")
_VECTORS = (*_ZEROS, "w_out", "base_scale", "base_shift", "lora_scale", "lora_shift")


class ChannelGate(nn.Module):
    """Nine numbers and four weights of the conditions per output channel, those of all layers in one tensor each."""

    def __init__(self, layers: LayerMap, text_width: int, *, conserves: bool = True) -> None:
        super().__init__()
        self.layers = layers
        self.conserves = conserves
        self.text_width = text_width
        channels = sum(layers.widths)
        for name in _VECTORS:
            start = torch.ones if name in ("w_out", "base_scale", "lora_scale") else torch.zeros
            self.register_parameter(name, nn.Parameter(start(channels)))
        self.of_progress = nn.Linear(PROGRESS_FEATURES, CONDITION_RANK, bias=False)
        self.of_text = nn.Linear(text_width, CONDITION_RANK, bias=False)
        self.of_conditions = nn.Parameter(torch.zeros(channels, CONDITION_RANK))
        ends = list(accumulate(layers.widths))
        self._spans = {path: slice(ends[row] - layers.widths[row], ends[row]) for path, row in layers.rows.items()}

    @property
    def neutral(self) -> bool:
        """Whether every gate is 1, as before training."""
        silent = not any(bool(cast("Tensor", getattr(self, name)).any()) for name in (*_ZEROS, "of_conditions"))
        return silent and bool((cast("Tensor", self.w_out) == 1).all())

    def common(self, conditions: Conditions) -> Tensor:
        """What all layers share in one call [b 4]."""
        read = self.of_progress(conditions.progress)
        return read if conditions.text is None else read + self.of_text(conditions.text)

    def forward(self, path: str, y0: Tensor, y: Tensor, company: Tensor, common: Tensor) -> tuple[Tensor, Tensor]:
        """Gates in (0, 2) and what the adapters then say, both as y [b t N d_out], from y and y0 [b t d_out]."""
        span = self._spans[path]
        of = {name: cast("Tensor", getattr(self, name))[span] for name in _VECTORS}
        width = (y0.shape[-1],)
        base = F.layer_norm(y0, width, of["base_scale"], of["base_shift"])[:, :, None]
        lora = F.layer_norm(y, width, of["lora_scale"], of["lora_shift"])
        condition = (common @ self.of_conditions[span].t())[:, None, None]
        logit = base * (of["w_base"] + of["w_cross"] * lora) + of["w_lora"] * lora + of["b"] + condition
        company = company[..., None]  # [b 1 N 1]
        gate = 2 * torch.sigmoid(company * logit)
        return gate, (1 + company * (of["w_out"] - 1)) * gate * y
