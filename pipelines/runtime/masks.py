"""Regions as masks: at the resolution of any layer, and at that of the prediction to blend parts of the picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lora_loom.pipelines.errors import RequestError
from lora_loom.pipelines.requests.control import Region

TOLERANCE = 0.02  # how far the proportions of a mask may be from those of the picture


def mask_at(region: Region, rows: int, columns: int) -> Tensor:
    """The share of each cell of a grid over the picture that is inside of the region: [rows columns], in [0, 1]."""
    if region.box is not None:
        left, top, right, bottom = region.box
        return _covered(top, bottom, rows)[:, None] * _covered(left, right, columns)
    picture = region.image()
    painted = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(
        1, 1, picture.height, picture.width
    )
    return F.adaptive_avg_pool2d(painted.float() / 255, (rows, columns))[0, 0]


def check_proportions(region: Region, width: float, height: float) -> None:
    """Raise RequestError where a painted mask is not of the proportions of a picture of this size."""
    if region.size is not None:
        mask_width, mask_height = region.size
        if abs(mask_width * height / (mask_height * width) - 1.0) > TOLERANCE:
            raise RequestError(
                "the mask of a region has other proportions than the picture",
                expected=f"a mask of {width:g} : {height:g}",
                found=f"{mask_width} x {mask_height} pixels",
                remedy="Paint the mask at the size of the picture.",
            )


def blend(whole: Tensor, parts: Sequence[Tensor], regions: Sequence[Region], grid: tuple[int, int] | None) -> Tensor:
    """(1 - sum_r m_r) whole + sum_r m_r part_r, with masks that sum to more than 1 divided by their sum.

    Predictions are [b c h w], or [b (h w) c] tokens on a `grid` of rows and columns. Raises RequestError for a mask of
    other proportions.
    """
    rows, columns = (whole.shape[-2], whole.shape[-1]) if grid is None else grid
    for region in regions:
        check_proportions(region, columns, rows)
    masks = torch.stack([mask_at(region, rows, columns) for region in regions])
    masks = masks / masks.sum(dim=0).clamp(min=1.0)
    masks = (masks if grid is None else masks.flatten(1)[..., None]).to(whole)
    return whole * (1.0 - masks.sum(dim=0)) + sum(
        (part * mask for part, mask in zip(parts, masks, strict=True)), start=torch.zeros_like(whole)
    )


def _covered(start: float, end: float, cells: int) -> Tensor:
    """The share of each of `cells` cells over [0, 1] that lies between start and end."""
    edges = torch.arange(cells, dtype=torch.float64)
    return ((edges + 1).clamp(max=end * cells) - edges.clamp(min=start * cells)).clamp(0.0, 1.0).float()
