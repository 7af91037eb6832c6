"""Where a layer sits: its kind, its depth in thirds, and its stage, a step on the way through the model.

A UNet's depth is down, mid and up, as its way up returns to the features that the way down began with; a transformer's
is thirds of its blocks, over all stacks of them in the order in which they run.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lora_loom.pipelines.families import families
from lora_loom.pipelines.families.family import Blocks

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
_UNET = re.compile(r"^(down|mid|up)_blocks?\.(?:(\d+)\.)?(?:\w+\.(\d+))?")
THIRDS = ("early", "middle", "late")
UNET_DEPTHS = ("down", "mid", "up")
DEPTHS = (*THIRDS, *UNET_DEPTHS)
_OF_TEXT_ENCODER = re.compile(r"(?:^|\.)(layers|block|h)\.(\d+)\.")


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
        listed = {component: list(its) for component, its in paths.items()}
        self._blocks = _blocks_fitting(listed.get("denoiser", ()))
        self._counts: dict[str, dict[str, int]] = {}
        for component, its in listed.items():
            counts = self._counts[component] = dict.fromkeys(self._stacks(component), 0)
            for path in its:
                if (found := self._block(component, path)) is not None:
                    counts[found[0]] = max(counts.get(found[0], 0), found[1] + 1)

    def of(self, component: str, path: str, *, convolution: bool = False) -> LayerPlace:
        """The place of one layer; `convolution` is whether its weight has a kernel of more than one pixel."""
        in_denoiser = component == "denoiser"
        group = self._group(path, convolution) if in_denoiser else TEXT
        around = in_denoiser and self._blocks.around
        if around and (found := _UNET.match(path)):
            depth, block, step = found[1], int(found[2] or 0), int(found[3] or 0)
            stage = f"{depth} {step}" if depth == "mid" else f"{depth} {block}.{step}"
            return LayerPlace(group, depth, stage, (UNET_DEPTHS.index(depth) + 1, block, step))
        counts = self._counts.get(component, {})
        if not around and (found := self._block(component, path)) is not None:
            stack, index = found
            stacks = list(counts)
            index += sum(counts[each] for each in stacks[: stacks.index(stack)] if stack in counts)
            depth = THIRDS[min(3 * index // max(sum(counts.values()), 1), 2)]
            stage = f"block {index}" if in_denoiser else f"{component} {index}"
            return LayerPlace(group, depth, stage, (1, index))
        last = in_denoiser and re.search(self._blocks.last, path) is not None
        depth = (UNET_DEPTHS if around else THIRDS)[-1 if last else 0]
        return LayerPlace(group, depth, "output" if last else "input", (9,) if last else (0,))

    def _stacks(self, component: str) -> tuple[str, ...]:
        return self._blocks.stacks if component == "denoiser" and not self._blocks.around else ()

    def _block(self, component: str, path: str) -> tuple[str, int] | None:
        """The stack that a path is in, and the number of its block there."""
        if component != "denoiser":
            found = _OF_TEXT_ENCODER.search(path)
            return ("", int(found[2])) if found else None
        for stack in self._stacks(component):
            if found := re.match(rf"{stack}\.(\d+)\.", path):
                return stack, int(found[1])
        return None

    def _group(self, path: str, convolution: bool) -> str:
        name = path.removesuffix(".0").rpartition(".")[2]
        its = self._blocks
        if its.text_stream and re.search(its.text_stream, path):
            return "text stream"
        if its.crossing and re.search(its.crossing, path):
            return "cross-attention kv" if name in ("to_k", "to_v") else "cross-attention qo"
        if re.search(its.attention, path):
            return "self-attention qk" if name in ("to_q", "to_k") else "self-attention vo"
        if re.search(its.feed_forward, path):
            return "feed-forward"
        if convolution or name.startswith("conv"):
            return "convolution"
        return "other"


def _blocks_fitting(paths: Iterable[str]) -> Blocks:
    """The blocks of the family that has most of these paths in its stacks; relatives that tie have them in common."""
    tops = Counter(path.partition(".")[0] for path in paths)
    every = [family.blocks for family in families().values()]
    best = max(every, key=lambda blocks: sum(tops[stack] for stack in blocks.stacks))
    return best if any(tops[stack] for stack in best.stacks) else Blocks()
