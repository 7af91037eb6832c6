"""M-doctor: seconds and peak memory of `loom doctor`'s examination of two LoRAs of rank 32 on SDXL's true shapes."""

from __future__ import annotations

import json
import subprocess
import sys

from lora_loom.studio.bench.clock import Estimate
from lora_loom.studio.bench.rows import Row, row
from lora_loom.studio.bench.subjects import SDXL, Subject

RANK = 32
SECONDS, GIBIBYTES = 60.0, 2.0
# In a process of its own, as the peak of memory is that of a whole process.
_CODE = """
import json, resource, sys
from lora_loom.studio.bench.methods.doctor import examined
seconds, layers = examined()
print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, layers]))
"""


def measure(quick: bool) -> list[Row]:
    done = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, text=True, check=True)
    seconds, gibibytes, layers = json.loads(done.stdout.splitlines()[-1])
    what = f"of the report on two random LoRAs of rank {RANK} on {layers} layers of {SDXL.title}"
    return [
        row("doctor.seconds", f"CPU seconds {what}", Estimate.exact(seconds), anchor=None, line=SECONDS),
        row("doctor.memory", f"GiB at the peak {what}", Estimate.exact(gibibytes), anchor=None, line=GIBIBYTES),
    ]


def examined(subject: Subject = SDXL, rank: int = RANK) -> tuple[float, int]:
    """CPU seconds of the examination, lion's foresight included, and the number of layers: every linear and kernel."""
    import math
    import time
    from dataclasses import replace

    import torch

    from lora_loom.pipelines.adapters.factors import LoraFactors
    from lora_loom.pipelines.adapters.target import BaseTarget
    from lora_loom.pipelines.forecast.examine import examine
    from lora_loom.pipelines.forecast.layer_place import LayerPlaces
    from lora_loom.studio.bench.random_loras import random_loras

    torch.set_num_threads(1)
    unet = subject.build("meta")
    target = BaseTarget.from_modules({"denoiser": unet})
    adapters = random_loras(unet, 2, 1)
    for seed, (name, adapter) in enumerate(list(adapters.items())):
        drawn = torch.Generator().manual_seed(seed)
        factors: dict[str, LoraFactors] = {}
        for path, shape in target.components["denoiser"].items():
            out, *into = shape.weight
            down = torch.randn(rank, *into, generator=drawn) / math.sqrt(math.prod(into))
            factors[path] = LoraFactors(down, torch.randn(out, rank, generator=drawn) * 0.02)
        adapters[name] = replace(adapter, denoiser=factors)
    start = time.process_time()
    report = examine(adapters, dict.fromkeys(adapters, 1.0), places=LayerPlaces(target.components))
    return time.process_time() - start, report.pairs[0].whole.layers
