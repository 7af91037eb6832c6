"""Inception v3 as FID uses it, with the parameter names of pytorch-fid and torch-fidelity, and no torchvision.

Against the later Inception v3 (Szegedy et al., arXiv:1512.00567) the graph of 2015 averages without the padding, and
its last block pools by maximum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Conv(NamedTuple):
    """A layer of a branch: its name, channels out, kernel, stride; padded so that stride 1 keeps the size."""

    name: str
    width: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1


class Pool(NamedTuple):
    """Pooling at the start of a branch, 3 x 3."""

    kind: str  # average, maximum or halve


Fork = tuple[Conv, Conv]  # two layers side by side, joined
Branch = Sequence[Conv | Pool | Fork]
SQUARE, WIDE, TALL, WIDE7, TALL7 = (3, 3), (1, 3), (3, 1), (1, 7), (7, 1)


def block_a(pooled: int) -> Sequence[Branch]:
    return (
        (Conv("branch1x1", 64),),
        (Conv("branch5x5_1", 48), Conv("branch5x5_2", 64, (5, 5))),
        (Conv("branch3x3dbl_1", 64), Conv("branch3x3dbl_2", 96, SQUARE), Conv("branch3x3dbl_3", 96, SQUARE)),
        (Pool("average"), Conv("branch_pool", pooled)),
    )


def block_b() -> Sequence[Branch]:
    return (
        (Conv("branch3x3", 384, SQUARE, 2),),
        (Conv("branch3x3dbl_1", 64), Conv("branch3x3dbl_2", 96, SQUARE), Conv("branch3x3dbl_3", 96, SQUARE, 2)),
        (Pool("halve"),),
    )


def block_c(c: int) -> Sequence[Branch]:
    double = (("1", c, (1, 1)), ("2", c, TALL7), ("3", c, WIDE7), ("4", c, TALL7), ("5", 192, WIDE7))
    return (
        (Conv("branch1x1", 192),),
        (Conv("branch7x7_1", c), Conv("branch7x7_2", c, WIDE7), Conv("branch7x7_3", 192, TALL7)),
        tuple(Conv(f"branch7x7dbl_{name}", width, kernel) for name, width, kernel in double),
        (Pool("average"), Conv("branch_pool", 192)),
    )


def block_d() -> Sequence[Branch]:
    return (
        (Conv("branch3x3_1", 192), Conv("branch3x3_2", 320, SQUARE, 2)),
        (
            Conv("branch7x7x3_1", 192),
            Conv("branch7x7x3_2", 192, WIDE7),
            Conv("branch7x7x3_3", 192, TALL7),
            Conv("branch7x7x3_4", 192, SQUARE, 2),
        ),
        (Pool("halve"),),
    )


def block_e(pool: str) -> Sequence[Branch]:
    return (
        (Conv("branch1x1", 320),),
        (Conv("branch3x3_1", 384), (Conv("branch3x3_2a", 384, WIDE), Conv("branch3x3_2b", 384, TALL))),
        (
            Conv("branch3x3dbl_1", 448),
            Conv("branch3x3dbl_2", 384, SQUARE),
            (Conv("branch3x3dbl_3a", 384, WIDE), Conv("branch3x3dbl_3b", 384, TALL)),
        ),
        (Pool(pool), Conv("branch_pool", 192)),
    )


BLOCKS: Mapping[str, tuple[int, Sequence[Branch]]] = {  # channels in, branches
    "Mixed_5b": (192, block_a(32)),
    "Mixed_5c": (256, block_a(64)),
    "Mixed_5d": (288, block_a(64)),
    "Mixed_6a": (288, block_b()),
    "Mixed_6b": (768, block_c(128)),
    "Mixed_6c": (768, block_c(160)),
    "Mixed_6d": (768, block_c(160)),
    "Mixed_6e": (768, block_c(192)),
    "Mixed_7a": (768, block_d()),
    "Mixed_7b": (1280, block_e("average")),
    "Mixed_7c": (2048, block_e("maximum")),
}
STEM = (  # name, channels in, out, kernel, stride, padding; a pool follows the third and the fifth
    ("Conv2d_1a_3x3", 3, 32, 3, 2, 0),
    ("Conv2d_2a_3x3", 32, 32, 3, 1, 0),
    ("Conv2d_2b_3x3", 32, 64, 3, 1, 1),
    ("Conv2d_3b_1x1", 64, 80, 1, 1, 0),
    ("Conv2d_4a_3x3", 80, 192, 3, 1, 0),
)


class ConvNormRelu(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(
        self, c_in: int, c_out: int, kernel: int | tuple[int, int], stride: int, padding: int | tuple[int, int]
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(c_out, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Block(nn.Module):
    """Branches side by side, joined along the channels."""

    def __init__(self, c_in: int, branches: Sequence[Branch]) -> None:
        super().__init__()
        self.branches = branches
        for branch in branches:
            width = c_in
            for step in branch:
                if not isinstance(step, Pool):
                    convs = (step,) if isinstance(step, Conv) else step
                    for conv in convs:
                        self.add_module(conv.name, _layer(width, conv))
                    width = sum(conv.width for conv in convs)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self._branch(x, branch) for branch in self.branches], 1)

    def _branch(self, x: Tensor, branch: Branch) -> Tensor:
        for step in branch:
            if isinstance(step, Pool):
                x = _pool(x, step.kind)
            elif isinstance(step, Conv):
                x = self.get_submodule(step.name)(x)
            else:
                x = torch.cat([self.get_submodule(conv.name)(x) for conv in step], 1)
        return x


class FidInception(nn.Module):
    """float32 [n 3 299 299] in [-1, 1] to the pooled features [n 2048]."""

    def __init__(self) -> None:
        super().__init__()
        for name, *shape in STEM:
            self.add_module(name, ConvNormRelu(*shape))
        for name, (c_in, branches) in BLOCKS.items():
            self.add_module(name, Block(c_in, branches))

    def forward(self, x: Tensor) -> Tensor:
        for index, (name, *_) in enumerate(STEM):
            x = self.get_submodule(name)(x)
            if index in (2, 4):
                x = _pool(x, "halve")
        for name in BLOCKS:
            x = self.get_submodule(name)(x)
        return x.mean((2, 3))

    def load_weights(self, state: Mapping[str, Tensor]) -> None:
        """Load a state dict without its classifier and auxiliary head; raises RuntimeError where others differ."""
        needed = {key: value for key, value in state.items() if not key.startswith(("fc.", "AuxLogits."))}
        counted = {key: torch.zeros(()) for key in self.state_dict() if key.endswith("num_batches_tracked")}
        self.load_state_dict({**counted, **needed})


def _layer(c_in: int, conv: Conv) -> ConvNormRelu:
    height, width = conv.kernel
    padding = (0, 0) if conv.stride == 2 else (height // 2, width // 2)
    return ConvNormRelu(c_in, conv.width, conv.kernel, conv.stride, padding)


def _pool(x: Tensor, kind: str) -> Tensor:
    if kind == "average":
        return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
    if kind == "maximum":
        return F.max_pool2d(x, 3, stride=1, padding=1)
    return F.max_pool2d(x, 3, stride=2)
