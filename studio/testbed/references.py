"""What others do, for comparison: PEFT's live sum and merges, and LoRA Switch and Composite, written from the paper.

Everything runs on PEFT's own model in a plain denoising loop, so no line of Loom's runtime takes part. The prompt is
encoded once, as the paper's code does; LoRAs of the pocket world have no text-encoder part.
"""

import copy
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lora_loom.studio.testbed.drawing import Drawn, Sampling
from lora_loom.studio.testbed.sets import LoraSet

PAPER_SCALE = 0.8  # arXiv:2402.16843, section 4.1: every LoRA at 0.8
PAPER_TAU = 5  # section 4.4: turns of five steps are best
DENSITY = 0.5  # share of the entries that TIES and DARE keep


class PeftBench:
    """The pipeline's parts with a copy of its U-Net that PEFT has put every LoRA into."""

    def __init__(self, pipe: Any) -> None:
        from peft import get_peft_model

        self.pipe = pipe
        unet = copy.deepcopy(pipe.unet)
        self.unet: Any = None
        for name, adapter in pipe.adapters.items():
            config = self._config(adapter)
            if self.unet is None:
                self.unet = get_peft_model(unet, config, adapter_name=name)
            else:
                self.unet.add_adapter(name, config)
            self._write(name, adapter)
        self._layers = self._of_peft()
        self._freeze()

    def use(self, names: Sequence[str], scale: float = 1.0) -> None:
        """Let these LoRAs act, each at `scale` times its own.

        As PEFT's `set_adapter`, which also walks through every LoRA of the model for gradients that none has here.
        """
        self.unet.base_model.active_adapter = list(names)
        for layer in self._layers:
            layer._active_adapter = list(names)
            for name in names:
                if name in layer.scaling:
                    layer.scaling[name] = scale  # alpha equals the rank, so this is the whole factor

    def merged(self, names: Sequence[str], kind: str, seed: int) -> None:
        """Let PEFT's `add_weighted_adapter` of these LoRAs act alone, all weights 1."""
        self.drop_merged()
        names = self._of_one_rank(names)
        for name in names:
            for layer in self._layers:
                if name in layer.scaling:
                    layer.scaling[name] = 1.0
        torch.manual_seed(seed)  # DARE drops entries at random
        density = {} if kind == "linear" else {"density": DENSITY}
        self.unet.add_weighted_adapter(list(names), [1.0] * len(names), "merged", combination_type=kind, **density)
        self._freeze()
        self.unet.base_model.set_adapter(["merged"], inference_mode=True)

    def drop_merged(self) -> None:
        if "merged" in self.unet.peft_config:
            self.unet.delete_adapter("merged")

    def predict(self, sample: Tensor, timestep: Tensor, states: Tensor) -> Tensor:
        return self.unet(sample, timestep, encoder_hidden_states=states, return_dict=False)[0]

    def _of_one_rank(self, names: Sequence[str]) -> list[str]:
        """These LoRAs, or where their ranks differ copies of the smaller ones with ranks of zeros added.

        PEFT refuses mixed ranks. The zeros change no update; TIES, which keeps a share of all entries, cuts less off.
        """
        ranks = {name: self.unet.peft_config[name].r for name in names}
        largest = max(ranks.values())
        filled = {name: name if rank == largest else f"{name}_of_rank_{largest}" for name, rank in ranks.items()}
        for name, copied in filled.items():
            if copied not in self.unet.peft_config:
                self.unet.add_adapter(copied, self._config(self.pipe.adapters[name], largest))
                self._write(copied, self.pipe.adapters[name])
        return list(filled.values())

    @staticmethod
    def _config(adapter: Any, rank: int | None = None) -> Any:
        """PEFT's settings of an adapter, whose layers must be of one rank (ValueError), or of `rank`."""
        from peft import LoraConfig

        ranks = {factors.rank for factors in adapter.denoiser.values()}
        if len(ranks) != 1:
            raise ValueError(f"{adapter.name} has layers of ranks {sorted(ranks)}, where PEFT's merges need one")
        r: int = ranks.pop() if rank is None else rank
        return LoraConfig(r=r, lora_alpha=r, target_modules=list(adapter.denoiser))

    def _freeze(self) -> None:
        self.unet.requires_grad_(False)
        self.unet.eval()

    def _write(self, name: str, adapter: Any) -> None:
        """Write the factors, with zeros where PEFT's layer has more ranks."""
        for path, factors in adapter.denoiser.items():
            layer = self.unet.base_model.model.get_submodule(path)
            down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
            down.data = torch.zeros_like(down, device=layer.weight.device, dtype=layer.weight.dtype)
            up.data = torch.zeros_like(up, device=layer.weight.device, dtype=layer.weight.dtype)
            down.data[: factors.rank] = factors.down.reshape(factors.rank, *down.shape[1:]).to(down.data)
            up.data[:, : factors.rank] = factors.up.reshape(len(up), factors.rank, *up.shape[2:]).to(up.data)

    def _of_peft(self) -> list[Any]:
        from peft.tuners.lora import LoraLayer

        return [module for module in self.unet.modules() if isinstance(module, LoraLayer)]


Predict = Callable[[int, Tensor, Tensor, Tensor], Tensor]  # step, both halves, timestep, states -> prediction of both


@dataclass(frozen=True)
class Task:
    """One set to draw from these seeds."""

    bench: PeftBench
    asked: LoraSet
    seeds: Sequence[int]
    sampling: Sampling


@torch.no_grad()
def sample(task: Task, predict: Predict, passes: int) -> Drawn:
    """Draw by a plain loop of classifier-free guidance; `predict` runs the U-Net `passes` times a step."""
    pipe, started = task.bench.pipe, time.perf_counter()
    device, count, steps = pipe._execution_device, len(task.seeds), task.sampling.num_inference_steps
    positive, negative = pipe.encode_prompt(task.asked.prompt, device, count, True)
    states = torch.cat([negative, positive])
    side, channels = pipe.unet.config.sample_size * pipe.vae_scale_factor, pipe.unet.config.in_channels
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in task.seeds]
    latents = pipe.prepare_latents(count, channels, side, side, states.dtype, device, generators, None)
    pipe.scheduler.set_timesteps(steps, device=device)
    for index, timestep in enumerate(pipe.scheduler.timesteps):
        both = pipe.scheduler.scale_model_input(torch.cat([latents] * 2), timestep)
        without, given = predict(index, both, timestep, states).chunk(2)
        guided = without + task.sampling.guidance_scale * (given - without)
        latents = pipe.scheduler.step(guided, timestep, latents, return_dict=False)[0]
    decoded = pipe.vae.decode(latents / pipe.vae.config.scaling_factor, return_dict=False)[0]
    images = pipe.image_processor.postprocess(decoded, output_type="pil")
    pictures = np.stack([np.asarray(image) for image in images])
    return Drawn(pictures, {"full": passes * steps}, time.perf_counter() - started, _peak_memory(device))


def peft_sum(task: Task, scale: float = 1.0) -> Drawn:
    """All LoRAs active at once, as `set_adapters` does: y = W x + sum_i B_i A_i x."""
    task.bench.use(task.asked.members, scale)
    return sample(task, lambda index, both, timestep, states: task.bench.predict(both, timestep, states), 1)


def peft_merged(task: Task, kind: str) -> Drawn:
    """`add_weighted_adapter` with the combination type `kind`, which merges A and B each for itself."""
    task.bench.merged(task.asked.members, kind, task.seeds[0])
    return sample(task, lambda index, both, timestep, states: task.bench.predict(both, timestep, states), 1)


def paper_switch(task: Task, scale: float = PAPER_SCALE, tau: int = PAPER_TAU) -> Drawn:
    """Equation 2: at step t = 1, 2, ... LoRA floor(((t - 1) mod (k tau)) / tau) + 1 is the only one."""
    members, k = task.asked.members, task.asked.k

    def predict(index: int, both: Tensor, timestep: Tensor, states: Tensor) -> Tensor:
        if index % tau == 0:
            task.bench.use([members[index % (k * tau) // tau]], scale)
        return task.bench.predict(both, timestep, states)

    return sample(task, predict, 1)


def paper_composite(task: Task, scale: float = PAPER_SCALE) -> Drawn:
    """Equation 3 with all weights 1: the mean over the LoRAs of each half of guidance, one forward after the other."""

    def predict(index: int, both: Tensor, timestep: Tensor, states: Tensor) -> Tensor:
        total = torch.zeros_like(both)
        for name in task.asked.members:
            task.bench.use([name], scale)
            total += task.bench.predict(both, timestep, states)
        return total / task.asked.k

    return sample(task, predict, task.asked.k)


REFERENCES: dict[str, Callable[[Task], Drawn]] = {
    "peft_sum": peft_sum,
    "peft_linear": partial(peft_merged, kind="linear"),
    "peft_ties": partial(peft_merged, kind="ties"),
    "peft_dare_linear": partial(peft_merged, kind="dare_linear"),
    "paper_switch": paper_switch,
    "paper_composite": paper_composite,
}


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
