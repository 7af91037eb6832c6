"""The resident pool: adapters placed on the device of a model, ready to be switched on in any combination."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from lora_loom.pipelines.errors import AdapterMatchError
from lora_loom.pipelines.plan import Gates
from lora_loom.pipelines.runtime.block_groups import BlockGroups
from lora_loom.pipelines.runtime.gates import Stack
from lora_loom.pipelines.runtime.layers import LowRankLayer
from lora_loom.pipelines.runtime.placement import carries, layer_for, place, replace
from lora_loom.pipelines.runtime.rules import LayerRule, LayerSite, RunState, sites_of
from lora_loom.pipelines.runtime.targets import denoiser_of, is_compiled, text_encoders_of
from lora_loom.pipelines.runtime.update import PlacedFactors, Update

if TYPE_CHECKING:
    from lora_loom.pipelines.adapters.factors import Adapter, LoraFactors
    from lora_loom.pipelines.families.family import Family
    from lora_loom.pipelines.request import AdapterChoice
    from lora_loom.pipelines.step_state import StepState

MAX_STACKS = 8  # sets of several adapters whose stacks are kept; a set beyond that is stacked anew when it returns
MAX_RESIDENTS = 32  # adapters kept on the device; the one used longest ago makes room


class ModelBank:
    """The resident adapters of one model, a denoiser or a text encoder, and the layers they may act on.

    Attaching costs one placement of the adapter's own factors, whatever else is resident. Switching points the layers
    at another stack, writing gates is one small tensor; nothing walks the module tree after construction.
    """

    def __init__(self, model: nn.Module, device: torch.device, family: Family | None = None) -> None:
        self.model = model
        self.family = family
        self.device = device
        self.dtype = _dtype_of(model)
        self._modules: dict[str, nn.Module] = dict(cast("Any", model).named_modules())
        self._layers: dict[str, LowRankLayer] = {}
        self._residents: dict[str, dict[str, PlacedFactors]] = {}
        self._stacks: OrderedDict[tuple[str, ...], Stack] = OrderedDict()
        self._sites: dict[Stack, dict[LowRankLayer, LayerSite]] = {}  # of the stacks that ran under a rule
        self._active: Stack | None = None
        self._blocks: dict[str, Mapping[str, float]] = {}  # of the run's adapters
        self._factors: dict[Stack, Tensor] = {}  # of the run's stacks
        self._rule: Any = None  # the run's LayerRule
        self._run = RunState(family=family)
        self._fixed: tuple[str, ...] | None = None  # the set of a run in a compiled model
        self._graphed: tuple[str, ...] = ()  # the set that the last compiled graph was made for

    def attach(self, name: str, factors: Mapping[str, LoraFactors]) -> None:
        """Place an adapter's factors, by module path; under a name that is taken they replace the others.

        Raises AdapterMatchError for a layer that is missing or of another shape; nothing is replaced then.
        """
        placed: dict[str, PlacedFactors] = {}
        for path, each in factors.items():
            if path not in self._layers:
                self._layers[path] = layer_for(name, path, self._modules)
            placed[path] = place(name, path, each, self._layers[path].module, self.device)
        if name in self._residents:
            self.detach(name)
        if placed:
            self._residents[name] = placed

    def detach(self, name: str) -> None:
        self._point_at(None)
        self._graphed = tuple(other for other in self._graphed if other != name)
        for names in [names for names in self._stacks if name in names]:
            self._drop(names)
            for other in set(names) - {name}:
                for factors in self._residents[other].values():
                    factors.leave_stack()
        self._residents.pop(name, None)

    def touched_by(self, gates: Gates) -> Gates:
        """The gates that change this model: of resident adapters, and not zero."""
        return {name: gate for name, gate in gates.items() if gate and name in self._residents}

    def activate(self, passes: Sequence[Gates]) -> None:
        """Let the adapters act with the gates of each pass of the next batch; only those that open in one cost work.

        In a compiled model the set is fixed for the run instead: every switch is a write of gates into one graph.
        """
        names = self._fixed
        if names is None:
            opened = {name for gates in passes for name, gate in gates.items() if gate}
            names = tuple(name for name in self._residents if name in opened)
        if not names:
            self._point_at(None)
            return
        stack = self._stack(names)
        if stack is not self._active:
            self._point_at(stack)
        stack.write(passes, self._factors_of(stack))

    def at(self, step: StepState, grid: tuple[int, int] | None) -> None:
        """Tell rules where the run stands, and how the picture lies in a sample of tokens."""
        self._run.step, self._run.grid = step, grid

    def told(self, text: Tensor | None, *, probing: bool = False) -> None:
        """Tell rules the text states of the next call, and whether it is a probe."""
        self._run.text, self._run.probing = text, probing

    @contextmanager
    def open(
        self,
        names: Sequence[str],
        *,
        compiled: bool,
        rule: LayerRule | None = None,
        controls: Sequence[AdapterChoice] = (),
    ) -> Generator[None]:
        """Hook the layers of all residents for one run with these adapters; restores the model exactly, always.

        Raises RequestError for blocks that the model does not have.
        """
        for choice in controls:
            self._groups.check(choice.name, choice.blocks)
        self._blocks = {choice.name: choice.blocks for choice in controls if choice.blocks}
        if rule is not None:  # it may read the step and keep tensors, which no graph could hold
            self._rule = cast("Any", torch.compiler).disable(rule.__call__) if compiled else rule
        if compiled:
            self._fixed = self._graphed = self._covering(names)
            if self._fixed:
                self._stack(self._fixed).stack_now()
        hooked = tuple(self._layers.values())
        try:
            for layer in hooked:
                layer.hook()
            yield
        finally:
            self._point_at(None)
            self._fixed = self._rule = self._run.step = self._run.text = None
            self._blocks.clear()
            self._factors.clear()
            for layer in hooked:
                layer.unhook()

    def follow(self, device: torch.device) -> None:
        """Move the residents to where the model runs now and to its dtype, if either has changed."""
        if (self.device, self.dtype) == (device, _dtype_of(self.model)):
            return
        self._point_at(None)
        self._stacks.clear()
        self._sites.clear()
        self.device, self.dtype = device, _dtype_of(self.model)
        for placed in self._residents.values():
            for path, factors in placed.items():
                placed[path] = replace(factors, self._layers[path].module, device)

    def _covering(self, names: Sequence[str]) -> tuple[str, ...]:
        """The set to run in a compiled model: the last one if it holds these adapters, so that one may be left out."""
        wanted = tuple(name for name in self._residents if name in names)
        return self._graphed if set(wanted) <= set(self._graphed) else wanted

    def _stack(self, names: tuple[str, ...]) -> Stack:
        if names not in self._stacks:
            self._stacks[names] = self._new_stack(names)
            of_several = [names for names in self._stacks if len(names) > 1]
            if len(of_several) > MAX_STACKS:
                self._drop(of_several[0])
        self._stacks.move_to_end(names)
        return self._stacks[names]

    def _new_stack(self, names: tuple[str, ...]) -> Stack:
        updates: dict[LowRankLayer, Update] = {}
        for path, layer in self._layers.items():
            owners = [index for index, name in enumerate(names) if path in self._residents[name]]
            if owners:
                updates[layer] = Update([self._residents[names[index]][path] for index in owners], owners)
        return Stack(names, updates, self.device)

    def _drop(self, names: tuple[str, ...]) -> None:
        self._sites.pop(self._stacks.pop(names), None)

    def _point_at(self, stack: Stack | None) -> None:
        if self._active is not None:
            for layer in self._active.updates:
                layer.update = layer.ruled = None
        if stack is not None:
            for layer, update in stack.updates.items():
                layer.update = update
            if self._rule is not None:
                for layer, site in self._sites_of(stack).items():
                    layer.ruled = partial(self._rule, site)
        self._active = stack

    def _factors_of(self, stack: Stack) -> Tensor | None:
        """The blocks of the stack's adapters as a factor for each layer and rank; None where there are none."""
        if self._blocks.keys().isdisjoint(stack.names):
            return None
        if stack not in self._factors:
            paths = {layer: path for path, layer in self._layers.items()}
            self._factors[stack] = stack.factors(
                lambda name, layer: self._groups.factor(self._blocks.get(name, {}), paths[layer])
            )
        return self._factors[stack]

    @cached_property
    def _groups(self) -> BlockGroups:
        return BlockGroups(self.model, self.family)

    def _sites_of(self, stack: Stack) -> dict[LowRankLayer, LayerSite]:
        if stack not in self._sites:
            paths = {layer: path for path, layer in self._layers.items()}
            self._sites[stack] = sites_of(stack.updates, stack.names, paths, self._places, self._run)
        return self._sites[stack]

    @cached_property
    def _places(self) -> dict[str, int]:
        """All layers that could carry an adapter, counted in the order of the model's modules."""
        paths = [path for path, module in self._modules.items() if carries(module)]
        return {path: index for index, path in enumerate(paths)}


class AdapterBank:
    """The resident adapters of a diffusers pipeline: one ModelBank for its denoiser, one for each text encoder.

    Keep one for as long as the pipeline lives, so that adapters are placed once; `fused` makes a passing one else.
    """

    def __init__(self, pipe: Any, *, max_residents: int = MAX_RESIDENTS) -> None:
        self.max_residents = max_residents
        self.adapters: OrderedDict[str, Adapter] = OrderedDict()  # the one used longest ago comes first
        self._settle(pipe)

    def attach(self, name: str, adapter: Adapter) -> None:
        """Make the adapter resident; under a name that is taken it replaces the other one.

        Raises AdapterMatchError when a part of it does not fit, with none of it resident.
        """
        self.adapters.pop(name, None)
        try:
            self.denoiser.attach(name, adapter.denoiser)
            for encoder, bank in self.text_encoders.items():
                bank.attach(name, adapter.text_encoders.get(encoder, {}))
        except AdapterMatchError:
            for bank in (self.denoiser, *self.text_encoders.values()):
                bank.detach(name)
            raise
        self.adapters[name] = adapter

    def detach(self, name: str) -> None:
        for bank in (self.denoiser, *self.text_encoders.values()):
            bank.detach(name)
        del self.adapters[name]

    @contextmanager
    def open(
        self,
        pipe: Any,
        adapters: Mapping[str, Adapter],
        *,
        rule: LayerRule | None = None,
        controls: Sequence[AdapterChoice] = (),
    ) -> Generator[None]:
        """Make these adapters resident where they are not, and hook the pipeline's models for one run with them.

        Pipelines that share their models (`from_pipe`) share what is resident; other models empty the bank.
        """
        slot = denoiser_of(pipe)
        if slot.model is not self.denoiser.model or text_encoders_of(pipe) != self._encoder_models():
            self._settle(pipe)
        for bank in (self.denoiser, *self.text_encoders.values()):
            bank.follow(pipe._execution_device)
        for name, adapter in adapters.items():
            if self.adapters.get(name) is not adapter:
                self.attach(name, adapter)
            self.adapters.move_to_end(name)
        while len(self.adapters) > max(self.max_residents, len(adapters)):
            self.detach(next(iter(self.adapters)))
        with ExitStack() as stack:
            names, of_text = tuple(adapters), rule if rule is not None and rule.text_encoders else None
            compiled = is_compiled(slot.called)
            stack.enter_context(self.denoiser.open(names, compiled=compiled, rule=rule, controls=controls))
            for name, bank in self.text_encoders.items():
                stack.enter_context(bank.open(names, compiled=is_compiled(getattr(pipe, name)), rule=of_text))
            yield

    def _settle(self, pipe: Any) -> None:
        """Start with empty banks on the models that this pipeline has now."""
        device: torch.device = pipe._execution_device
        self.adapters.clear()
        slot = denoiser_of(pipe)
        self.denoiser = ModelBank(slot.model, device, slot.family)
        self.text_encoders = {name: ModelBank(model, device) for name, model in text_encoders_of(pipe).items()}

    def _encoder_models(self) -> dict[str, nn.Module]:
        return {name: bank.model for name, bank in self.text_encoders.items()}


def _dtype_of(model: nn.Module) -> torch.dtype:
    return next(model.parameters()).dtype
