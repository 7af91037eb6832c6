"""How much each LoRA changed a picture, as bars beside its settings, so that one that did nothing shows."""

from __future__ import annotations

from collections.abc import Mapping

from lora_loom.studio.library.card import AdapterCard
from lora_loom.studio.records.record import GenerationRecord
from lora_loom.studio.ui.markup import attributes, strand, text

NOTHING = 0.005  # share of the prediction up to which a LoRA did next to nothing
MAX_SHOWN = 12


def influence_view(record: GenerationRecord, cards: Mapping[str, AdapterCard]) -> str:
    """The bars, longest for the LoRA that changed most; nothing where nobody looked."""
    shares = {name: max(float(each["overall"]), 0.0) for name, each in record.influence.items()}
    if not shares:
        return ""
    most = max(*shares.values(), NOTHING)
    rows = "".join(_row(name, share, share / most, cards.get(name)) for name, share in [*shares.items()][:MAX_SHOWN])
    help_text = "The part of the prediction that would be another without this LoRA, over the run"
    return f'<div class="loom-influence"><h4 {attributes(title=help_text)}>What each changed</h4>{rows}</div>'


def _row(name: str, share: float, length: float, card: AdapterCard | None) -> str:
    said = "next to nothing" if share < NOTHING else f"{share:.0%}" if share >= 0.1 else f"{share:.1%}"
    colour = f"loom-strand-{strand(card.category if card else '')}"
    return (
        f'<div class="loom-share"><span class="loom-title">{text(card.title if card else name, 60)}</span>'
        f'<span class="loom-track"><span class="{colour}" style="width:{min(length, 1.0):.1%}"></span></span>'
        f"<b>{said}</b></div>"
    )
