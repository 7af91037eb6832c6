"""C1 and C2: kernels and floating-point operations of one call with 8 adapters, over the base's own."""

from __future__ import annotations

from dataclasses import dataclass

from lora_loom.studio.bench.clock import Estimate
from lora_loom.studio.bench.counting import Work, count
from lora_loom.studio.bench.loom_side import LoomSide, plan_of
from lora_loom.studio.bench.peft_side import PeftSide
from lora_loom.studio.bench.random_loras import RANK, random_loras, strengths
from lora_loom.studio.bench.rows import Row, row
from lora_loom.studio.bench.subjects import SDXL, Subject

ADAPTERS = 8


@dataclass(frozen=True)
class Counts:
    """Of one call: with the base alone, with adapters in Loom, in the first call after new gates, and in PEFT."""

    base: Work
    loom: Work
    loom_new_gates: Work
    peft: Work


def measure(quick: bool) -> list[Row]:
    found = counts(SDXL)
    what = f"{SDXL.title}, 8 adapters of rank 16, one call over the base's"
    peft = found.peft.kernels / found.base.kernels
    return [
        row("C1", f"kernels, {what}", _over(found.loom.kernels, found.base.kernels), anchor=peft, line=1.70),
        row(
            "C1.gates",
            f"kernels in the first call after new gates, {what}",
            _over(found.loom_new_gates.kernels, found.base.kernels),
            anchor=peft,
            line=1.70,
        ),
        row(
            "C2",
            f"FLOPs, {what}",
            _over(found.loom.flops, found.base.flops),
            anchor=found.peft.flops / found.base.flops,
            line=1.050,
        ),
    ]


def counts(subject: Subject, adapters: int = ADAPTERS, rank: int = RANK) -> Counts:
    """Count on the meta device."""
    unet, inputs = subject.build("meta"), subject.inputs("meta")
    loras = random_loras(unet, adapters, rank)
    gates = strengths(list(loras))
    base = count(lambda: unet(**inputs))
    loom = LoomSide(unet, loras)
    with loom.running(plan_of("merge", gates), inputs) as call:
        call()  # stacks the factors, once for a set of adapters
        steady = count(call)
    with loom.running(plan_of("merge", {name: gate / 2 for name, gate in gates.items()}), inputs) as call:
        new_gates = count(call)
    peft = PeftSide(unet, loras)
    peft.set(gates)
    return Counts(base, steady, new_gates, count(peft.call(inputs)))


def _over(found: int, base: int) -> Estimate:
    return Estimate.exact(found / base)
