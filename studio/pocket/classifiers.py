"""The two kinds of network that judge pictures: plain convolutions, and residual ones with attention pooling.

They differ in depth, in grid and in how they gather what they saw, so that they are less likely to fail together.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Sizes = Mapping[str, int]  # classes by factor


class Convolutions(nn.Module):
    """Four levels of convolutions, mean and maximum over the picture, one linear head a factor."""

    def __init__(self, sizes: Sizes, widths: Sequence[int] = (16, 32, 64, 128), stem_stride: int = 1) -> None:
        super().__init__()
        stem_size = 3 if stem_stride == 1 else 2 * stem_stride
        self.stem = nn.Conv2d(3, widths[0], stem_size, stride=stem_stride, padding=(stem_size - 1) // 2)
        self.levels = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(a, b, 3, stride=2, padding=1),
                nn.BatchNorm2d(b),
                nn.ReLU(),
                nn.Conv2d(b, b, 3, padding=1),
                nn.BatchNorm2d(b),
                nn.ReLU(),
            )
            for a, b in zip(widths, (*widths[1:], widths[-1]), strict=True)
        )
        self.heads = nn.ModuleDict({f: nn.Linear(2 * widths[-1], n) for f, n in sizes.items()})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """x [n 3 h w] in [-1, 1] -> logits [n classes] by factor."""
        h = F.relu(self.stem(x))
        for level in self.levels:
            h = level(h)
        pooled = torch.cat((h.mean((2, 3)), h.amax((2, 3))), 1)
        return {factor: head(pooled) for factor, head in self.heads.items()}


class _Block(nn.Module):
    """Two convolutions around which the input passes unchanged (arXiv 1603.05027, without the first activation)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        h = F.leaky_relu(self.norms[0](self.first(x)), 0.1)
        return F.leaky_relu(x + self.norms[1](self.second(h)), 0.1)


class ResidualAttention(nn.Module):
    """Residual convolutions on three grids, and for every factor its own learnt query over the last grid."""

    def __init__(
        self,
        sizes: Sizes,
        widths: Sequence[int] = (32, 48, 96, 160),
        depths: Sequence[int] = (1, 2, 1),
        heads: int = 4,
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 5, stride=2, padding=2)
        self.levels = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(b),
                nn.LeakyReLU(0.1),
                *(_Block(b) for _ in range(depth)),
            )
            for (a, b), depth in zip(pairwise(widths), depths, strict=True)
        )
        last = widths[-1]
        self.norm = nn.LayerNorm(last)
        self.queries = nn.Parameter(torch.randn(len(sizes), last) * last**-0.5)
        self.keys_values = nn.Linear(last, 2 * last)
        self.attention_heads = heads
        self.heads = nn.ModuleDict({f: nn.Linear(last, n) for f, n in sizes.items()})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """x [n 3 h w] in [-1, 1] -> logits [n classes] by factor."""
        h = F.leaky_relu(self.stem(x), 0.1)
        for level in self.levels:
            h = level(h)
        tokens = self.norm(h.flatten(2).transpose(1, 2))  # [n t c]
        n, _, c = tokens.shape
        k, v = (
            part.unflatten(-1, (self.attention_heads, -1)).transpose(1, 2)  # [n heads t c/heads]
            for part in self.keys_values(tokens).chunk(2, -1)
        )
        q = self.queries.to(k.dtype).unflatten(-1, (self.attention_heads, -1)).transpose(0, 1).expand(n, -1, -1, -1)
        pooled = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, -1, c)  # [n factors c]
        return {factor: head(pooled[:, i]) for i, (factor, head) in enumerate(self.heads.items())}


ARCHITECTURES: Mapping[str, type[Convolutions] | type[ResidualAttention]] = {
    "convolutions": Convolutions,
    "residual_attention": ResidualAttention,
}
