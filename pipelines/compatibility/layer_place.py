"""Where a layer sits: its kind, its depth in thirds, and its stage, a step on the way through the model.

A UNet's depth is down, mid and up, as its way up returns to the features that the way down began with; a transformer's
is thirds of its blocks, for FLUX of the double and then the single ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

TEXT = "text encoder"
GROUPS = (
    TEXT,
    "self-attention qk",
    "self-attention vo",
    "cross-attention kv",
    "cross-attention qo",
    "text stream",
    "feed-forward",
    "convolution",
    "other",
)
THIRDS = ("early", "middle", "late")
UNET_DEPTHS = ("down", "mid", "up")
DEPTHS = (*THIRDS, *UNET_DEPTHS)
_BLOCK = re.compile(r"(?:^|\.)(single_transformer_blocks|transformer_blocks|layers|block|h)\.(\d+)\.")
_UNET = re.compile(r"^(down|mid|up)_blocks?\.(?:(\d+)\.)?(?:\w+\.(\d+))?")
_LAST = re.compile(r"^(conv_out|proj_out|norm_out)(\.|$)")


@dataclass(frozen=True)
class LayerPlace:
    """`group` is one of GROUPS, `depth` one of DEPTHS; `stage` names the step, `order` sorts the steps."""

    group: str
    depth: str
    stage: str
    order: tuple[int, ...]


class LayerPlaces:
    """The places of all layers of a base, or of those that a set of adapters has: `paths` by component."""

    def __init__(self, paths: Mapping[str, Iterable[str]]) -> None:
        self._blocks: dict[str, tuple[int, int]] = {}
        for component, its in paths.items():
            first = second = 0
            for path in its:
                if found := _BLOCK.search(path):
                    count = int(found[2]) + 1
                    if found[1] == "single_transformer_blocks":
                        second = max(second, count)
                    else:
                        first = max(first, count)
            self._blocks[component] = (first, second)

    def of(self, component: str, path: str, *, convolution: bool = False) -> LayerPlace:
        """The place of one layer; `convolution` is whether its weight has a kernel of more than one pixel."""
        group = TEXT if component != "denoiser" else _group(path, convolution)
        if component == "denoiser" and (found := _UNET.match(path)):
            depth, block, step = found[1], int(found[2] or 0), int(found[3] or 0)
            stage = f"{depth} {step}" if depth == "mid" else f"{depth} {block}.{step}"
            return LayerPlace(group, depth, stage, (UNET_DEPTHS.index(depth) + 1, block, step))
        double, single = self._blocks.get(component, (0, 0))
        if found := _BLOCK.search(path):
            index = int(found[2]) + (double if found[1] == "single_transformer_blocks" else 0)
            depth = THIRDS[min(3 * index // max(double + single, 1), 2)]
            stage = f"block {index}" if component == "denoiser" else f"{component} {index}"
            return LayerPlace(group, depth, stage, (1, index))
        last = _LAST.match(path) is not None
        in_unet = component == "denoiser" and not (double or single)
        depth = (UNET_DEPTHS if in_unet else THIRDS)[-1 if last else 0]
        return LayerPlace(group, depth, "output" if last else "input", (9,) if last else (0,))


def _group(path: str, convolution: bool) -> str:
    name = path.removesuffix(".0").rpartition(".")[2]
    if re.search(r"\.(add_[qkv]_proj|to_add_out|ff_context)(\.|$)", path):
        return "text stream"
    if attention := re.search(r"\.(attn\d?)\.", path):
        crossing = attention[1] == "attn2" and _UNET.match(path) is not None
        if crossing:
            return "cross-attention kv" if name in ("to_k", "to_v") else "cross-attention qo"
        return "self-attention qk" if name in ("to_q", "to_k") else "self-attention vo"
    if re.search(r"\.ff\.|\.proj_mlp$|^single_transformer_blocks\.\d+\.proj_out$", path):
        return "feed-forward"
    if convolution or name.startswith("conv"):
        return "convolution"
    return "other"
