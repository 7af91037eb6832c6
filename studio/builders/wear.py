"""Wear and tear of training pictures, on the device that holds them: what generated pictures suffer, and worse.

`worn` keeps what a picture shows and harms how it looks. `ruined` makes pictures that show nothing any more: blends,
noise and half-erased pictures.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def _uniform(n: int, low: float, high: float, x: Tensor, channels: int = 1) -> Tensor:
    return low + (high - low) * torch.rand(n, channels, 1, 1, device=x.device)


def _on_some(x: Tensor, share: float, harm: Callable[[Tensor], Tensor]) -> Tensor:
    """x with `harm` done to a `share` of its pictures; the others cost nothing."""
    chosen = (torch.rand(len(x), device=x.device) < share).nonzero().flatten()
    return x.index_copy(0, chosen, harm(x[chosen])) if len(chosen) else x


def blurred(x: Tensor, share: float) -> Tensor:
    """A 3x3 mean, once or three times, mixed in at random on a `share` of the pictures."""
    times = 1 if torch.rand(()) < 0.6 else 3

    def softer(sharp: Tensor) -> Tensor:
        soft = sharp
        for _ in range(times):
            soft = F.avg_pool2d(F.pad(soft, (1, 1, 1, 1), mode="replicate"), 3, 1)
        return torch.lerp(sharp, soft, _uniform(len(sharp), 0, 1, sharp))

    return _on_some(x, share, softer)


def coarsened(x: Tensor, share: float) -> Tensor:
    """Half the size and back, on a `share` of the pictures."""
    return _on_some(x, share, lambda fine: F.interpolate(F.avg_pool2d(fine, 2), fine.shape[-2:], mode="bilinear"))


def _cosines(device: torch.device) -> Tensor:
    """Orthonormal DCT-II of length 8, [k t]."""
    k, t = torch.arange(8.0, device=device)[:, None], torch.arange(8.0, device=device)[None]
    basis = torch.cos(math.pi * (t + 0.5) * k / 8) / 2
    basis[0] /= math.sqrt(2)
    return basis


def quantised(x: Tensor, share: float) -> Tensor:
    """JPEG-like: 8x8 cosine blocks whose coefficients are rounded, the finer the coarser. Sides divisible by 8."""
    return _on_some(x, share, _quantised)


def _quantised(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    basis = _cosines(x.device)
    blocks = x.reshape(n, c, h // 8, 8, w // 8, 8)
    spectrum = torch.einsum("kt,nchtwu,lu->nchkwl", basis, blocks, basis)
    frequency = torch.arange(8, device=x.device)
    step = (1 + frequency[:, None] + frequency[None])[None, None, None, :, None, :] * (
        0.005 + 0.045 * torch.rand(n, 1, 1, 1, 1, 1, device=x.device)
    )
    spectrum = torch.round(spectrum / step) * step
    return torch.einsum("kt,nchkwl,lu->nchtwu", basis, spectrum, basis).reshape(x.shape)


def moved(x: Tensor, degrees: float, zoom: float, shift: float) -> Tensor:
    """A small random turn, zoom and shift per picture; what comes in from outside is mirrored."""
    n = len(x)
    angle = (_uniform(n, -degrees, degrees, x) * math.pi / 180).flatten()
    size = _uniform(n, 1 - zoom, 1 + zoom, x).flatten()
    offset = (torch.rand(n, 2, device=x.device) * 2 - 1) * shift
    rows = (
        torch.stack((size * angle.cos(), -size * angle.sin(), offset[:, 0]), 1),
        torch.stack((size * angle.sin(), size * angle.cos(), offset[:, 1]), 1),
    )
    grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def worn(x: Tensor, *, sealed: bool = False) -> Tensor:
    """x [n 3 h w] in [-1, 1], harmed but recognisable.

    The sealed judge's kind differs: geometry, gamma and mixed channels instead of blocks and offsets.
    """
    n = len(x)
    x = coarsened(blurred(x, 0.35), 0.15)
    if sealed:
        x = moved(x, 6, 0.08, 0.04)
        bright = ((x.clamp(-1, 1) + 1) / 2 + 1e-3) ** torch.exp(_uniform(n, -0.2, 0.2, x))
        mixing = torch.eye(3, device=x.device) + 0.03 * torch.randn(n, 3, 3, device=x.device)
        x = torch.einsum("nij,njhw->nihw", mixing, bright) * 2 - 1
    else:
        x = quantised(x, 0.3)
        x = x * _uniform(n, 0.94, 1.06, x, 3) + _uniform(n, -0.05, 0.05, x, 3)
    noisy = _on_some(x, 0.6, lambda clean: clean + _uniform(len(clean), 0, 0.1, clean) * torch.randn_like(clean))
    return noisy.clamp(-1, 1)


def ruined(x: Tensor) -> Tensor:
    """x [n 3 h w] -> as many pictures that show no one thing: a third each blends, noise, half-erased ones."""
    n = len(x)
    third = n // 3
    share = _uniform(third, 0.38, 0.62, x)
    blends = share * x[:third] + (1 - share) * x.roll(1, 0)[:third]
    noise = torch.randn_like(x[third : 2 * third])
    coarse = F.interpolate(noise[..., ::8, ::8], x.shape[-2:], mode="bilinear")
    noise = torch.where(torch.rand(third, 1, 1, 1, device=x.device) < 0.5, noise, 1.4 * coarse) * _uniform(
        third, 0.05, 1, x
    )
    noise = noise + _uniform(third, -0.8, 0.8, x, 3)
    kept = _uniform(n - 2 * third, 0.2, 0.5, x)
    erased = kept * x[2 * third :] + (1.25 - kept) * torch.randn_like(x[2 * third :])
    return torch.cat((blends, noise, erased)).clamp(-1, 1)
