"""The cap on the sum of all adapters: never beyond what was asked for or what the base allows."""

import pytest
import torch

from lora_loom.pipelines.gating.trust_region import within


@pytest.fixture
def loud():
    generator = torch.Generator().manual_seed(0)
    plain = torch.rand(2, 50, 3, generator=generator)
    return plain, plain * 2 * torch.rand(2, 50, 3, generator=generator), torch.rand(2, 50, generator=generator) * 4


def test_the_total_stays_inside(loud, subtests):
    for trust in [0.0, 0.3, 1.0]:
        with subtests.test(trust=trust):
            plain, gated, base = loud
            total = (gated * within(trust, plain, gated, base, None)).sum(-1)
            allowed = torch.maximum(plain.sum(-1), trust * base)
            assert (total <= allowed * (1 + 1e-6)).all()
            inside = gated.sum(-1) <= allowed
            assert inside.any()
            assert not inside.all()
            torch.testing.assert_close(total[inside], gated.sum(-1)[inside], rtol=0, atol=0)
            torch.testing.assert_close(total[~inside], allowed[~inside])


def test_the_plain_sum_is_left_exactly_as_it_is(loud):
    plain, _, base = loud
    assert (within(0.0, plain, plain, base, None) == 1).all()


def test_what_is_pinned_pays_nothing(loud):
    plain, gated, base = loud
    pinned = torch.tensor([0.0, 1.0, 0.0])
    factor = within(0.0, plain, gated, base, pinned)
    total = (torch.where(pinned > 0, plain, gated * factor)).sum(-1)
    assert (total <= plain.sum(-1) * (1 + 1e-5)).all()
    assert (factor > 0).all()
