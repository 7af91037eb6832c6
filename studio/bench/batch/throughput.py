"""B1: pictures per second of a `loom batch` worker over those of the bare loop, the same pictures in one process.

The bare loop calls the pipeline with the plan and keeps nothing; the worker claims shards, draws, writes PNGs with
their records to the disk and seals. A CPU is clocked by process time, an accelerator by the wall.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lora_loom.pipelines.adapters.load import BaseTarget, load_adapter
from lora_loom.pipelines.errors import LoomError
from lora_loom.pipelines.families import FusionPipeline
from lora_loom.pipelines.registry import create
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.runtime.fused import fused
from lora_loom.studio.batch.engines.process import quiet
from lora_loom.studio.batch.folder import Batch
from lora_loom.studio.batch.layouts.layout import shard_rows
from lora_loom.studio.batch.picture import Picture
from lora_loom.studio.batch.plan import plan_batch
from lora_loom.studio.batch.prompts.reading import PromptSource
from lora_loom.studio.batch.shards import AT_LEAST, SHARD_SECONDS, batches
from lora_loom.studio.batch.suite import Suite
from lora_loom.studio.batch.worker import Worker, WorkerOptions, open_studio
from lora_loom.studio.bench.clock import interleaved, ratio
from lora_loom.studio.bench.rows import Row, row
from lora_loom.studio.library.adapter_library import AdapterLibrary
from lora_loom.studio.pocket import adapters_path
from lora_loom.studio.records.record import pixels_sha256

BATCH = 8
SHARD = 16  # pictures
STEPS = 8  # few, so that all that is not drawing weighs more
ROUNDS, QUICK_ROUNDS = 8, 2
LORAS = ("owlet", "crown")
WORDS = ("red", "blue", "green", "yellow", "a hill", "the sea", "night", "a room")


def measure(quick: bool) -> list[Row]:
    rounds = QUICK_ROUNDS if quick else ROUNDS
    quiet()
    with tempfile.TemporaryDirectory(prefix="loom-bench-") as folder:
        batch = plan_batch(_suite(), Path(folder) / "batch")
        options = WorkerOptions()
        studio = open_studio(batch, options)
        bare = _Bare(studio.pipeline.device)
        shards = iter(batch.shards)
        with Worker(batch, studio, options, lambda: False) as worker:
            _require_same(batch, worker, next(shards), bare)
            on_cpu = bare.pipe.device.type == "cpu"
            samples = interleaved(
                {"bare": lambda: bare.draw(batch.shards[1]), "worker": lambda: worker.work_on(next(shards))},
                rounds,
                warmups=1,
                clock=time.process_time if on_cpu else time.perf_counter,
            )
    what = (
        f"pictures per second of a `loom batch` worker over those of the bare loop: {SHARD} pictures of the pocket base"
        f" with {len(LORAS)} LoRAs, {STEPS} steps, batch {BATCH}, {'CPU' if on_cpu else torch.cuda.get_device_name()}"
    )
    speed = SHARD / sorted(samples["bare"])[rounds // 2]
    return [row("B1", what, ratio(samples, "bare", "worker"), anchor=speed, line=0.95, at_least=True)]


class _Bare:
    """The pipeline in a loop of its own: no folder, no records, no files."""

    def __init__(self, device: torch.device) -> None:
        dtype = torch.float32 if device.type == "cpu" else torch.float16
        self.pipe: Any = FusionPipeline.from_pretrained("pocket", dtype=dtype).to(device)
        self.pipe.set_progress_bar_config(disable=True)
        target, library = BaseTarget.from_pipeline(self.pipe), AdapterLibrary([adapters_path()])
        self._adapters = {name: load_adapter(library.find(name).path, name=name, target=target) for name in LORAS}

    def draw(self, pictures: Sequence[Picture]) -> list[Any]:
        images: list[Any] = []
        for part in batches(pictures, BATCH):
            first = part[0].request
            plan = create(first.method, first.settings).plan(first.adapters, first.num_inference_steps)
            with fused(self.pipe, plan, self._adapters, self.pipe.bank):
                images += self.pipe(
                    [picture.request.prompt for picture in part],
                    num_inference_steps=first.num_inference_steps,
                    guidance_scale=first.guidance_scale,
                    generator=[torch.Generator().manual_seed(picture.request.seed) for picture in part],
                ).images
        return images


def _require_same(batch: Batch, worker: Worker, shard: int, bare: _Bare) -> None:
    """Raise LoomError if the two do not draw the same pictures: then there is nothing to compare."""
    worker.work_on(shard)
    drawn = [row["pixels_sha256"] for row in shard_rows(batch, shard)]
    expected = [pixels_sha256(image) for image in bare.draw(batch.shards[shard])]
    if drawn != expected:
        same = sum(a == b for a, b in zip(drawn, expected, strict=True))
        raise LoomError("the worker and the bare loop draw different pictures", found=f"{same} of {SHARD} are the same")


def _suite() -> Suite:
    """Shards of two batches, enough of them for all rounds."""
    prompts = [{"prompt": f"a {colour} creature in {place}"} for colour in WORDS[:4] for place in WORDS[4:]]
    return Suite(
        name="throughput",
        prompts=PromptSource(inline=tuple(prompts)),
        samples=AT_LEAST * SHARD // len(prompts),
        lora_sets=(tuple(AdapterChoice(name) for name in LORAS),),
        request={"num_inference_steps": (STEPS,)},
        batch_size=BATCH,
        picture_seconds=SHARD_SECONDS / SHARD,
    )
