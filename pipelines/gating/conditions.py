"""Conditions: the timestep and the text as a gate reads them, once per call of the denoiser."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

WAVES = 3
PROGRESS_FEATURES = 2 + 2 * WAVES


@dataclass(frozen=True)
class Conditions:
    """`progress` [b PROGRESS_FEATURES] and `text` [b d_text], None where the denoiser was given no text of that width.

    Both have one row, or one for each sample of the call.
    """

    progress: Tensor
    text: Tensor | None

    @classmethod
    def of(cls, progress: Tensor, tokens: Tensor | None, text_width: int) -> Conditions:
        """From the progress of each sample [b] in [0, 1] and the text states [b t d]: mean token, normalised."""
        p = progress.float()[:, None]
        waves = p * torch.pi * 2.0 ** torch.arange(WAVES, device=p.device)
        features = torch.cat((torch.ones_like(p), 2 * p - 1, waves.sin(), waves.cos()), dim=1)
        if tokens is None or tokens.shape[-1] != text_width:
            return cls(features, None)
        return cls(features, F.layer_norm(tokens.float().mean(1), (text_width,)) / math.sqrt(text_width))

    def rows(self, batch: int) -> Conditions:
        """One row for each of `batch` samples: those that were given, repeated as passes are, one after the other."""
        return Conditions(_rows(self.progress, batch), None if self.text is None else _rows(self.text, batch))


def _rows(values: Tensor, batch: int) -> Tensor:
    return values if len(values) == batch else values.repeat(batch // len(values), 1)
