"""An extractor as the `feature` of torchmetrics, so that its FID, KID, MiFID and others see what Loom's metrics see."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lora_loom.studio.evaluation.extractor import FeatureExtractor


class TorchmetricsFeature(nn.Module):
    """`FrechetInceptionDistance(feature=TorchmetricsFeature(extractor))`; takes uint8 [n 3 h w], gives [n d]."""

    def __init__(self, extractor: FeatureExtractor) -> None:
        super().__init__()
        self.extractor = extractor
        self.num_features = extractor.dim

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.from_numpy(self.extractor.embed(pixels.permute(0, 2, 3, 1).cpu().numpy())).to(pixels.device)
