"""The clock ends by steps or seconds and lets the learning rate rise and fall."""

import pytest

from lora_loom.studio.builders.training_clock import TrainingClock


def test_by_steps() -> None:
    clock = TrainingClock(steps=200)
    assert clock.rate(1.0, warm_up=100) == pytest.approx(0.01)
    clock.step = 100
    assert clock.rate(1.0, warm_up=100) == pytest.approx(0.5)
    clock.step = 200
    assert clock.share() == 1
    assert clock.rate(1.0) == pytest.approx(0, abs=1e-9)


def test_by_seconds_with_those_before_an_interruption() -> None:
    clock = TrainingClock(steps=1, seconds=1000, before=500)
    clock.step = 50
    assert clock.share() == pytest.approx(0.5, abs=0.01)
