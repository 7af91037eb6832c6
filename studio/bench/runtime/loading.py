"""C7: from a file to an adapter ready to run, with 15 others resident."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from diffusers.utils import logging
from safetensors.torch import save_file

from lora_loom.studio.bench.agreement import require_agreement
from lora_loom.studio.bench.clock import Samples, interleaved, ratio
from lora_loom.studio.bench.loom_side import pipeline_around
from lora_loom.studio.bench.peft_side import PeftSide
from lora_loom.studio.bench.random_loras import in_peft_names, random_factors, random_loras
from lora_loom.studio.bench.rows import Row, row
from lora_loom.studio.bench.subjects import SKELETON, Subject

RESIDENT = 15
ROUNDS, QUICK_ROUNDS = 10, 3
NEW = "new"


def measure(quick: bool) -> list[Row]:
    samples = time_loads(SKELETON, QUICK_ROUNDS if quick else ROUNDS)
    return [
        row(
            "C7",
            f"process time of diffusers' loader over Loom's, file to usable, adapter {RESIDENT + 1}, {SKELETON.title}",
            ratio(samples, "diffusers", "loom"),
            anchor=1.0,
            line=10.0,
            at_least=True,
        ),
        row(
            "C7.resident",
            f"process time of a load with {RESIDENT} adapters resident over one with none, {SKELETON.title}",
            ratio(samples, "loom", "loom, first"),
            anchor=ratio(samples, "diffusers", "diffusers, first").value,
            line=1.2,
        ),
    ]


@torch.no_grad()
def time_loads(subject: Subject, rounds: int, resident: int = RESIDENT) -> Samples:
    """Seconds to load one file with the pipeline's own verb, `first` into an empty pipeline and beside others.

    Raises LoomError when the adapter, once loaded, does not act alike in Loom and in diffusers.
    """
    base, inputs = subject.build(), subject.inputs()
    loras = random_loras(base, resident)
    ours, ours_empty = pipeline_around(subject.build()), pipeline_around(subject.build())
    for name, adapter in loras.items():
        ours.bank.attach(name, adapter)
    theirs, theirs_empty = (pipeline_around(subject.build(), StableDiffusionXLPipeline) for _ in range(2))
    PeftSide(theirs.unet, loras)

    def forget() -> None:
        for pipe in (ours, ours_empty):
            pipe.unload_lora_weights()
        theirs_empty.unload_lora_weights()
        if NEW in theirs.unet.peft_config:
            theirs.unet.delete_adapters(NEW)

    with tempfile.TemporaryDirectory() as folder, _quiet():
        file = Path(folder) / "new.safetensors"
        save_file(in_peft_names(random_factors(base, seed=resident)), file)
        _load(ours, file)
        theirs.load_lora_weights(file, adapter_name=NEW)
        theirs.set_adapters([NEW], [1.0])
        bank = ours.bank.denoiser
        with bank.open([NEW], compiled=False):
            bank.activate([{NEW: 1.0}])
            loaded = ours.unet(**inputs, return_dict=False)[0]
        require_agreement(
            loaded, theirs.unet(**inputs, return_dict=False)[0], without=base(**inputs, return_dict=False)[0]
        )
        forget()
        return interleaved(
            {
                "loom": lambda: _load(ours, file),
                "loom, first": lambda: _load(ours_empty, file),
                "diffusers": lambda: theirs.load_lora_weights(file, adapter_name=NEW),
                "diffusers, first": lambda: theirs_empty.load_lora_weights(file, adapter_name=NEW),
            },
            rounds,
            warmups=1,
            after=forget,
        )


def _load(pipe: Any, file: Path) -> None:
    """Read, check, and place beside the model's weights."""
    pipe.load_lora_weights(file, adapter_name=NEW)
    pipe.bank.attach(NEW, pipe.adapters[NEW])


@contextmanager
def _quiet() -> Generator[None]:
    """Without diffusers' warning at every load that the file has nothing for the text encoders."""
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
