"""DoRA live: the exact update of a weight that is rescaled as well, beside any other adapters.

DoRA (arXiv:2402.09353, section 4) trains W' = m (W + B A) / |W + B A|, with norms for each output, or in older LyCORIS
files for each input channel. With c = m / |W + B A| the update W' - W is c B A, which is low-rank and stacks with the
others, and (c - 1) W, which is the base's own product again, scaled: no dense matrix is kept. At strength g it is
g (W' - W), also where several adapters meet: each is an update of the base's own weight, and they are summed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lora_loom.pipelines.runtime.update import Update

if TYPE_CHECKING:
    from lora_loom.pipelines.adapters.factors import LoraFactors

_TINY = 1e-12  # a weight of zeros has no direction to keep


def column_scale(factors: LoraFactors, weight: Tensor) -> Tensor:
    """c = m / |W + B A| in float32, [d_out] or [in], for a weight [out in (kh kw)]."""
    assert factors.magnitude is not None
    down, up = factors.down.to(weight.device).float(), factors.up.to(weight.device).float()
    changed = weight.float() + (up.reshape(len(weight), -1) @ down.flatten(1)).view(weight.shape)
    by_input = factors.magnitude.of == "input"
    norms = (changed.transpose(0, 1) if by_input else changed).flatten(1).square().sum(dim=1).sqrt()
    return factors.magnitude.values.to(norms) / norms.clamp_min(_TINY)


def regained(
    base: Callable[[Tensor], Tensor], bias: Tensor | None, x: Tensor, y: Tensor, update: Update, mask: Tensor | None
) -> Tensor:
    """y + sum_j g_j (c_j - 1) W x over the DoRAs of a layer, from the base's output y = W x + bias.

    `mask` multiplies each adapter's part by place: [1 T R], or [1 R h w] for a convolution, as it does A x.
    """
    conv = update.sources[0].down.ndim == 4
    if bias is not None:
        bias = bias.to(y.dtype).view(-1, 1, 1) if conv else bias.to(y.dtype)
    total = y
    for index in update.gains:
        gain, rank = update.sources[index].gain, sum(update.ranks[:index])
        assert gain is not None
        scale = update.gate[:, rank, None] * gain.values  # [n d]
        own = y if gain.of_output else base(x * _spread(scale, x, conv=conv))
        own = own if bias is None else own - bias
        if gain.of_output:
            own = own * _spread(scale, y, conv=conv)
        if mask is not None:
            own = own * (mask[:, rank : rank + 1] if conv else mask[..., rank : rank + 1])
        total = total + own.to(y.dtype)
    return total


def _spread(values: Tensor, like: Tensor, *, conv: bool) -> Tensor:
    """Values [n d] of the n passes in a form that multiplies [(n b) ... d], or [(n b) d h w]."""
    if like.shape[0] % len(values):
        raise ValueError(f"a layer met a batch of {like.shape[0]}, which does not divide into {len(values)} passes")
    rows = torch.repeat_interleave(values.to(like.dtype), like.shape[0] // len(values), dim=0)
    return rows[:, :, None, None] if conv else rows.view(len(rows), *(1,) * (like.ndim - 2), -1)
