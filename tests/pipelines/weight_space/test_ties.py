"""TIES: neutral where nothing conflicts, votes by weight, trims by size."""

import torch

from lora_loom.pipelines.weight_space.stack import Weighted
from lora_loom.pipelines.weight_space.ties import agreeing, ties, trim


def test_one_update_at_full_density_is_itself(update, dense, close):
    factors = update(0)
    for total in ("sum", "mean"):
        assert close(dense(ties([Weighted(0.7, factors)], 1.0, total)), 0.7 * dense(factors))


def test_updates_in_different_places_are_their_sum(update, dense, close):
    """Disjoint outputs and inputs: no entry of the core belongs to both."""
    first, second = update(0, out=24, inputs=(20,)), update(1, out=24, inputs=(20,))
    first.up[12:] = 0.0
    second.up[:12] = 0.0
    first.down[:, 10:] = 0.0
    second.down[:, :10] = 0.0
    merged = ties([Weighted(1.0, first), Weighted(0.8, second)], 1.0)
    assert close(dense(merged), dense(first) + 0.8 * dense(second), 1e-5)


def test_twins_are_averaged_by_the_paper_and_added_here(update, dense, close):
    factors = update(0)
    twins = [Weighted(1.0, factors), Weighted(1.0, factors)]
    assert close(dense(ties(twins, 1.0, "mean")), dense(factors))
    assert close(dense(ties(twins, 1.0, "sum")), 2.0 * dense(factors))


def test_the_stronger_of_opposites_wins(update, dense, close):
    factors = update(0)
    assert close(dense(ties([Weighted(1.0, factors), Weighted(-0.3, factors)], 1.0)), dense(factors))
    assert close(dense(ties([Weighted(0.3, factors), Weighted(-1.0, factors)], 1.0)), -dense(factors))


def test_a_sign_is_elected_by_weight_and_value():
    cores = [torch.tensor([[3.0, 1.0, 0.0]]), torch.tensor([[-1.0, -2.0, 0.0]]), torch.tensor([[2.0, 0.5, -4.0]])]
    assert agreeing(cores, "sum").tolist() == [[5.0, -2.0, -4.0]]
    assert agreeing(cores, "mean").tolist() == [[2.5, -2.0, -4.0]]


def test_trimming_keeps_the_largest_entries(subtests):
    for density, kept in [(0.01, 1), (0.5, 6), (0.51, 7), (1.0, 12)]:
        with subtests.test(density=density, kept=kept):
            core = torch.arange(-6.0, 6.0).view(3, 4)
            core[core >= 0] += 1.0
            trimmed = trim(core, density)
            left = trimmed[trimmed != 0].abs()
            assert len(left) == kept
            assert left.min() >= core[trimmed == 0].abs().max() if kept < 12 else torch.equal(trimmed, core)


def test_the_order_of_adapters_changes_nothing(update, dense, close):
    updates = [Weighted(0.8, update(0, 4)), Weighted(0.5, update(1, 6)), Weighted(-1.2, update(2, 3))]
    assert close(dense(ties(updates[::-1], 0.5)), dense(ties(updates, 0.5)), 1e-5)


def test_trimming_in_the_shared_basis_leaves_an_update_alone_whole(update, dense, close):
    """Its core is diagonal: r of r x r entries, so a density of 1 / r takes nothing, as trimming its weights would."""
    factors = update(0, 4)
    assert close(dense(ties([Weighted(1.0, factors)], 0.25)), dense(factors))
    assert not close(trim(dense(factors), 0.25), dense(factors), 1e-2)
