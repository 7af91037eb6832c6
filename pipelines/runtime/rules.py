"""LayerRule: what a method may decide inside the layers, where the low-rank activations of all adapters lie stacked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from torch import Tensor

if TYPE_CHECKING:
    from lora_loom.pipelines.families.family import Family
    from lora_loom.pipelines.runtime.layers import LowRankLayer
    from lora_loom.pipelines.runtime.update import Update
    from lora_loom.pipelines.step_state import StepState


@dataclass
class RunState:
    """Where the run stands that a bank is part of; `step` is None while a prompt is encoded.

    `family` is the denoiser's, None for a text encoder. `grid` (rows, columns) is the layout of a sample that
    comes as tokens, None for a picture [b c h w]. `text` [(n b) t d] are the token states that the denoiser is called
    with, as each of the n passes has them. `probing` says that the call is none of the plan's: it only measures what an
    adapter changed.
    """

    step: StepState | None = None
    family: Family | None = None
    grid: tuple[int, int] | None = None
    text: Tensor | None = None
    probing: bool = False


@dataclass(frozen=True, eq=False)
class LayerSite:
    """One layer under one set of adapters: made once for both, so a rule may keep what it computes there by site.

    `path` is the layer's module path, `index` its place among the `num_layers` layers of the model that could carry an
    adapter, in the order of its modules. `names` are the adapters that touch the layer and `slices` their ranks in R.
    """

    path: str
    index: int
    num_layers: int
    kind: Literal["linear", "conv"]
    names: tuple[str, ...]
    slices: tuple[slice, ...]
    layer: LowRankLayer = field(repr=False)
    update: Update = field(repr=False)
    run: RunState = field(repr=False)

    @property
    def depth(self) -> float:
        """The layer's place in the model, in [0, 1]."""
        return self.index / max(self.num_layers - 1, 1)

    @property
    def down(self) -> Tensor:
        """A of all adapters: [R d_in], or [R in kh kw]."""
        return self.update.stacked()[0]

    @property
    def up(self) -> Tensor:
        """B^T of all adapters, alpha / rank inside: [R d_out]."""
        return self.update.stacked()[1]

    @property
    def gates(self) -> Tensor:
        """Strength times the method's gate for each of the n passes of the batch and each rank: [n R], float32."""
        return self.update.gate

    @property
    def state(self) -> StepState | None:
        """Where the run stands; None while a prompt is encoded."""
        return self.run.step

    @property
    def text(self) -> Tensor | None:
        """The text states [(n b) t d] of the denoiser's call; None while a prompt is encoded."""
        return self.run.text

    def spread(self, values: Tensor, h: Tensor) -> Tensor:
        """Values per pass and rank [n R] in a form that multiplies h: [(n b) 1 R] or [(n b) R 1 1]."""
        if h.shape[0] % len(values):
            raise ValueError(f"{self.path} met a batch of {h.shape[0]}, which {len(values)} passes do not divide")
        rows = values.repeat_interleave(h.shape[0] // len(values), dim=0)
        return rows[:, :, None, None] if self.kind == "conv" else rows.view(len(rows), *(1,) * (h.ndim - 2), -1)

    def gated(self, h: Tensor) -> Tensor:
        """g * h, as a tensor of its own in the dtype of h."""
        return (h * self.spread(self.gates, h)).to(h.dtype)

    def add(self, y: Tensor, h: Tensor) -> Tensor:
        """y + B h, as a tensor of its own: y [... d_out] or [b d_out h w]."""
        return self.layer.added(y, h, self.up)

    def regained(self, x: Tensor, y: Tensor, mask: Tensor | None = None) -> Tensor:
        """y with what the DoRAs of the layer add to the base's own weight under their gates; y itself without any."""
        return self.layer.regained(x, y, self.update, mask) if self.update.gains else y


class LayerRule:
    """A rule for every layer that an open adapter touches, in force for the run of a plan that carries it.

    Override `gate` to scale the low-rank activations, or `output` to add the updates in a way of one's own. Both may
    build a graph of gradients: nothing is changed in place. The runtime calls rules outside of compiled graphs.
    """

    text_encoders: bool = False  # whether the rule acts on the text encoders, too
    from_step: int = 0  # the first step in which it acts; before it the updates are summed as they are

    def __call__(self, site: LayerSite, x: Tensor, y: Tensor, h: Tensor) -> Tensor:
        """What a layer asks: `output` when it is time, with what DoRAs add to the base's own weight inside of y."""
        return self.in_time(site, x, site.regained(x, y), h)

    def in_time(self, site: LayerSite, x: Tensor, y: Tensor, h: Tensor) -> Tensor:
        """`output`, or the plain sum before `from_step`."""
        too_early = site.state is not None and site.state.index < self.from_step
        return site.add(y, site.gated(h)) if too_early else self.output(site, x, y, h)

    def gate(self, site: LayerSite, x: Tensor, h: Tensor) -> Tensor:
        """A multiplier that broadcasts to h = A x, on top of the gates.

        x is the layer's input and h [(n b) ... R] for a linear layer, [(n b) R h w] for a convolution, with the n
        passes of the step outermost and both halves of guidance in b.
        """
        raise NotImplementedError(f"{type(self).__name__} overrides neither gate nor output")

    def output(self, site: LayerSite, x: Tensor, y: Tensor, h: Tensor) -> Tensor:
        """The layer's output, from the base's own output y and h = A x as it is before any gate."""
        return site.add(y, (site.gated(h) * self.gate(site, x, h)).to(h.dtype))


def sites_of(
    updates: Mapping[LowRankLayer, Update],
    names: tuple[str, ...],
    paths: Mapping[LowRankLayer, str],
    places: Mapping[str, int],
    run: RunState,
) -> dict[LowRankLayer, LayerSite]:
    """The sites of a stack of the adapters `names`; `places` counts all layers of the model by path."""
    sites: dict[LowRankLayer, LayerSite] = {}
    for layer, update in updates.items():
        ends = [sum(update.ranks[: index + 1]) for index in range(len(update.ranks))]
        sites[layer] = LayerSite(
            path=paths[layer],
            index=places[paths[layer]],
            num_layers=len(places),
            kind=layer.kind,
            names=tuple(names[owner] for owner in update.owners),
            slices=tuple(slice(end - rank, end) for end, rank in zip(ends, update.ranks, strict=True)),
            layer=layer,
            update=update,
            run=run,
        )
    return sites
