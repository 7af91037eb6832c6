"""C5 and C6: switching the set of active adapters, and writing new gates, with many adapters resident."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import torch
from torch import nn

from lora_loom.pipelines.adapters.factors import Adapter
from lora_loom.pipelines.plan import Gates
from lora_loom.pipelines.runtime.bank import ModelBank
from lora_loom.studio.bench.agreement import require_agreement
from lora_loom.studio.bench.clock import Samples, interleaved, milliseconds, ratio
from lora_loom.studio.bench.peft_side import PeftSide
from lora_loom.studio.bench.random_loras import random_loras, strengths
from lora_loom.studio.bench.rows import Row, row
from lora_loom.studio.bench.subjects import SKELETON, Subject

RESIDENT, MANY, ACTIVE = 16, 64, 3
ROUNDS, QUICK_ROUNDS = 20, 5
CALLS = 20  # of the quick operations, per sample


def measure(quick: bool) -> list[Row]:
    rounds = QUICK_ROUNDS if quick else ROUNDS
    loras = random_loras(SKELETON.build(), MANY)
    few = dict(itertools.islice(loras.items(), RESIDENT))
    used, fresh = time_switches(SKELETON, few, rounds), time_fresh_sets(SKELETON, few, rounds)
    anchor = milliseconds(used["peft switch"]).value
    active = f"{ACTIVE} of {RESIDENT} resident adapters, {SKELETON.title}"
    return [
        row(
            "C5",
            f"ms to switch between sets in use, {active}",
            milliseconds(used["switch"], CALLS),
            anchor=anchor,
            line=1.0,
        ),
        row(
            "C5.first",
            f"ms to switch to a set not used before, {active}",
            milliseconds(fresh["switch"]),
            anchor=anchor,
            line=1.0,
        ),
        row(
            "C5.call",
            f"process time of the first call with a set not used before over the next call's, {active}",
            ratio(fresh, "first call", "later call"),
            anchor=1.0,
            line=None,
        ),
        row(
            "C5.resident",
            f"time of a switch with {MANY} adapters resident over one with {2 * ACTIVE}, {SKELETON.title}",
            ratio(time_growth(SKELETON, loras, rounds), "many", "few"),
            anchor=None,
            line=1.2,
        ),
        row(
            "C6",
            f"ms to write new gates for all layers, {active}",
            milliseconds(used["write"], CALLS),
            anchor=milliseconds(used["peft write"]).value,
            line=0.2,
        ),
    ]


@torch.no_grad()
def time_switches(subject: Subject, loras: Mapping[str, Adapter], rounds: int) -> Samples:
    """Seconds of `switch` and `write` (20 each), and of PEFT's `set_adapters` for one of either.

    Raises LoomError when the predictions under the gates do not agree.
    """
    unet, inputs = subject.build(), subject.inputs()
    bank, peft = _bank(unet, loras), PeftSide(subject.build(), loras)
    a, b = _two_sets(loras)
    softer = {name: gate / 2 for name, gate in a.items()}
    without = unet(**inputs, return_dict=False)[0]
    with bank.open(tuple(loras), compiled=False):
        for gates in (a, b, softer):
            bank.activate([gates])
            require_agreement(unet(**inputs, return_dict=False)[0], peft.predict(gates, inputs), without)
    return interleaved(
        {
            "switch": _activating(bank, b, a),  # ends with the set that is written to
            "write": _activating(bank, softer, a),
            "peft switch": _setting(peft, b, a),
            "peft write": _setting(peft, softer, a),
        },
        rounds,
    )


@torch.no_grad()
def time_fresh_sets(subject: Subject, loras: Mapping[str, Adapter], rounds: int) -> Samples:
    """Seconds of the arms `switch` to a set not used before, the `first call` with it, and a `later call`."""
    unet, inputs = subject.build(), subject.inputs()
    bank = _bank(unet, loras)
    sets = (strengths(list(names)) for names in itertools.combinations(loras, ACTIVE))
    with bank.open(tuple(loras), compiled=False):
        arms: dict[str, Callable[[], object]] = {
            "switch": lambda: bank.activate([next(sets)]),
            "first call": lambda: unet(**inputs),
            "later call": lambda: unet(**inputs),
        }
        return interleaved(arms, rounds)


def time_growth(subject: Subject, loras: Mapping[str, Adapter], rounds: int) -> Samples:
    """Seconds of 20 switches between two sets, with `few` adapters resident (just these) and with `many`."""
    unet = subject.build()
    a, b = _two_sets(loras)
    few = _bank(unet, {name: loras[name] for name in (*a, *b)})
    return interleaved({"few": _activating(few, a, b), "many": _activating(_bank(unet, loras), a, b)}, 3 * rounds)


def _bank(unet: nn.Module, loras: Mapping[str, Adapter]) -> ModelBank:
    bank = ModelBank(unet, torch.device("cpu"))
    for name, adapter in loras.items():
        bank.attach(name, adapter.denoiser)
    return bank


def _two_sets(loras: Mapping[str, Adapter]) -> tuple[Gates, Gates]:
    names = list(loras)
    return strengths(names[:ACTIVE]), strengths(names[ACTIVE : 2 * ACTIVE])


def _activating(bank: ModelBank, *gates: Gates) -> Callable[[], None]:
    def activate() -> None:
        for each in itertools.islice(itertools.cycle(gates), CALLS):
            bank.activate([each])

    return activate


def _setting(peft: PeftSide, *gates: Gates) -> Callable[[], None]:
    turns = itertools.cycle(gates)
    return lambda: peft.set(next(turns))
