"""C14: bytes that 8 resident adapters take at the peak of a call, over the bytes of the adapters themselves."""

from __future__ import annotations

from dataclasses import dataclass

from lora_loom.studio.bench.clock import Estimate
from lora_loom.studio.bench.counting import peak_bytes
from lora_loom.studio.bench.loom_side import LoomSide, plan_of
from lora_loom.studio.bench.peft_side import PeftSide
from lora_loom.studio.bench.random_loras import random_loras, size_bytes, strengths
from lora_loom.studio.bench.rows import Row, row
from lora_loom.studio.bench.subjects import SDXL, Subject

ADAPTERS = 8


@dataclass(frozen=True)
class Shares:
    """Extra bytes at the peak over those of the adapters, by what is active: all with gates of their own, all with
    one gate, one adapter; and PEFT with all."""

    all_active: float
    one_gate: float
    one_active: float
    peft: float


def measure(quick: bool) -> list[Row]:
    shares = extra_memory(SDXL)
    active = {
        "C14": ("all active at different strengths", shares.all_active),
        "C14.equal": ("all active at one strength", shares.one_gate),
        "C14.one": ("one active", shares.one_active),
    }
    what = f"extra bytes at the peak of a call over those of {ADAPTERS} resident adapters"
    return [
        row(id, f"{what}, {case}, {SDXL.title}", Estimate.exact(share), anchor=shares.peft, line=1.1)
        for id, (case, share) in active.items()
    ]


def extra_memory(subject: Subject, adapters: int = ADAPTERS) -> Shares:
    """Count on the meta device, which stands for an accelerator: the adapters' own files stay in host memory."""
    unet, inputs = subject.build("meta"), subject.inputs("meta")
    loras = random_loras(unet, adapters)
    gates = strengths(list(loras))
    held = sum(size_bytes(adapter) for adapter in loras.values())
    base = peak_bytes(lambda: unet(**inputs))

    def loom(active: dict[str, float]) -> None:
        side = LoomSide(unet, loras)
        for name, adapter in loras.items():
            side.bank.attach(name, adapter)
        with side.running(plan_of("merge", active), inputs) as call:
            call()
            call()

    def peft() -> None:
        side = PeftSide(subject.build("meta"), loras)
        side.set(gates)
        side.call(inputs)()

    def share(active: dict[str, float]) -> float:
        return (peak_bytes(lambda: loom(active)) - base) / held

    weights = sum(parameter.nbytes for parameter in unet.parameters())
    return Shares(
        all_active=share(gates),
        one_gate=share(dict.fromkeys(gates, 0.8)),
        one_active=share({next(iter(gates)): 0.8}),
        peft=(peak_bytes(peft) - base - weights) / held,
    )
