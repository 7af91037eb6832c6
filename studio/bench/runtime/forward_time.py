"""C3 and C4: process time of one call with 8 adapters, over the base's and against PEFT's."""

from __future__ import annotations

import itertools

import torch

from lora_loom.studio.bench.agreement import require_agreement
from lora_loom.studio.bench.clock import Samples, interleaved, ratio
from lora_loom.studio.bench.loom_side import LoomSide, plan_of
from lora_loom.studio.bench.peft_side import PeftSide
from lora_loom.studio.bench.random_loras import RANK, random_loras, strengths
from lora_loom.studio.bench.rows import Row, row
from lora_loom.studio.bench.subjects import SKELETON, TINY, Subject

ADAPTERS = 8
THIN = 4  # a rank that is to the skeleton's channels about what 16 is to SDXL's
ROUNDS, QUICK_ROUNDS = 40, 6


def measure(quick: bool) -> list[Row]:
    rounds = QUICK_ROUNDS if quick else ROUNDS
    skeleton, thin, tiny = (
        time_calls(SKELETON, rounds),
        time_calls(SKELETON, rounds, rank=THIN),
        time_calls(TINY, rounds),
    )
    call, over_base = f"one call with {ADAPTERS} adapters", "over the base's"
    anchor = ratio(skeleton, "peft", "base").value
    return [
        row(
            "C3",
            f"process time of PEFT over Loom's, {call}, {SKELETON.title}",
            ratio(skeleton, "peft", "loom"),
            anchor=1.0,
            line=2.2,
            at_least=True,
        ),
        row(
            "C3.base",
            f"process time of {call} {over_base}, {SKELETON.title}",
            ratio(skeleton, "loom", "base"),
            anchor=anchor,
            line=1.5,
        ),
        row(
            "C3.gates",
            f"process time of {call} {over_base}, new gates before every call, {SKELETON.title}",
            ratio(skeleton, "loom, new gates", "base"),
            anchor=anchor,
            line=None,
        ),
        row(
            "C3.thin",
            f"process time of PEFT over Loom's, {call} of rank {THIN}, {SKELETON.title}",
            ratio(thin, "peft", "loom"),
            anchor=1.0,
            line=2.2,
            at_least=True,
        ),
        row(
            "C4",
            f"process time of {call} {over_base}, {TINY.title}",
            ratio(tiny, "loom", "base"),
            anchor=ratio(tiny, "peft", "base").value,
            line=1.18,
        ),
    ]


@torch.no_grad()
def time_calls(subject: Subject, rounds: int, adapters: int = ADAPTERS, rank: int = RANK) -> Samples:
    """Seconds of the arms `base`, `loom`, `loom, new gates` and `peft`, each on a U-Net of its own, weights equal.

    Raises LoomError when the predictions with adapters do not agree.
    """
    base, inputs = subject.build(), subject.inputs()
    loras = random_loras(base, adapters, rank)
    gates = strengths(list(loras))
    peft = PeftSide(subject.build(), loras)
    peft.set(gates)
    plan = plan_of("merge", gates)
    loom, changing = LoomSide(subject.build(), loras), LoomSide(subject.build(), loras)
    with loom.running(plan, inputs) as call, changing.running(plan, inputs) as changing_call:
        bank = changing.bank.denoiser
        factors = itertools.cycle((0.5, 2.0))

        def new_gates() -> None:
            factor = next(factors)
            bank.activate([{name: gate * factor for name, gate in gates.items()}])
            changing_call()  # the plan's own gates are new again

        without = base(**inputs, return_dict=False)[0]
        require_agreement(call(), peft.call(inputs)(), without)
        return interleaved(
            {
                "base": lambda: base(**inputs),
                "loom": call,
                "loom, new gates": new_gates,
                "peft": peft.call(inputs),
            },
            rounds,
        )
