"""How fast a machine draws: `python -m lora_loom.studio.testbed.timing --device cuda --processes 1,4,8,14`.

Prints one JSON line each for the denoiser's forward (eager and, on an accelerator, as one CUDA graph, by batch) and for
whole pictures drawn by several processes at once. It decides the batch and the number of processes of a big run.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lora_loom.pipelines.registry import create
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.runtime.fused import fused
from lora_loom.studio.pocket import adapters_path, base_path

SEEDS, STEPS = 16, 20


def loaded(base: Path, adapters: Path, names: list[str], device: str, dtype: torch.dtype) -> Any:
    from lora_loom.pipelines.families import FusionPipeline

    pipe = FusionPipeline.from_pretrained(str(base), dtype=dtype).to(device)
    pipe.set_progress_bar_config(disable=True)
    for name in names:
        pipe.load_lora_weights(str(adapters / f"{name}.safetensors"), adapter_name=name)
    return pipe


def milliseconds(call: Callable[[], Any], device: str, repeats: int) -> float:
    for _ in range(3):
        call()
    _wait(device)
    started = time.perf_counter()
    for _ in range(repeats):
        call()
    _wait(device)
    return (time.perf_counter() - started) / repeats * 1000


@torch.no_grad()
def forwards(pipe: Any, names: list[str], device: str, batches: list[int]) -> None:
    """One forward, without LoRAs and with `names` merged, eager and graphed."""
    unet = pipe.unet
    for batch in batches:
        latents = torch.randn(batch, unet.config.in_channels, unet.config.sample_size, unet.config.sample_size)
        sample = latents.to(device, unet.dtype)
        states = torch.randn(batch, 32, unet.config.cross_attention_dim).to(device, unet.dtype)
        timestep = torch.tensor(500, device=device)
        for used in ([], names):
            plan = create("merge").plan([AdapterChoice(name, 1.0) for name in used], STEPS)
            with fused(pipe, plan, pipe.adapters, pipe.bank):
                pipe.scheduler.set_timesteps(STEPS, device=device)
                pipe.encode_prompt("a red cat", device, 1, True)
                call = _forward(pipe, sample, timestep, states)
                row = {"forward": batch, "adapters": len(used), "eager_ms": milliseconds(call, device, 10)}
                if device != "cpu":
                    # the model below the plan: reading the timestep, as a plan must, cannot be captured
                    graph = torch.cuda.CUDAGraph()
                    with torch.cuda.graph(graph):
                        unet(sample, timestep, encoder_hidden_states=states)
                    row["graph_ms"] = milliseconds(graph.replay, device, 20)
            print(json.dumps(row), flush=True)


def _forward(pipe: Any, sample: Tensor, timestep: Tensor, states: Tensor) -> Callable[[], Any]:
    return lambda: pipe.unet(sample, timestep, encoder_hidden_states=states)


def draw(base: Path, adapters: Path, names: list[str], device: str, half: bool, seconds: float, ready: Any) -> None:
    """A process that draws one set again and again; puts (pictures, seconds) in the queue `ready[1]`."""
    torch.set_num_threads(1)
    barrier, queue = ready
    pipe = loaded(base, adapters, names, device, torch.float16 if half else torch.float32)
    prompts = [f"a red {names[0]} creature"] * SEEDS

    def once() -> None:
        generators = [torch.Generator().manual_seed(i) for i in range(SEEDS)]
        pipe(prompts, num_inference_steps=STEPS, guidance_scale=3.0, generator=generators, output_type="np")

    once()
    barrier.wait()
    started, drawn = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        once()
        drawn += SEEDS
    queue.put((drawn, time.perf_counter() - started))


def pictures_per_second(count: int, arguments: tuple[Any, ...]) -> dict[str, Any]:
    context = multiprocessing.get_context("fork")  # the children inherit what is imported; no device is open yet
    barrier, queue = context.Barrier(count + 1), context.Queue()
    started = time.perf_counter()
    children = [context.Process(target=draw, args=(*arguments, (barrier, queue))) for _ in range(count)]
    for child in children:
        child.start()
    barrier.wait()
    start_up = time.perf_counter() - started
    done = [queue.get() for _ in children]
    for child in children:
        child.join()
    rate = sum(drawn / seconds for drawn, seconds in done)
    return {"processes": count, "pictures_per_second": rate, "start_up_seconds": start_up}


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, default=base_path())
    parser.add_argument("--adapters", type=Path, default=adapters_path())
    parser.add_argument("--names", default="bloop,crown,city")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--float32", action="store_true")
    parser.add_argument("--processes", default="1,4,8,14")
    parser.add_argument("--batches", default="32,128,512")
    parser.add_argument("--seconds", type=float, default=3.0, help="of drawing, for each number of processes")
    arguments = parser.parse_args()
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # asking for a GPU must not open it before the fork
    torch.set_num_threads(1)
    from lora_loom.pipelines.families import StableDiffusionFusionPipeline  # noqa: F401 - once, for all the children

    names = arguments.names.split(",")
    print(json.dumps({"mps": shutil.which("nvidia-cuda-mps-control")}), flush=True)
    drawing = (arguments.base, arguments.adapters, names, arguments.device, not arguments.float32, arguments.seconds)
    for count in arguments.processes.split(","):
        print(json.dumps(pictures_per_second(int(count), drawing)), flush=True)
    dtype = torch.float32 if arguments.float32 else torch.float16
    pipe = loaded(arguments.base, arguments.adapters, names, arguments.device, dtype)
    forwards(pipe, names, arguments.device, [int(batch) for batch in arguments.batches.split(",")])


if __name__ == "__main__":
    main()
