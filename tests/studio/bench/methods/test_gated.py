"""What the gates cost: little arithmetic beside the sum they act on."""

import pytest

from lora_loom.studio.bench.methods.gated import LINE, counts
from lora_loom.studio.bench.subjects import SDXL, TINY
from lora_loom.studio.bench.suites import groups_of


@pytest.mark.long
def test_a_gate_adds_what_its_formula_says():
    one, two = (counts(TINY, "rank", adapters=count, rank=4) for count in (1, 2))
    assert one.gated.flops == one.merge.flops  # alone there is nothing to decide
    assert two.merge.flops < two.gated.flops < 1.1 * two.merge.flops
    assert "gated" in groups_of("methods")


@pytest.mark.slow
def test_the_line_holds_on_sdxl():
    found = counts(SDXL, "rank")
    assert 1 < found.gated.flops / found.merge.flops <= LINE
