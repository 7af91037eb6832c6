"""Influence beside a picture: the longest bar for the LoRA that changed most, and words for one that did nothing."""

from lora_loom.pipelines.request import GenerationRequest
from lora_loom.studio.records.record import GenerationRecord
from lora_loom.studio.ui.influence_view import influence_view


def test_bars_and_words():
    shares = {"owlet": 0.4, "crown": 0.06, "neon": 0.001}
    record = GenerationRecord(
        GenerationRequest("x"), influence={name: {"overall": share, "steps": []} for name, share in shares.items()}
    )
    view = influence_view(record, {})
    assert "width:100.0%" in view
    assert "width:15.0%" in view
    assert "<b>40%</b>" in view
    assert "<b>6.0%</b>" in view
    assert "next to nothing" in view


def test_nothing_where_nobody_looked():
    assert influence_view(GenerationRecord(GenerationRequest("x")), {}) == ""
