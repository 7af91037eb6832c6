"""RankGate: one gate per adapter and token, from a tiny network that all layers and all adapters share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lora_loom.pipelines.gating.conditions import PROGRESS_FEATURES, Conditions
from lora_loom.pipelines.gating.evidence import FEATURES, Evidence
from lora_loom.pipelines.gating.layer_map import LayerMap

_SCALE = 0.5  # brings features of a few units to about one


class RankGate(nn.Module):
    """g_k = 2 sigma(c_k z_k),  z_k = w . silu(W_f f_k + e_layer + W_p p + W_t t)

    f_k are the features of `evidence.gather`, p of the progress, t of the text, c_k the company; w starts at zero, so
    that every gate starts at 1 and the sum of all updates is what it was. An adapter alone keeps 1 for good. One that
    `conserves` is used with `conservation.given_back`.
    """

    def __init__(self, layers: LayerMap, text_width: int, hidden: int = 24, *, conserves: bool = True) -> None:
        super().__init__()
        self.layers = layers
        self.conserves = conserves
        self.text_width = text_width
        self.hidden = hidden
        kinds = layers.features()
        self.of_evidence = nn.Linear(len(FEATURES), hidden)
        self.of_progress = nn.Linear(PROGRESS_FEATURES, hidden, bias=False)
        self.of_text = nn.Linear(text_width, hidden, bias=False)
        self.of_layer = nn.Parameter(kinds @ (torch.randn(kinds.shape[1], hidden) / kinds.shape[1] ** 0.5))
        self.voice = nn.Parameter(torch.zeros(hidden))
        nn.init.zeros_(self.of_text.weight)

    @property
    def neutral(self) -> bool:
        """Whether every gate is 1, as before training."""
        return not bool(self.voice.any())

    def common(self, conditions: Conditions) -> Tensor:
        """What all layers share in one call [b hidden]."""
        hidden = self.of_progress(conditions.progress)
        return hidden if conditions.text is None else hidden + self.of_text(conditions.text)

    def forward(self, path: str, evidence: Evidence, common: Tensor) -> Tensor:
        """Gates in (0, 2) [b t N] at a layer."""
        condition = common + self.of_layer[self.layers.rows[path]]
        hidden = F.silu(self.of_evidence(_SCALE * evidence.features) + condition[:, None, None])
        return 2 * torch.sigmoid(evidence.company * (hidden @ self.voice))
