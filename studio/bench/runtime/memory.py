"""C14: bytes that 8 resident adapters take at the peak of a call, over the bytes of the adapters themselves."""

from __future__ import annotations

from dataclasses import dataclass

from studio.bench.clock import Estimate
from studio.bench.counting import peak_bytes
from studio.bench.loom_side import LoomSide, plan_of
from studio.bench.peft_side import PeftSide
from studio.bench.random_loras import random_loras, size_bytes, strengths
from studio.bench.rows import Row, row
from studio.bench.subjects import SDXL, Subject

ADAPTERS = 8


@dataclass(frozen=True)
class Shares:
    """Extra bytes at the peak over those of the adapters: `all_active` at once, `one_active` of them, and in PEFT."""

    all_active: float
    one_active: float
    peft: float


def measure(quick: bool) -> list[Row]:
    shares = extra_memory(SDXL)
    what = f"extra bytes at the peak of a call over those of {ADAPTERS} resident adapters"
    return [
        row(
            "C14",
            f"{what}, all active, {SDXL.title}",
            Estimate.exact(shares.all_active),
            anchor=shares.peft,
            line=1.1,
        ),
        row(
            "C14.one",
            f"{what}, one active, {SDXL.title}",
            Estimate.exact(shares.one_active),
            anchor=shares.peft,
            line=1.1,
        ),
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

    weights = sum(parameter.nbytes for parameter in unet.parameters())
    first = dict(list(gates.items())[:1])
    return Shares(
        all_active=(peak_bytes(lambda: loom(gates)) - base) / held,
        one_active=(peak_bytes(lambda: loom(first)) - base) / held,
        peft=(peak_bytes(peft) - base - weights) / held,
    )
