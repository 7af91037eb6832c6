"""What a verdict says about a picture of a set: which concepts it shows, whether colour and the rest were kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lora_loom.studio.pocket.world.scene import FACTORS
from lora_loom.studio.testbed.sets import LoraSet

Verdict = Mapping[str, str]  # judged factor -> the value seen, or 'other'
UNJUDGED = "place"  # no judge looks at it, and every scene of the testbed is central


@dataclass(frozen=True)
class Score:
    """One picture's outcomes. A factor without a verdict, or with 'other', is a failure wherever a value was asked for.

    `shown`: per LoRA of the set, whether its concept is there. `bound`: whether the subject has the colour asked for.
    `kept`: per factor that the prompt fixes and no LoRA of the set changes, colour aside, whether it is as asked.
    """

    shown: Mapping[str, bool]
    bound: bool
    kept: Mapping[str, bool]

    @property
    def joint(self) -> bool:
        """Whether all concepts of all LoRAs are there: the headline."""
        return all(self.shown.values())

    @property
    def preserved(self) -> float:
        """Share of the factors nobody asked to change that are as the prompt says."""
        return sum(self.kept.values()) / len(self.kept) if self.kept else 1.0


def score(asked: LoraSet, verdict: Verdict) -> Score:
    """The outcomes of one picture by one judge's verdict on it."""
    expected = asked.expected
    named = asked.scene.named()
    others = [f for f in FACTORS if f not in expected and f not in ("subject", "colour", UNJUDGED)]
    return Score(
        shown={name: verdict.get(factor) == name for factor, name in expected.items()},
        bound=verdict.get("colour") == named["colour"],
        kept={factor: verdict.get(factor) == named[factor] for factor in others},
    )


def product_of_singles(asked: LoraSet, single_rates: Mapping[str, float]) -> float:
    """How often all concepts would show if each LoRA did as well as alone on its own prompt, independently."""
    product = 1.0
    for name in asked.members:
        product *= single_rates[name]
    return product


def composition_gap(joint: float, products: Sequence[float]) -> float | None:
    """Joint success over the mean product of the single rates: 1 where composing costs nothing; None without a base."""
    attainable = sum(products) / len(products) if products else 0.0
    return joint / attainable if attainable else None
