"""The rule that keeps adapters to their regions, and keeps a method's own rule off those that are exempt from it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from lora_loom.pipelines.families.family import Blocks
from lora_loom.pipelines.runtime.masks import check_proportions, mask_at
from lora_loom.pipelines.runtime.rules import LayerRule, LayerSite

if TYPE_CHECKING:
    from lora_loom.pipelines.request import AdapterChoice
    from lora_loom.pipelines.requests.control import Region

_HALVINGS = (1, 2, 4, 8, 16, 32, 64)  # how coarse the layers of a denoiser may be against its sample


def rule_of(controls: Sequence[AdapterChoice], rule: LayerRule | None) -> LayerRule | None:
    """The method's rule under these controls; the rule itself, None too, where no control acts inside a layer."""
    regions = {choice.name: region for choice in controls if (region := masked_region(choice)) is not None}
    exempt = frozenset(choice.name for choice in controls if choice.exempt)
    if not regions and (rule is None or not exempt):
        return rule
    return ControlledRule(regions, exempt, rule)


def masked_region(choice: AdapterChoice) -> Region | None:
    """The region that the adapter's update is masked by; one with a prompt has passes of its own instead."""
    region = choice.region
    return None if region is None or region.prompt else region


class Layout(NamedTuple):
    """Rows and columns of the picture in a layer's tokens or pixels, and the tokens before and behind it."""

    rows: int
    columns: int
    before: int = 0
    after: int = 0


class ControlledRule(LayerRule):
    """h m before any gate, with m the mask of each adapter's region on the tokens or pixels of the layer.

    Image tokens and pixels are masked by place. Text tokens, and layers without a place such as time embeddings and
    modulation, keep the share `everywhere` of the update (none of it where the mask is empty). Exempt adapters are
    added to the base's output before the method's own rule, which then finds h = 0 for them.
    """

    def __init__(self, regions: dict[str, Region], exempt: frozenset[str], inner: LayerRule | None) -> None:
        self.text_encoders = inner is not None and inner.text_encoders
        self._regions, self._exempt, self._inner = regions, exempt, inner
        self._masks: dict[tuple[object, ...], Tensor] = {}

    def __call__(self, site: LayerSite, x: Tensor, y: Tensor, h: Tensor) -> Tensor:
        mask = None
        if site.state is not None and not self._regions.keys().isdisjoint(site.names):
            mask = self._mask(site, h)
            h = h * mask
        return self.output(site, x, site.regained(x, y, mask), h)

    def output(self, site: LayerSite, x: Tensor, y: Tensor, h: Tensor) -> Tensor:
        if self._inner is None:
            return site.add(y, site.gated(h))
        if not self._exempt.isdisjoint(site.names):
            kept = site.spread(self._by_adapter(site, [float(name in self._exempt) for name in site.names])[None], h)
            y = site.add(y, site.gated(h * kept))
            h = h * (1.0 - kept)
        return self._inner.in_time(site, x, y, h)

    def _mask(self, site: LayerSite, h: Tensor) -> Tensor:
        """A multiplier for h: [1 R rows columns], [1 T R] or [1 1 R]."""
        layout = layout_of(site, h)
        key = (site.kind, h.ndim, layout, site.names, *site.update.ranks, h.dtype, h.device)
        if key not in self._masks:
            regions = [self._regions.get(name) for name in site.names]
            self._masks[key] = self._new_mask(site, h, layout, regions).to(h)
        return self._masks[key]

    def _new_mask(self, site: LayerSite, h: Tensor, layout: Layout | None, regions: list[Region | None]) -> Tensor:
        if layout is None:
            return site.spread(self._by_adapter(site, [_everywhere(region) for region in regions])[None], h[:1])
        rows, columns, before, after = layout
        shares: list[Tensor] = []
        for region in regions:
            if region is not None:
                height, width = _sizes(site)[0]
                check_proportions(region, width, height)
            place = torch.ones(rows, columns) if region is None else mask_at(region, rows, columns)
            text = [torch.full((tokens,), _everywhere(region)) for tokens in (before, after)]
            shares.append(torch.cat([text[0], place.flatten(), text[1]]))
        mask = torch.stack(shares).repeat_interleave(
            torch.tensor(site.update.ranks), dim=0
        )  # [R (before + rows columns + after)]
        return mask.view(1, -1, rows, columns) if site.kind == "conv" else mask.t()[None]

    def _by_adapter(self, site: LayerSite, values: list[float]) -> Tensor:
        """One value for each adapter of the layer, as one for each rank: [R]."""
        return torch.tensor(values).repeat_interleave(torch.tensor(site.update.ranks)).to(site.up.device)


def _everywhere(region: Region | None) -> float:
    return 1.0 if region is None else region.everywhere * region.peak


def layout_of(site: LayerSite, h: Tensor) -> Layout | None:
    """How the picture lies in the tokens or pixels of a layer; None for one whose outputs have no place in it."""
    if site.kind == "conv":
        return Layout(h.shape[2], h.shape[3])
    blocks = site.run.family.blocks if site.run.family else Blocks()
    sizes = _sizes(site)
    if h.ndim != 3 or (blocks.text and re.search(blocks.text, site.path)):
        return None
    tokens = h.shape[1]
    stands = blocks.joined.get(site.path.partition(".")[0])
    rows, columns = (-(-side // blocks.patch) for side in sizes[0])
    beside = tokens - rows * columns
    if stands is not None and beside >= 0:
        return Layout(rows, columns, beside, 0) if stands == "before" else Layout(rows, columns, 0, beside)
    return next((Layout(rows, columns) for rows, columns in sizes if rows * columns == tokens), None)


def _sizes(site: LayerSite) -> list[tuple[int, int]]:
    """The grids that the picture may be laid out on in the layers, finest first."""
    assert site.state is not None
    rows, columns = site.run.grid or site.state.sample.shape[-2:]
    return [(-(-rows // by), -(-columns // by)) for by in _HALVINGS]
