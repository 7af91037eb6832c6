"""C8 and C9: several sets of adapters in one batch, as Composite's passes and as pictures of their own."""

from __future__ import annotations

import torch
from torch import Tensor

from lora_loom.studio.bench.agreement import require_agreement
from lora_loom.studio.bench.clock import Samples, interleaved, ratio
from lora_loom.studio.bench.loom_side import LoomSide, plan_of
from lora_loom.studio.bench.peft_side import PeftSide
from lora_loom.studio.bench.random_loras import random_loras, strengths
from lora_loom.studio.bench.rows import Row, row
from lora_loom.studio.bench.subjects import SKELETON, Subject

SETS = 3
ROUNDS, QUICK_ROUNDS = 20, 4


def measure(quick: bool) -> list[Row]:
    rounds = QUICK_ROUNDS if quick else ROUNDS
    composite = time_composite(SKELETON, rounds)
    singles, pairs = (time_pictures(SKELETON, rounds, set_size) for set_size in (1, 2))
    batch = f"process time of {SETS} pictures in one batch over the same batch without adapters"
    return [
        row(
            "C8",
            f"process time of a Composite step with {SETS} adapters as one batch over one base call, {SKELETON.title}",
            ratio(composite, "loom", "base"),
            anchor=ratio(composite, "peft", "base").value,
            line=3.0,
        ),
        row(
            "C9",
            f"{batch}, each with an adapter of its own, {SKELETON.title}",
            ratio(singles, "loom", "base"),
            anchor=ratio(singles, "peft", "base").value,
            line=1.3,
        ),
        row(
            "C9.pairs",
            f"{batch}, each with two adapters of its own, {SKELETON.title}",
            ratio(pairs, "loom", "base"),
            anchor=ratio(pairs, "peft", "base").value,
            line=1.3,
        ),
    ]


@torch.no_grad()
def time_composite(subject: Subject, rounds: int) -> Samples:
    """Seconds of one Composite step: `loom` in one batch, `peft` by three switches and calls; and of a `base` call.

    Raises LoomError when the two means of the predictions do not agree.
    """
    base, inputs = subject.build(), subject.inputs()
    loras = random_loras(base, SETS)
    gates = strengths(list(loras))
    peft, loom = PeftSide(subject.build(), loras), LoomSide(subject.build(), loras)

    def one_by_one() -> Tensor:
        return torch.stack([peft.predict({name: gate}, inputs) for name, gate in gates.items()]).mean(dim=0)

    with loom.running(plan_of("composite", gates), inputs) as call:
        require_agreement(call(), one_by_one(), without=base(**inputs, return_dict=False)[0])
        return interleaved({"base": lambda: base(**inputs), "loom": call, "peft": one_by_one}, rounds)


@torch.no_grad()
def time_pictures(subject: Subject, rounds: int, set_size: int = 1) -> Samples:
    """Seconds of a batch of three pictures: `base`, `loom` with `set_size` adapters for each, `peft` one by one.

    Raises LoomError when a picture does not get its own set.
    """
    base = subject.build()
    batch, singles = subject.inputs(batch=SETS), [subject.inputs(batch=1, first=index) for index in range(SETS)]
    loras = random_loras(base, set_size * SETS)
    names = list(loras)
    sets = [strengths(names[set_size * index :][:set_size]) for index in range(SETS)]
    peft, loom = PeftSide(subject.build(), loras), LoomSide(subject.build(), loras)
    for name, adapter in loras.items():
        loom.bank.attach(name, adapter)
    bank = loom.bank.denoiser

    def one_by_one() -> Tensor:
        return torch.cat([peft.predict(gates, inputs) for gates, inputs in zip(sets, singles, strict=True)])

    with bank.open(names, compiled=False):

        def one_batch() -> Tensor:
            bank.activate(sets)
            return loom.pipe.unet(**batch, return_dict=False)[0]

        require_agreement(one_batch(), one_by_one(), without=base(**batch, return_dict=False)[0])
        return interleaved({"base": lambda: base(**batch), "loom": one_batch, "peft": one_by_one}, rounds)
