"""Arbitration inside the layers: each adapter's update is scaled at each place, in one pass of the denoiser."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor

from lora_loom.pipelines.predictions.arbitration import Arbitration
from lora_loom.pipelines.runtime.controls import Layout, layout_of
from lora_loom.pipelines.runtime.rules import LayerRule, LayerSite


class ArbitratedLayers(LayerRule):
    """At each layer the adapter speaks whose own update |B_i A_i x|^2 is large there relative to its own average.

    The energy is h_i^T G_i h_i with h_i = A_i x and G_i = B_i^T B_i [r r], so no update is ever formed. Layers without
    places (time embeddings, the text) and layers of one adapter are left as they are.
    """

    def __init__(self, arbitration: Arbitration) -> None:
        self._arbitration = arbitration
        self._grams: WeakKeyDictionary[LayerSite, tuple[Tensor, ...]] = WeakKeyDictionary()

    def gate(self, site: LayerSite, x: Tensor, h: Tensor) -> Tensor:
        layout = layout_of(site, h) if site.state is not None and len(site.names) > 1 else None
        if layout is None:
            return h.new_ones(())
        placed = _placed(site, site.gated(h), layout)
        energies: list[Tensor] = []
        for its, gram in zip(site.slices, self._gram(site), strict=True):
            own = placed[..., its].float()
            energies.append(((own @ gram) * own).sum(dim=-1))  # [(n b) rows columns]
        return _spread(site, self._arbitration.speaking(torch.stack(energies), _claims(site, len(h))), layout)

    def _gram(self, site: LayerSite) -> tuple[Tensor, ...]:
        if site not in self._grams:
            ups = (site.up[its].float() for its in site.slices)
            self._grams[site] = tuple(up @ up.t() for up in ups)
        return self._grams[site]


class RegionedLayers(LayerRule):
    """Each adapter's update is scaled by a map of the picture that was decided from earlier predictions.

    `decide` takes the maps of the `names` [n b h w] with each sample of the guided batch; until then, and in passes
    that open one adapter, nothing is scaled. Layers without places are left as they are.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._maps: Tensor | None = None
        self._fitted: dict[tuple[Any, ...], Tensor] = {}

    def decide(self, maps: Tensor | None) -> None:
        self._maps = maps
        self._fitted.clear()

    def gate(self, site: LayerSite, x: Tensor, h: Tensor) -> Tensor:
        maps = self._maps
        layout = layout_of(site, h) if site.state is not None and maps is not None else None
        if maps is None or layout is None or len(h) != maps.shape[1]:
            return h.new_ones(())
        key = (site.names, site.kind, tuple(site.update.ranks), layout)
        if key not in self._fitted:
            everywhere = torch.ones_like(maps[0])  # of an adapter that is exempt
            own = [maps[self._names.index(name)] if name in self._names else everywhere for name in site.names]
            fitted = F.interpolate(torch.stack(own), size=layout[:2], mode="bilinear", antialias=True)
            self._fitted[key] = _spread(site, fitted, layout)
        return self._fitted[key]


def _claims(site: LayerSite, batch: int) -> Tensor:
    """The strength of each adapter in each sample, [names (n b) 1 1]."""
    each = torch.stack([site.gates[:, its].abs().amax(dim=1) for its in site.slices])
    return each.repeat_interleave(batch // each.shape[1], dim=1)[..., None, None]


def _placed(site: LayerSite, h: Tensor, layout: Layout) -> Tensor:
    """h with the picture's places and ranks last, [(n b) rows columns R], without the text tokens beside it."""
    if site.kind == "conv":
        return h.permute(0, 2, 3, 1)
    placed = h[:, layout.before : h.shape[1] - layout.after]
    return placed.reshape(len(h), layout.rows, layout.columns, -1)


def _spread(site: LayerSite, shares: Tensor, layout: Layout) -> Tensor:
    """Shares [names b rows columns] for every rank: [b R rows columns], or [b (rows columns + text) R], text at 1."""
    each = [share.expand(rank, *share.shape) for share, rank in zip(shares, site.update.ranks, strict=True)]
    every = torch.cat(each).transpose(0, 1)  # [b R rows columns]
    if site.kind == "conv":
        return every
    return F.pad(every.flatten(2).transpose(1, 2), (0, 0, layout.before, layout.after), value=1.0)
