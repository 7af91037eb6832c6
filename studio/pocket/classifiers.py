"""The two kinds of network that judge pictures: plain convolutions, and depthwise residual ones with attention pooling.

They differ in every layer that looks at pixels, so that they are less likely to fail together.
"""

from collections.abc import Mapping, Sequence

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
    """Depthwise 7x7, norm, two pointwise layers, scaled and added (after ConvNeXt, arXiv 2201.03545, section 2.6)."""

    def __init__(self, width: int, expansion: int) -> None:
        super().__init__()
        self.spread = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.BatchNorm2d(width)  # in place of ConvNeXt's layer norm: learns faster at this size
        self.up, self.down = nn.Conv2d(width, expansion * width, 1), nn.Conv2d(expansion * width, width, 1)
        self.scale = nn.Parameter(torch.full((width, 1, 1), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.down(F.gelu(self.up(self.norm(self.spread(x)))))


class DepthwiseAttention(nn.Module):
    """Patches, two stages of depthwise blocks, and for every factor its own learnt query over the last grid."""

    def __init__(
        self,
        sizes: Sizes,
        widths: tuple[int, int] = (64, 144),
        depths: tuple[int, int] = (3, 4),
        expansion: int = 2,
        heads: int = 4,
    ) -> None:
        super().__init__()
        first, last = widths
        self.patches = nn.Conv2d(3, first, 7, stride=4, padding=2)
        self.fine = nn.Sequential(*(_Block(first, expansion) for _ in range(depths[0])))
        self.merge = nn.Conv2d(first, last, 2, stride=2)
        self.coarse = nn.Sequential(*(_Block(last, expansion) for _ in range(depths[1])))
        self.norm = nn.LayerNorm(last)
        self.queries = nn.Parameter(torch.randn(len(sizes), last) * last**-0.5)
        self.keys_values = nn.Linear(last, 2 * last)
        self.attention_heads = heads
        self.heads = nn.ModuleDict({f: nn.Linear(last, n) for f, n in sizes.items()})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """x [n 3 h w] in [-1, 1] -> logits [n classes] by factor."""
        h = self.coarse(self.merge(self.fine(self.patches(x))))
        tokens = self.norm(h.flatten(2).transpose(1, 2))  # [n t c]
        n, _, c = tokens.shape
        k, v = (
            part.unflatten(-1, (self.attention_heads, -1)).transpose(1, 2)  # [n heads t c/heads]
            for part in self.keys_values(tokens).chunk(2, -1)
        )
        q = self.queries.to(k.dtype).unflatten(-1, (self.attention_heads, -1)).transpose(0, 1).expand(n, -1, -1, -1)
        pooled = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, -1, c)  # [n factors c]
        return {factor: head(pooled[:, i]) for i, (factor, head) in enumerate(self.heads.items())}


ARCHITECTURES: Mapping[str, type[Convolutions] | type[DepthwiseAttention]] = {
    "convolutions": Convolutions,
    "depthwise_attention": DepthwiseAttention,
}
