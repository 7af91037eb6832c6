"""C12: graphs that torch.compile makes anew when gates change, adapters take turns, or one is switched off."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lora_loom.studio.bench.agreement import require_agreement
from lora_loom.studio.bench.clock import Estimate
from lora_loom.studio.bench.loom_side import LoomSide, plan_of
from lora_loom.studio.bench.peft_side import PeftSide
from lora_loom.studio.bench.random_loras import random_loras
from lora_loom.studio.bench.rows import Row, row
from lora_loom.studio.bench.subjects import TINY, Subject

Events = Mapping[str, Mapping[str, float]]  # what happens -> the adapters active after it, with their strengths
Run = Callable[[Mapping[str, float]], Tensor]

ADAPTERS = 4
WARM_UP: Events = {"warm-up": {"lora0": 1.0, "lora1": 0.8, "lora2": 0.6}}
EVENTS: Events = {
    "reweight": {"lora0": 0.5, "lora1": 1.2, "lora2": 0.7},
    "switch": {"lora0": 1.0},
    "switch again": {"lora1": 0.9},
    "gate off": {"lora0": 1.0, "lora1": 0.8},
}
ADD: Events = {"add": {"lora0": 1.0, "lora1": 0.8, "lora2": 0.6, "lora3": 1.0}}


def measure(quick: bool) -> list[Row]:
    events = {**EVENTS, **ADD}
    loom, peft = loom_graphs(TINY, events), peft_graphs(TINY, events)
    changes, addition = (sum(loom[event] for event in each) for each in (EVENTS, ADD))
    peft_changes, peft_addition = (sum(peft[event] for event in each) for each in (EVENTS, ADD))
    return [
        row(
            "C12",
            f"new graphs under torch.compile for {', '.join(EVENTS)}, of three adapters, {TINY.title}",
            Estimate.exact(changes),
            anchor=peft_changes,
            line=0.0,
        ),
        row(
            "C12.add",
            f"new graphs under torch.compile for a fourth adapter, {TINY.title}",
            Estimate.exact(addition),
            anchor=peft_addition,
            line=None,
        ),
    ]


@torch.no_grad()
def loom_graphs(subject: Subject, events: Events) -> dict[str, int]:
    """New graphs by event, in a compiled U-Net that ran once with three adapters.

    Raises LoomError when a prediction is not PEFT's without compiling, as one from a stale graph would be.
    """
    unet, inputs = subject.build(), subject.inputs()
    side = LoomSide(unet, random_loras(unet, ADAPTERS))
    counter = _Counter()
    side.pipe.unet = counter.compile(unet)

    def run(gates: Mapping[str, float]) -> Tensor:
        with side.running(plan_of("merge", gates), inputs) as call:
            return call()

    return _count(subject, events, run, counter)


@torch.no_grad()
def peft_graphs(subject: Subject, events: Events) -> dict[str, int]:
    """The same for PEFT's live adapters."""
    unet, inputs = subject.build(), subject.inputs()
    side = PeftSide(unet, random_loras(unet, ADAPTERS))
    counter = _Counter()
    compiled = counter.compile(unet)

    def run(gates: Mapping[str, float]) -> Tensor:
        side.set(gates)
        return compiled(**inputs, return_dict=False)[0]

    return _count(subject, events, run, counter)


class _Counter:
    """A backend of torch.compile that counts the graphs it is given and runs them as they are."""

    def __init__(self) -> None:
        self.count = 0

    def compile(self, module: nn.Module) -> Any:
        """With every graph holding the whole module, so that none is left to plain Python unnoticed."""
        return torch.compile(module, backend=self._count, fullgraph=True)

    def _count(self, graph: Any, example_inputs: Any) -> Callable[..., Any]:
        self.count += 1
        return graph.forward


def _count(subject: Subject, events: Events, run: Run, counter: _Counter) -> dict[str, int]:
    unet, inputs = subject.build(), subject.inputs()
    without = unet(**inputs, return_dict=False)[0]
    plain = PeftSide(unet, random_loras(unet, ADAPTERS))
    found: dict[str, int] = {}
    torch.compiler.reset()
    for event, gates in {**WARM_UP, **events}.items():
        before = counter.count
        require_agreement(run(gates), plain.predict(gates, inputs), without)
        found[event] = counter.count - before
    torch.compiler.reset()
    return found
