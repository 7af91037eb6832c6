"""How much each LoRA changed a picture, as bars beside its settings, so that one that did nothing shows."""

from __future__ import annotations

from collections.abc import Mapping

from lora_loom.studio.library.card import AdapterCard
from lora_loom.studio.records.record import GenerationRecord
from lora_loom.studio.templates import render
from lora_loom.studio.ui.markup import category_colour

NOTHING = 0.005  # share of the prediction up to which a LoRA did next to nothing
MAX_SHOWN = 12


def influence_view(record: GenerationRecord, cards: Mapping[str, AdapterCard]) -> str:
    """The bars, longest for the LoRA that changed most; nothing where nobody looked."""
    shares = {name: max(float(each["overall"]), 0.0) for name, each in record.influence.items()}
    if not shares:
        return ""
    most = max(*shares.values(), NOTHING)
    rows = [_row(name, share, share / most, cards.get(name)) for name, share in [*shares.items()][:MAX_SHOWN]]
    return render("ui/influence_view.html.j2", rows=rows)


def _row(name: str, share: float, length: float, card: AdapterCard | None) -> tuple[str, int, float, str]:
    """Title, thread, length of the bar, and the share in words."""
    said = "next to nothing" if share < NOTHING else f"{share:.0%}" if share >= 0.1 else f"{share:.1%}"
    return card.title if card else name, category_colour(card.category if card else ""), min(length, 1.0), said
