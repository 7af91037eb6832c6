"""Draw and judge PocketCompose with several processes that share a device; resumable."""

import hashlib
import json
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lora_loom.pipelines.atomic_file import atomic_file
from lora_loom.studio.pocket import adapters_path, base_path, gates_path
from lora_loom.studio.pocket.judge import judge_files
from lora_loom.studio.testbed.contestants import Bench, contestant, gate_file
from lora_loom.studio.testbed.drawing import Sampling
from lora_loom.studio.testbed.jobs import Job, do
from lora_loom.studio.testbed.judging import judges_on
from lora_loom.studio.testbed.packing import claim
from lora_loom.studio.testbed.sets import LoraSet

PEFT_SHARE = 0.35  # of the processes load PEFT's model, which takes each some seconds, and begin with its jobs


@dataclass(frozen=True)
class Machine:
    """Where a run draws: `processes` of them on `device`, no job begun after `seconds`.

    `half`: in float16, or on a CPU with the models in bfloat16 and the latents in float32.

    With 0 processes everything is drawn in the one that asks. `start`: `fork` is quick, as children inherit what is
    imported; `spawn` is for where something has opened the device before.
    """

    device: str = "cpu"
    half: bool = False
    processes: int = 1
    seconds: float | None = None
    start: Literal["fork", "spawn"] = "fork"
    base: Path = field(default_factory=base_path)
    adapters: Path = field(default_factory=adapters_path)


def run(jobs: Sequence[Job], machine: Machine, sampling: Sampling, out: Path) -> int:
    """Do the jobs that have no file under `out`/jobs yet. Returns how many are still missing.

    Raises RequestError when the folder holds a run of another kind: other weights, gates, judges, seeds or
    sampling.
    """
    folder = out / "jobs"
    folder.mkdir(parents=True, exist_ok=True)
    named = {path for job in jobs if (path := gate_file(job.contestant)) is not None}
    claim(out, kind_of(machine, sampling, {job.seeds for job in jobs}, sorted(named)))
    done = {path.name for path in folder.iterdir()}
    left = [job for job in jobs if job.file_name not in done]
    queues = [[job for job in left if not job.needs_peft], [job for job in left if job.needs_peft]]
    print(json.dumps({"jobs": len(jobs), "left": len(left), "of_peft": len(queues[1])}), flush=True)
    if not left:
        return 0
    context: Any = multiprocessing.get_context(machine.start)
    taken = [context.Value("i", 0) for _ in queues]
    for_peft = max(1, round(machine.processes * PEFT_SHARE))
    started = time.monotonic()
    children = [
        context.Process(
            target=_work, args=(queues, taken, index < for_peft, machine, sampling, folder, started), daemon=False
        )
        for index in range(machine.processes)
    ]
    if not children:
        _work(queues, taken, True, machine, sampling, folder, started)
    for child in children:
        child.start()
    for child in children:
        child.join()
    finished = {path.name for path in folder.iterdir()}
    missing = sum(job.file_name not in finished for job in jobs)
    seconds = round(time.monotonic() - started, 1)
    print(json.dumps({"missing": missing, "seconds": seconds, "exits": [c.exitcode for c in children]}), flush=True)
    return missing


def kind_of(machine: Machine, sampling: Sampling, seeds: set[int], named: Sequence[Path] = ()) -> dict[str, Any]:
    """What the pictures of a run are made of, gates `named` by contestants included: the claim of its folder."""
    made_of = {
        "weights": [*machine.base.rglob("*.safetensors"), *machine.adapters.glob("*.safetensors")],
        "gates": [*gates_path().glob("*.safetensors"), *named],
        "judges": [*judge_files().values()],
    }
    kind: dict[str, Any] = {what: _digest(paths) for what, paths in made_of.items()}
    kind |= {"half": machine.half, "seeds": sorted(seeds)}
    return kind | {"steps": sampling.num_inference_steps, "guidance_scale": sampling.guidance_scale}


def _digest(paths: Sequence[Path]) -> str:
    """Of the files' contents, in the order of their paths."""
    held = hashlib.sha256()
    for path in sorted(paths):
        held.update(path.read_bytes())
    return held.hexdigest()


def _work(
    queues: Sequence[Sequence[Job]],
    taken: Sequence[Any],
    peft_first: bool,
    machine: Machine,
    sampling: Sampling,
    folder: Path,
    started: float,
) -> None:
    """One process: take the next job until none is left, PEFT's first where this process is for them."""
    import torch

    torch.set_num_threads(1)
    if machine.device != "cpu":
        torch.backends.cudnn.benchmark = False
    bench = load(machine)
    panel = judges_on(machine.device)
    loaded = time.monotonic() - started
    count, order = 0, (1, 0) if peft_first else (0,)
    for queue in order:
        while machine.seconds is None or time.monotonic() - started < machine.seconds:
            with taken[queue].get_lock():
                index = taken[queue].value
                taken[queue].value += 1
            if index >= len(queues[queue]):
                break
            do(queues[queue][index], bench, panel, sampling, folder)
            count += 1
    end = time.monotonic() - started
    print(f"process {os.getpid()}: ready at {loaded:.1f} s, {count} jobs by {end:.1f} s", file=sys.stderr, flush=True)


def load(machine: Machine) -> Bench:
    """The pipeline on its device with all LoRAs that are shipped."""
    import torch

    from lora_loom.pipelines.families import FusionPipeline

    on_cpu = machine.device == "cpu"
    dtype = torch.float16 if machine.half and not on_cpu else torch.float32
    pipe = FusionPipeline.from_pretrained(str(machine.base), dtype=dtype)
    pipe.to(machine.device)
    pipe.set_progress_bar_config(disable=True)
    for path in sorted(machine.adapters.glob("*.safetensors")):
        pipe.load_lora_weights(str(path), adapter_name=path.stem)
    return Bench(pipe, autocast=machine.half and on_cpu)


def clock(
    contestants: Sequence[str], sets: Sequence[LoraSet], seeds: int, machine: Machine, sampling: Sampling, out: Path
) -> None:
    """Time every contestant on the first set of each size while nothing else runs; the second drawing counts."""
    first = list({asked.k: asked for asked in reversed(sets)}.values())
    context: Any = multiprocessing.get_context(machine.start)
    child = context.Process(target=_clock, args=(contestants, first, seeds, machine, sampling, out / "jobs"))
    child.start()
    child.join()


def _clock(
    contestants: Sequence[str], sets: Sequence[LoraSet], seeds: int, machine: Machine, sampling: Sampling, folder: Path
) -> None:
    import torch

    torch.set_num_threads(1)
    bench = load(machine)
    for asked in sets:
        for name in contestants:
            held: dict[str, Any] = {"clock": name, "k": asked.k, "pictures": seeds, "processor": _processor(machine)}
            try:
                with bench.arithmetic():
                    for _ in range(2):
                        drawn = contestant(name).draw(bench, asked, asked.seeds(seeds), sampling)
                held |= {"seconds": round(drawn.seconds, 4), "peak_memory_bytes": drawn.peak_memory_bytes}
            except Exception as error:  # told in the job files of the contestant, too
                held["error"] = f"{type(error).__name__}: {error}"
            with atomic_file(folder / f"clock.{Job(name, asked, seeds).file_name}") as file:
                file.write(json.dumps(held).encode())


def _processor(machine: Machine) -> str:
    import torch

    return platform.processor() if machine.device == "cpu" else torch.cuda.get_device_name()
