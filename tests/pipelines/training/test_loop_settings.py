"""Schedules rise, hold and fall as they say, by steps or by seconds."""

import pytest

from lora_loom.pipelines.training.loop_settings import LoopSettings, cosine, plateau


def test_done_counts_steps_or_seconds():
    by_steps = LoopSettings(steps=200, schedule=cosine())
    assert [by_steps.done(step, 1e9) for step in (0, 50, 200, 300)] == [0.0, 0.25, 1.0, 1.0]
    assert LoopSettings(steps=1, schedule=cosine(), seconds=1000).done(50, 500.0) == 0.5
    assert LoopSettings(steps=0, schedule=cosine()).done(0, 0.0) == 1.0


def test_a_cosine_rises_over_steps_and_falls_to_nothing():
    rate = cosine(warm_up=100)
    assert rate(0, 0.0) == pytest.approx(0.01)
    assert rate(100, 0.5) == pytest.approx(0.5)
    assert rate(200, 1.0) == pytest.approx(0, abs=1e-9)


def test_a_cosine_may_begin_to_fall_later():
    rate = cosine(begun=0.5)
    assert rate(10, 0.5) == 1.0
    assert rate(15, 0.75) == pytest.approx(0.5)


def test_a_plateau_ends_at_two_percent():
    rate = plateau(warm_up=10, falling=0.25)
    assert [rate(4, 0.1), rate(20, 0.5), rate(30, 0.75), rate(39, 1.0)] == pytest.approx([0.5, 1.0, 1.0, 0.02])
