"""What may help, with what it does to the figures: every effect in closed form from the factors.

Lower strengths: |sum_i w_i dW_i|^2 = w^T G w. Partial orthogonality: the updates that `lion` would draw with.
Consistent norms: gamma of `norms.consistent_scales`. A layer's cap: the safe strength over the strength.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lora_loom.pipelines.forecast.measured import BETAS, DENOISER, Measured
from lora_loom.pipelines.forecast.overlap import Sums
from lora_loom.pipelines.forecast.report import AdapterReport, Effect, PairReport, Remedy, Together
from lora_loom.pipelines.forecast.signals import signals
from lora_loom.pipelines.request import AdapterChoice, SettingValue
from lora_loom.pipelines.weight_space.norms import LARGEST_SCALE, LEAST_SCALE, consistent_scales

LOCAL = frozenset({"character", "object", "accessory"})  # categories of what stands somewhere in the picture
MAX_CAPPED = 16  # layers that are capped one by one
LEVELLED = 1.0  # log2 of the spread over depth from which levelling is offered


def remedies(
    found: Measured,
    adapters: Sequence[AdapterReport],
    pairs: Sequence[PairReport],
    together: Together | None,
    kinds: Mapping[str, str],
) -> tuple[Remedy, ...]:
    """The remedies for what was found, most to the point first. `kinds` are the adapters' categories, where known."""
    choices = tuple(AdapterChoice(each.name, each.strength) for each in adapters if not each.skipped)
    labels = {each.label for pair in pairs for each in pair.findings}
    offered: list[Remedy | None] = []
    if "same" in labels:
        offered.append(_without_twins(choices, pairs))
    if "redundant" in labels:
        offered.append(_lower(found, choices, pairs))
    if labels & {"entangled", "cancelling", "redundant", "false trigger"}:
        offered.append(_apart(found, choices, BETAS[1] if "cancelling" in labels else BETAS[0]))
    if "drowned out" in labels:
        offered.append(_level_strengths(found, choices))
    if any((pair.whole.log2_spread or 0.0) >= LEVELLED for pair in pairs):
        offered.append(_consistent(found, choices))
    offered += [_capped(each, choices) for each in adapters if each.base is not None and each.base.unsafe]
    if "prompt drift" in labels:
        offered.append(_quieter_text(found, choices))
    if len(choices) > 1 and all(kinds.get(choice.name) in LOCAL for choice in choices):
        offered.append(_arbiter(choices))
    if together is not None and any(each.label == "cost" for each in together.findings):
        offered.append(_smaller(choices, together))
    return tuple(each for each in offered if each is not None)


def _without_twins(choices: Sequence[AdapterChoice], pairs: Sequence[PairReport]) -> Remedy:
    twins = {pair.b: pair.a for pair in pairs if any(each.label == "same" for each in pair.findings)}
    kept = tuple(choice for choice in choices if choice.name not in twins)
    dropped = ", ".join(twins)
    return Remedy(f"Leave out {dropped}", "One of two equal LoRAs is enough.", kept, "merge", {}, ())


def _lower(found: Measured, choices: Sequence[AdapterChoice], pairs: Sequence[PairReport]) -> Remedy | None:
    """Lower strengths of those that teach the same, so that what they share counts once: of twins half of each.

    With energies E_a >= E_b and cosine c of a pair, the sum has E_a + E_b + 2 c sqrt(E_a E_b), and is to have
    E_a + (1 - c) E_b.
    """
    factors: dict[str, float] = {}
    for pair in pairs:
        if any(each.label == "redundant" for each in pair.findings) and pair.whole.cosine > 0:
            small, large = sorted((pair.whole.energy_a, pair.whole.energy_b))
            together = large + small + 2 * pair.whole.cosine * math.sqrt(large * small)
            factor = math.sqrt((large + (1 - pair.whole.cosine) * small) / together)
            for name in (pair.a, pair.b):
                factors[name] = min(factor, factors.get(name, 1.0))
    if not factors:
        return None
    chosen = _scaled(choices, lambda choice: factors.get(choice.name, 1.0))
    sums = found.whole[DENOISER]
    used = {choice.name: after.strength / choice.strength for choice, after in zip(choices, chosen, strict=True)}
    scale = torch.tensor([used[name] for name in found.names], dtype=torch.float64)
    after = scale[:, None] * sums.of("inner") * scale
    return Remedy(
        f"Use {' and '.join(factors)} at {min(factors.values()):.0%}",
        "What they teach alike then counts once.",
        chosen,
        "merge",
        {},
        (Effect("norm of the sum", _norm_of_sum(sums.of("inner")), _norm_of_sum(after)),),
    )


def _apart(found: Measured, choices: Sequence[AdapterChoice], beta: float) -> Remedy | None:
    before, after = found.whole[DENOISER], found.turned.get(beta)
    if after is None:
        return None
    effects = [
        Effect("largest |cosine|", _largest(before, _cosine), _largest(after, _cosine)),
        Effect("largest share written where another writes", _largest(before, _out), _largest(after, _out)),
        Effect("strength of all over the largest alone", _pressure(before), _pressure(after)),
    ]
    settings: dict[str, SettingValue] = {"orthogonality": beta}
    why = "LiON lets them write to different places of every layer, at the same strengths."
    title = "Turn them apart" if beta == BETAS[1] else f"Turn them apart by {beta:.0%}"
    return Remedy(title, why, tuple(choices), "lion", settings, tuple(effects))


def _level_strengths(found: Measured, choices: Sequence[AdapterChoice]) -> Remedy | None:
    """Strengths at which all have the norm that is the geometric mean of theirs, as far as a factor of 4 goes."""
    norms = {name: math.sqrt(of.energy) for name, of in found.adapters.items() if of.energy}
    if len(norms) < 2:
        return None
    mean = math.exp(sum(math.log(value) for value in norms.values()) / len(norms))
    factors = {name: min(max(mean / value, LEAST_SCALE), LARGEST_SCALE) for name, value in norms.items()}
    chosen = _scaled(choices, lambda choice: factors.get(choice.name, 1.0))
    used = {choice.name: after.strength / choice.strength for choice, after in zip(choices, chosen, strict=True)}
    after = {name: value * used[name] for name, value in norms.items()}
    effect = Effect("times the strongest is stronger than the faintest", _extremes(norms), _extremes(after))
    why = "Each then changes the model about as much as the others."
    return Remedy("Even out the strengths", why, chosen, "merge", {}, (effect,))


def _consistent(found: Measured, choices: Sequence[AdapterChoice]) -> Remedy | None:
    norms = {name: of.norms["denoiser"] for name, of in found.adapters.items() if of.norms.get("denoiser")}
    if len(norms) < 2:
        return None
    scales = consistent_scales(norms, 1.0)
    after = {name: {path: value * scales[name][path] for path, value in of.items()} for name, of in norms.items()}
    effect = Effect("spread of who is stronger over the layers, in doublings", _spread(norms), _spread(after))
    settings: dict[str, SettingValue] = {"orthogonality": 0.0, "norm_consistency": 1.0}
    why = "No LoRA rules some depths of the model and vanishes in others; none gains or loses as a whole."
    return Remedy("Level them layer by layer", why, tuple(choices), "lion", settings, (effect,))


def _capped(adapter: AdapterReport, choices: Sequence[AdapterChoice]) -> Remedy | None:
    base = adapter.base
    assert base is not None
    strength = abs(adapter.strength)
    layers = {key.partition(":")[2]: safe for key, safe in base.unsafe.items() if key.startswith("denoiser:")}
    if layers and len(layers) == len(base.unsafe) <= MAX_CAPPED:
        blocks = {path: math.floor(1000 * safe / strength) / 1000 for path, safe in layers.items()}
        chosen = tuple(replace(each, blocks=blocks) if each.name == adapter.name else each for each in choices)
        title = f"Hold {adapter.name} back in {len(blocks)} layer{'s' if len(blocks) > 1 else ''}"
    else:
        factor = (base.safe_strength or 0.0) / strength
        chosen = _scaled(choices, lambda choice: factor if choice.name == adapter.name else 1.0)
        title = f"Use {adapter.name} at {base.safe_strength or 0.0:.2f}"
    effect = Effect("layers in which it overrides the base", float(len(base.unsafe)), 0.0)
    return Remedy(title, "The base then keeps what it knows.", chosen, "merge", {}, (effect,))


def _quieter_text(found: Measured, choices: Sequence[AdapterChoice]) -> Remedy | None:
    """Half the text part of the adapter that has the smaller one, so that one of them reads the prompt."""
    having = {name: of.text_energy for name, of in found.adapters.items() if of.text_energy}
    if len(having) < 2:
        return None
    faint = min(having, key=lambda name: having[name])
    rest = sum(having.values()) - having[faint]
    effect = Effect(
        f"share of {faint} in the change of the text encoder",
        having[faint] / (rest + having[faint]),
        0.25 * having[faint] / (rest + 0.25 * having[faint]),
    )
    chosen = tuple(replace(each, blocks={"text": 0.5}) if each.name == faint else each for each in choices)
    why = "Only one of them should decide how the prompt is read."
    return Remedy(f"Halve {faint} in the text encoder", why, chosen, "merge", {}, (effect,))


def _arbiter(choices: Sequence[AdapterChoice]) -> Remedy:
    why = "Each of them stands somewhere in the picture: let each rule the places it changes most. Takes more passes."
    return Remedy("Give each its own place", why, tuple(choices), "arbiter", {}, ())


def _smaller(choices: Sequence[AdapterChoice], together: Together) -> Remedy | None:
    fits = [(int(k), error) for k, error in together.truncation.items() if int(k) < together.ranks and error < 0.1]
    if not fits:
        return None
    rank, error = min(fits)
    effects = (
        Effect("ranks of a layer", float(together.ranks), float(rank)),
        Effect("relative error of the weights", 0.0, error),
    )
    why = "One LoRA of a smaller rank draws nearly the same."
    return Remedy(f"Fuse them to rank {rank}", why, tuple(choices), "svd", {"rank": rank}, effects)


def _scaled(choices: Sequence[AdapterChoice], factor: Callable[[AdapterChoice], float]) -> tuple[AdapterChoice, ...]:
    return tuple(replace(choice, strength=round(choice.strength * factor(choice), 3)) for choice in choices)


def _pairs(n: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(n) for j in range(n) if i != j]


def _largest(sums: Sums, value: Callable[[Sums, int, int], float]) -> float:
    return max((value(sums, i, j) for i, j in _pairs(sums.tables.shape[1])), default=0.0)


def _cosine(sums: Sums, i: int, j: int) -> float:
    return abs(signals(sums, i, j).cosine)


def _out(sums: Sums, i: int, j: int) -> float:
    return signals(sums, i, j).out_ab


def _pressure(sums: Sums) -> float:
    gram = sums.of("inner")
    largest = float(gram.diagonal().max())
    return math.sqrt(max(float(gram.sum()), 0.0) / largest) if largest else 0.0


def _norm_of_sum(gram: Tensor) -> float:
    return math.sqrt(max(float(gram.sum()), 0.0))


def _extremes(norms: Mapping[str, float]) -> float:
    return max(norms.values()) / min(norms.values())


def _spread(norms: Mapping[str, Mapping[str, float]]) -> float:
    """The largest deviation of log2(|a| / |b|) over the layers of a pair, weighted as in `overlap`."""
    found = 0.0
    names = list(norms)
    for place, a in enumerate(names):
        for b in names[:place]:
            shared = norms[a].keys() & norms[b].keys()
            weights = [norms[a][path] * norms[b][path] for path in shared]
            logs = [math.log2(norms[a][path] / norms[b][path]) for path in shared]
            whole = sum(weights)
            if whole:
                mean = sum(w * x for w, x in zip(weights, logs, strict=True)) / whole
                found = max(
                    found, math.sqrt(sum(w * (x - mean) ** 2 for w, x in zip(weights, logs, strict=True)) / whole)
                )
    return found
