"""What signals mean, in plain words, with the thresholds from which they are worth a word.

The thresholds are starting values: nothing published says from where on a picture suffers. Where a forecast was fitted
on pictures (`forecast.py`), it stands beside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lora_loom.pipelines.forecast.report import AgainstBase, Cell, Finding, Level, worst
from lora_loom.pipelines.forecast.signals import Signals

REDUNDANT = (0.15, 0.35)  # cosine from which it is amber, red
CANCELLING = (-0.10, -0.25)
ENTANGLED = (0.10, 0.30)  # share of energy both written and driven where the other is
DROWNED = (1.5, 3.0)  # |log2| of the ratio of norms
TRIGGERED = (0.60, 0.80)  # share driven by what the other responds to; 0.45 is common, as features have a mean ...
APART = 0.10  # ... while less than this is written where the other writes
RANK_BUDGET = (128, 256)
SAME = 0.999
CELL_SHARE = 0.10  # of the pair's energy from which a group of layers is worth a finding of its own
TIMES_CHANCE = 2.0  # an overlap of less than this times that of random directions says nothing
SIGMAS = 3.0  # neither does a cosine of less than this many deviations
_NOUN = {
    "text encoder": "the text encoder",
    "self-attention qk": "where self-attention looks",
    "self-attention vo": "what self-attention passes on",
    "cross-attention kv": "what is taken from the prompt",
    "cross-attention qo": "how the prompt is asked",
    "text stream": "the text stream",
    "feed-forward": "the feed-forward layers",
    "convolution": "the convolutions",
    "other": "the remaining layers",
}
_DEPTH = {
    "early": "of the early blocks",
    "middle": "of the middle blocks",
    "late": "of the late blocks",
    "down": "of the way down (layout)",
    "mid": "of the middle",
    "up": "of the way up (detail)",
}


def pair_findings(a: str, b: str, found: Signals, where: str = "") -> list[Finding]:
    """What is to be said of two adapters by their signals in some layers, worst first; `where` names them."""
    if not (found.energy_a and found.energy_b):
        return []
    if same(found):
        sentence = f"{a} and {b} are the same: together they are one LoRA, turned up."
        return [Finding("same", "red", where, found.cosine, sentence)]
    place = f"In {where}:" if where else ""
    findings: list[Finding] = []

    def add(label: str, limits: tuple[float, float], value: float, sentence: str) -> None:
        if level := _level(value, limits):
            findings.append(Finding(label, level, where, value, f"{place} {sentence}".strip()))

    cosine = found.cosine if abs(found.cosine) > SIGMAS * found.cosine_noise else 0.0
    much = "largely" if cosine >= REDUNDANT[1] else "partly"
    add("redundant", REDUNDANT, cosine, f"{a} and {b} {much} teach the same thing, so together they overdo it.")
    add("cancelling", CANCELLING, cosine, f"{a} and {b} pull against each other and lose some of their effect.")
    entangled, chance = max((found.both_ab, found.both_chance_ab), (found.both_ba, found.both_chance_ba))
    if CANCELLING[0] < cosine < REDUNDANT[0] and entangled > TIMES_CHANCE * chance:
        add(
            "entangled",
            ENTANGLED,
            entangled,
            f"{a} and {b} change the same features to different ends, so their concepts may blend.",
        )
    if found.log2_ratio is not None:
        strong, weak = (a, b) if found.log2_ratio > 0 else (b, a)
        times = 2 ** abs(found.log2_ratio)
        add(
            "drowned out", DROWNED, abs(found.log2_ratio), f"{strong} is {times:.1f} times as strong and drowns {weak}."
        )
    for one, other, into, out, by_chance in (
        (a, b, found.in_ab, found.out_ab, found.in_chance_ab),
        (b, a, found.in_ba, found.out_ba, found.in_chance_ba),
    ):
        if out < APART and into > TIMES_CHANCE * by_chance:
            add("false trigger", TRIGGERED, into, f"{one} also answers to what calls {other} up.")
    return sorted(findings, key=lambda each: each.level != "red")


def same(found: Signals) -> bool:
    """Whether two adapters are one, whatever their strengths."""
    return found.cosine > SAME


def cell_findings(a: str, b: str, cells: Iterable[Cell], said: Sequence[Finding]) -> list[Finding]:
    """Findings in groups of layers that matter to both and that are not already said of the whole."""
    labels = {each.label for each in said}
    found: dict[str, Finding] = {}
    if "same" in labels:
        return []
    for cell in sorted(cells, key=lambda each: -each.share):
        if cell.share < CELL_SHARE:
            continue
        for each in pair_findings(a, b, cell.signals, where(cell)):
            if each.label not in labels:
                found.setdefault(each.label, each)
    return list(found.values())


def where(cell: Cell) -> str:
    """The layers of a cell in words."""
    return f"{_NOUN[cell.group]} {_DEPTH[cell.depth]}"


def text_finding(a: str, b: str, found: Signals | None) -> list[Finding]:
    """The finding that both change how the prompt is read."""
    if found is None or not (found.energy_a and found.energy_b) or same(found):
        return []
    sentence = f"{a} and {b} both change how the prompt is read, and each reads the other's words."
    return [Finding("prompt drift", "amber", "the text encoder", found.cosine, sentence)]


def base_findings(name: str, strength: float, found: AgainstBase | None) -> list[Finding]:
    """The findings beside the base's weights; `name` as the subject of a sentence."""
    if found is None or not found.unsafe:
        return []
    safe = found.safe_strength or 0.0
    level: Level = "red" if len(found.unsafe) > 3 or safe < abs(strength) / 2 else "amber"
    count = len(found.unsafe)
    sentence = (
        f"{name} at {strength:g} overrides what the base knows in {count} layer{'s' if count > 1 else ''}, "
        f"so other prompts may suffer; up to {safe:.2f} it would not."
    )
    return [Finding("prompt forgetting", level, "", abs(strength), sentence)]


def rank_findings(ranks: int) -> list[Finding]:
    """The finding that the set is costly to run."""
    level = _level(float(ranks), RANK_BUDGET)
    sentence = f"Their ranks add up to {ranks} in a layer, which makes every step slower."
    return [Finding("cost", level, "", float(ranks), sentence)] if level else []


def pair_sentence(a: str, b: str, found: Signals, findings: Sequence[Finding]) -> str:
    """One sentence on a pair: the worst finding, or that there is nothing to fear."""
    if not findings:
        if not (found.energy_a and found.energy_b):
            return f"{a} and {b} change different parts of the model."
        return f"{a} and {b} keep out of each other's way."
    return min(findings, key=lambda each: (each.level != "red", bool(each.where))).sentence


def level_of(found: Signals) -> Level:
    """The colour of some layers."""
    return worst(each.level for each in pair_findings("", "", found))


def _level(value: float, limits: tuple[float, float]) -> Level | None:
    amber, red = limits
    if amber < 0:
        value, amber, red = -value, -amber, -red
    return "red" if value >= red else "amber" if value >= amber else None
