"""Who draws the sets: Loom's methods with their settings, methods written from the papers, and the controls.

A contestant is called by one text: `merge`, `switch:switch_every=2`, `merge@0.8` (all strengths), `paper_composite`
(see `references`), `base` (the joint prompt without LoRAs), `alone.0` (the joint prompt, the set's first LoRA only).
AutoLoRA's own gate is `gated:gate=FILE;trust=0` with a file that `loom train gate --kind channel` wrote.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from lora_loom.pipelines.generate import generate_batch
from lora_loom.pipelines.registry import create, methods, parsed
from lora_loom.pipelines.request import AdapterChoice, GenerationRequest, SettingValue
from lora_loom.studio.testbed.drawing import Drawn, Sampling
from lora_loom.studio.testbed.references import REFERENCES, PeftBench, Task
from lora_loom.studio.testbed.sets import LoraSet


class Contestant(Protocol):
    def draw(self, bench: "Bench", asked: LoraSet, seeds: Sequence[int], sampling: Sampling) -> Drawn: ...


@dataclass
class Bench:
    """A pipeline with every LoRA loaded, and PEFT's own model beside it for those who need one.

    With `autocast` the models compute in bfloat16 and everything between them stays in float32: on a CPU that has it,
    a picture takes 0.6 of the time.
    """

    pipe: Any
    peft: PeftBench | None = None
    autocast: bool = False

    def arithmetic(self) -> AbstractContextManager[Any]:
        """The context to draw in."""
        device = self.pipe._execution_device.type
        return torch.autocast(device, torch.bfloat16) if self.autocast else nullcontext()

    def of_peft(self) -> PeftBench:
        if self.peft is None:
            self.peft = PeftBench(self.pipe)
        return self.peft


@dataclass(frozen=True)
class LoomMethod:
    """A method of Loom's registry on its public path, with all LoRAs of the set or with those of `positions` only."""

    method: str
    settings: Mapping[str, SettingValue]
    strength: float = 1.0
    positions: tuple[int, ...] | None = None

    def draw(self, bench: Bench, asked: LoraSet, seeds: Sequence[int], sampling: Sampling) -> Drawn:
        names = asked.members if self.positions is None else [asked.members[i] for i in self.positions]
        requests = [
            GenerationRequest(
                prompt=asked.prompt,
                adapters=tuple(AdapterChoice(name, self.strength) for name in names),
                method=self.method,
                settings=self.settings,
                num_inference_steps=sampling.num_inference_steps,
                guidance_scale=sampling.guidance_scale,
                seed=seed,
            )
            for seed in seeds
        ]
        done = generate_batch(bench.pipe, requests, bench.pipe.adapters)
        pictures = np.stack([np.asarray(image) for image in done.images])
        return Drawn(pictures, done.passes, done.seconds, done.peak_memory_bytes)


@dataclass(frozen=True)
class Reference:
    """A method as others published it, on PEFT's model (see `references`)."""

    name: str

    def draw(self, bench: Bench, asked: LoraSet, seeds: Sequence[int], sampling: Sampling) -> Drawn:
        return REFERENCES[self.name](Task(bench.of_peft(), asked, seeds, sampling))


def contestant(text: str) -> Contestant:
    """The contestant of that name. Raises UnknownMethodError or SettingError, before anything is drawn."""
    if text in REFERENCES:
        return Reference(text)
    if text == "base":
        return LoomMethod("merge", {}, positions=())
    if text.startswith("alone."):
        return LoomMethod("merge", {}, positions=(int(text.removeprefix("alone.")),))
    name, settings = parsed(text)
    method, _, strength = name.partition("@")
    create(method, settings)
    return LoomMethod(method, settings, float(strength or 1.0))


def takes_part(text: str, asked: LoraSet) -> bool:
    """Whether a contestant has something to draw for a set: the fourth LoRA alone needs a set of four."""
    return not text.startswith("alone.") or int(text.removeprefix("alone.")) < asked.k


def reads_gates(text: str) -> bool:
    """Whether a contestant's pictures depend on the gate files of the package."""
    name, settings = parsed(text)
    method = name.partition("@")[0]
    return method in methods() and getattr(create(method, settings), "gate", "none") != "none"


def gate_file(text: str) -> Path | None:
    """The gate file that a contestant names by its path, None for shipped gates and for none."""
    _, settings = parsed(text)
    path = Path(str(settings.get("gate", ""))).expanduser()
    return path if path.is_file() else None
