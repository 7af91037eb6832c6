"""The size of a picture: what a base was trained for, what it can be stretched to, and what the memory holds."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch

from lora_loom.pipelines.errors import RequestError
from lora_loom.pipelines.runtime.targets import own_latents

if TYPE_CHECKING:
    from lora_loom.pipelines.families.family import Family

TIMES = 4  # the sides of the largest trained picture: beyond, a base repeats itself, and takes for ever
LIVE = 3  # feature maps of the decoder's last level that are in memory at once


def picture_size(pipe: Any, width: int | None, height: int | None, family: Family) -> dict[str, int]:
    """Width and height in pixels, those of the base where None is given.

    Raises RequestError, with the sizes that would do, for sides that the base cannot draw, for more than TIMES x TIMES
    the pixels of the largest picture it was trained on, and for what the memory that is free cannot hold.
    """
    own_height, own_width = own_latents(pipe)
    multiple = family.sizes.multiple(pipe.vae_scale_factor)
    size: dict[str, int] = {}
    for name, asked, latents in (("width", width, own_width), ("height", height, own_height)):
        side: int = asked or latents * pipe.vae_scale_factor
        if side % multiple:
            lower = max(side // multiple, 1) * multiple
            raise RequestError(
                f"this base cannot draw a {name} of {side}",
                expected=f"a multiple of {multiple} pixels",
                found=str(side),
                remedy=f"Take {lower} or {lower + multiple}.",
            )
        size[name] = side
    trained = max(*family.sizes.trained, own_height * pipe.vae_scale_factor, own_width * pipe.vae_scale_factor)
    _check_pixels(size, trained, multiple)
    if size["width"] * size["height"] > trained**2:
        _check_memory(pipe, size)
    return size


def _check_pixels(size: dict[str, int], trained: int, multiple: int) -> None:
    most = (TIMES * trained) ** 2
    pixels = size["width"] * size["height"]
    if pixels > most:
        shrink = (most / pixels) ** 0.5
        width, height = (max(int(side * shrink) // multiple, 1) * multiple for side in size.values())
        raise RequestError(
            f"{size['width']} x {size['height']} is too large for this base",
            expected=f"at most {TIMES * trained} x {TIMES * trained}, as it was trained on {trained} x {trained}",
            found=f"{pixels:,} pixels",
            remedy=f"Take {width} x {height}, or draw smaller and enlarge the picture.",
        )


def _check_memory(pipe: Any, size: dict[str, int]) -> None:
    """Raise RequestError where decoding alone, which a picture needs whole, would not fit into the memory."""
    if getattr(pipe.vae, "use_tiling", False):
        return
    channels: Any = getattr(pipe.vae.config, "block_out_channels", None) or pipe.vae.config.decoder_block_out_channels
    wanted = LIVE * min(channels) * size["width"] * size["height"] * pipe.vae.dtype.itemsize
    free = _free_bytes(pipe._execution_device)
    if free is not None and wanted > free:
        raise RequestError(
            f"there is too little memory for a picture of {size['width']} x {size['height']}",
            expected=f"about {wanted / 2**30:.1f} GiB to decode it",
            found=f"{free / 2**30:.1f} GiB free",
            remedy="Draw it smaller, close other programs, or call pipe.vae.enable_tiling().",
        )


def _free_bytes(device: torch.device) -> int | None:
    """Memory that is free where the models lie; None where nothing tells."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo", encoding="ascii") as told:
            for line in told:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None
