"""The correction inverts a judge's errors, gives what the closed form gives, and covers the truth."""

import numpy as np
import pytest

from lora_loom.pipelines.errors import LoomError
from lora_loom.studio.pocket.correction import Counted, corrected_share, rogan_gladen


def test_a_perfect_judge_changes_nothing() -> None:
    assert rogan_gladen(0.37, 1.0, 1.0) == pytest.approx(0.37)


def test_it_inverts_the_errors() -> None:
    for truth in (0.0, 0.2, 0.9, 1.0):
        counted = truth * 0.95 + (1 - truth) * (1 - 0.98)
        assert rogan_gladen(counted, 0.95, 0.98) == pytest.approx(truth)


def test_the_figure_of_the_design() -> None:
    assert rogan_gladen(0.90, 0.99, 0.99) == pytest.approx(0.908, abs=1e-3)


def test_impossible_counts_are_clipped() -> None:
    assert rogan_gladen(0.0, 0.9, 0.9) == 0.0
    assert rogan_gladen(1.0, 0.9, 0.9) == 1.0


def test_a_judge_like_a_coin_is_refused() -> None:
    with pytest.raises(LoomError, match="no better than chance"):
        rogan_gladen(0.5, 0.5, 0.5)


def test_counts_are_checked(subtests: pytest.Subtests) -> None:
    for hits, n in [(-1, 3), (4, 3), (0, 0)]:
        with subtests.test(hits=hits, n=n), pytest.raises(ValueError, match="hits"):
            Counted(hits, n)


def test_the_interval_covers_the_truth() -> None:
    rng, truth, se, sp = np.random.default_rng(3), 0.7, 0.95, 0.97
    q, repeats = truth * se + (1 - truth) * (1 - sp), 300
    covered = 0
    for _ in range(repeats):
        found = corrected_share(
            Counted(int(rng.binomial(300, q)), 300),
            Counted(int(rng.binomial(400, se)), 400),
            Counted(int(rng.binomial(400, sp)), 400),
        )
        covered += found.ci_low <= truth <= found.ci_high
    assert 0.90 <= covered / repeats <= 0.99


def test_less_known_about_the_judge_widens_it() -> None:
    def width(n: int) -> float:
        found = corrected_share(Counted(80, 100), Counted(n - n // 20, n), Counted(n - n // 20, n))
        return found.ci_high - found.ci_low

    assert width(40) > width(4000)
