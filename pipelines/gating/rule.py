"""GateRule: a learned gate at work inside the layers of a run, with pins, a trust region and a map of what it did."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from lora_loom.pipelines.gating.channel_gate import ChannelGate
from lora_loom.pipelines.gating.conditions import Conditions
from lora_loom.pipelines.gating.conservation import given_back
from lora_loom.pipelines.gating.evidence import Basis, company_of, gather
from lora_loom.pipelines.gating.heat_log import HeatLog
from lora_loom.pipelines.gating.heat_map import HeatMap
from lora_loom.pipelines.gating.rank_gate import RankGate
from lora_loom.pipelines.gating.trust_region import within
from lora_loom.pipelines.runtime.rules import LayerRule, LayerSite

Gate = RankGate | ChannelGate
GateFor = Callable[[LayerSite], Gate | None]
_TINY = 1e-12


class GateRule(LayerRule):
    """y = y0 + sum_k g_k y_k with the gates of a learned gate, at every layer where two adapters or more meet.

    `gate_for` is asked once for each layer and set of adapters, and may answer None for a layer that is left to the
    plain sum. Adapters in `pinned`, and those not `among` the fused ones (exempt: None for no such), keep their gate
    of 1. `trust` is the size of the trust region, `top_k` how many adapters may speak at a token (0: all). Nothing is
    counted twice: strengths and the plan's gates act first, and so do the multipliers of another rule, `after`, so
    that the gate sees what it has left.
    """

    def __init__(
        self,
        gate_for: GateFor,
        *,
        among: frozenset[str] | None = None,
        pinned: frozenset[str] = frozenset(),
        trust: float = 1.0,
        top_k: int = 0,
        heat: HeatLog | None = None,
        after: LayerRule | None = None,
    ) -> None:
        self.progress: Tensor | None = None  # [b] where samples differ, in training; else that of the step counts
        self._gate_for = gate_for
        self._among = among
        self._pinned = pinned
        self._trust = trust
        self._top_k = top_k
        self._heat = heat
        self._after = after
        self._on = True
        self._gate: Gate | None = None  # one of those at work
        self._known: WeakKeyDictionary[LayerSite, tuple[Gate, Basis] | None] = WeakKeyDictionary()
        self._read: tuple[Any, ...] = (None, None, None, None)  # what `_common` was computed from
        self._batch = 0
        self._common = torch.empty(0)

    @contextmanager
    def off(self) -> Generator[None]:
        """The plain sum for a while."""
        was, self._on = self._on, False
        try:
            yield
        finally:
            self._on = was

    @property
    def gate_name(self) -> str:
        """The name of the gate that decides; empty as long as none was found, and for one without a name."""
        return str(getattr(self._gate_for, "name", ""))

    @property
    def has_map(self) -> bool:
        """Whether there is a map to show: beside another rule a gate is optional, and there may be none."""
        return self._heat is not None and (self._after is None or bool(self.gate_name))

    def heat_map(self, adapters: Sequence[str]) -> HeatMap:
        """What the gates of these adapters were so far; RuntimeError for a rule without a log."""
        if self._heat is None:
            raise RuntimeError("this rule keeps no map of its gates")
        return self._heat.map(self.gate_name, adapters, trained=self._gate is not None and not self._gate.neutral)

    def output(self, site: LayerSite, x: Tensor, y: Tensor, h: Tensor) -> Tensor:
        if len(site.names) == 1 or not self._on:
            return site.add(y, site.gated(h))
        if self._after is not None:
            h = (h * self._after.gate(site, x, h)).to(h.dtype)
        said = site.gated(h)
        if site not in self._known:
            self._known[site] = self._look_up(site, y)
        known = self._known[site]
        if known is None:
            return site.add(y, said)
        gate, basis = known
        self._gate = gate
        with _all_digits(y):
            spoken = _tokens(site, said).float()  # [b t R]
            strengths = basis.of_adapters(site.gates)
            strengths = strengths.repeat_interleave(len(spoken) // len(strengths), dim=0)  # [b N]
            common = self._common_of(site, gate, len(spoken))
            if isinstance(gate, ChannelGate):
                return self._by_channel(gate, site, y, spoken, strengths, common)
            return self._by_rank(gate, site, y, said, spoken, basis, strengths, common)

    def _look_up(self, site: LayerSite, y: Tensor) -> tuple[Gate, Basis] | None:
        """The gate of a layer, and what it reads there; None for a layer that is left to the plain sum."""
        gate = self._gate_for(site)
        if gate is None:
            return None
        with _all_digits(y):
            return gate.to(y.device), Basis.of(site.up, [its.stop - its.start for its in site.slices])

    def _by_rank(
        self,
        gate: RankGate,
        site: LayerSite,
        y: Tensor,
        said: Tensor,
        spoken: Tensor,
        basis: Basis,
        strengths: Tensor,
        common: Tensor,
    ) -> Tensor:
        base = _tokens(site, y).float().square().sum(-1)  # [b t]
        evidence = gather(spoken, base, basis, strengths)
        plain = (evidence.energy + _TINY).sqrt()
        gates = gate(site.path, evidence, common)
        if gate.conserves:
            gates = gates * given_back(evidence.energy, gates.square() * evidence.energy)
        gates = self._held(site, gates, plain, gates * plain, base.sqrt())
        self._note(site, gates, strengths)
        wide = (gates @ basis.member.t()).to(said.dtype)  # [b t R]
        return site.add(y, said * _like(site, wide, said))

    def _by_channel(
        self, gate: ChannelGate, site: LayerSite, y: Tensor, spoken: Tensor, strengths: Tensor, common: Tensor
    ) -> Tensor:
        base, up = _tokens(site, y).float(), site.up.float()
        each = torch.stack([spoken[..., its] @ up[its] for its in site.slices], dim=2)  # [b t N d_out]
        gates, said = gate(site.path, base, each, company_of(strengths), common)
        if gate.conserves:
            back = given_back(each.square().sum(-1), said.square().sum(-1))[..., None]
            gates, said = gates * back, said * back
        plain, gated = ((values.square().sum(-1) + _TINY).sqrt() for values in (each, said))
        factor = self._held(site, torch.ones_like(plain), plain, gated, base.square().sum(-1).sqrt())[..., None]
        pinned = self._pins(site, y.device)
        if pinned is not None:
            keep = pinned[:, None] > 0
            gates, said = torch.where(keep, 1.0, gates), torch.where(keep, each, said)
        self._note(site, (gates * factor).mean(-1), strengths)
        return y + _like(site, (said * factor).sum(2), y).to(y.dtype)

    def _held(self, site: LayerSite, gates: Tensor, plain: Tensor, gated: Tensor, base: Tensor) -> Tensor:
        """The gates [b t N] under top-k, the trust region and pins."""
        pinned = self._pins(site, gates.device)
        if 0 < self._top_k < len(site.names):
            loudness = gated if pinned is None else torch.where(pinned > 0, torch.inf, gated)
            least = loudness.topk(self._top_k, dim=-1).values[..., -1:]
            heard = (loudness >= least).to(gates.dtype)
            gates, gated = gates * heard, gated * heard
        gates = gates * within(self._trust, plain, gated, base, pinned)
        return gates if pinned is None else torch.where(pinned > 0, 1.0, gates)

    def _pins(self, site: LayerSite, device: torch.device) -> Tensor | None:
        """[N], 1 for adapters that are pinned."""
        keeps = [name in self._pinned or (self._among is not None and name not in self._among) for name in site.names]
        return torch.tensor(keeps, dtype=torch.float32, device=device) if any(keeps) else None

    def _common_of(self, site: LayerSite, gate: Gate, batch: int) -> Tensor:
        """What the gate makes of timestep and text, once per call of the denoiser."""
        read = (site.state, site.text, self.progress, gate)
        fresh = self._batch != batch or any(new is not old for new, old in zip(read, self._read, strict=True))
        if fresh or (torch.is_grad_enabled() and not self._common.requires_grad):
            progress = self.progress
            if progress is None:
                progress = torch.tensor([0.5 if site.state is None else site.state.progress])
            conditions = Conditions.of(progress.to(site.up.device), site.text, gate.text_width)
            self._common = gate.common(conditions.rows(batch))
            self._read, self._batch = read, batch
        return self._common

    def _note(self, site: LayerSite, gates: Tensor, strengths: Tensor) -> None:
        if self._heat is not None and site.state is not None and not site.run.probing:
            step = site.state
            self._heat.note(site.path, site.index, site.names, step.index, step.progress, gates, strengths)


def _all_digits(y: Tensor) -> AbstractContextManager[Any]:
    """No autocast: differences of energies need all digits."""
    kind = y.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()


def _tokens(site: LayerSite, values: Tensor) -> Tensor:
    """[b ... c] or [b c h w] as [b t c]."""
    return (
        values.flatten(2).transpose(1, 2) if site.kind == "conv" else values.reshape(len(values), -1, values.shape[-1])
    )


def _like(site: LayerSite, values: Tensor, other: Tensor) -> Tensor:
    """[b t c] in the shape of `other`."""
    return values.transpose(1, 2).reshape(other.shape) if site.kind == "conv" else values.reshape(other.shape)
