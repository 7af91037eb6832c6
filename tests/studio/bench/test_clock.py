"""Order of the arms, medians, intervals, and what the clock leaves behind."""

import gc

import torch

from lora_loom.studio.bench.clock import Estimate, interleaved, median, milliseconds, one_thread, ratio


def test_arms_take_turns_and_warm_ups_are_not_kept():
    calls = []
    samples = interleaved({name: lambda name=name: calls.append(name) for name in "ab"}, rounds=3, warmups=1)
    assert "".join(calls) == "abababab"
    assert {name: len(seconds) for name, seconds in samples.items()} == {"a": 3, "b": 3}
    assert gc.isenabled()


class Clock:
    """Goes on only by the seconds that something is said to take."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def takes(self, seconds):
        def work():
            self.now += seconds

        return work


def test_what_comes_after_a_call_is_not_clocked():
    clock = Clock()
    samples = interleaved({"a": clock.takes(0.5)}, rounds=3, after=clock.takes(8.0), clock=clock)
    assert samples == {"a": [0.5, 0.5, 0.5]}
    assert clock.now == 5 * 8.5  # two warm-ups before


def test_every_arm_has_its_own_seconds():
    clock = Clock()
    samples = interleaved({"one": clock.takes(1.0), "four": clock.takes(4.0)}, rounds=9, clock=clock)
    assert ratio(samples, "four", "one") == Estimate(4.0, 4.0, 4.0, 9)


def test_ratios_are_of_pairs():
    assert ratio({"a": [2.0, 20.0, 200.0], "b": [1.0, 10.0, 100.0]}, "a", "b") == Estimate(2.0, 2.0, 2.0, 3)


def test_the_interval_holds_the_median_and_repeats():
    estimate = median([3.0, 1.0, 2.0, 5.0, 4.0])
    assert estimate.value == 3.0
    assert 1.0 <= estimate.low <= 3.0 <= estimate.high <= 5.0
    assert estimate == median([3.0, 1.0, 2.0, 5.0, 4.0])


def test_milliseconds_are_of_one_call():
    assert milliseconds([0.2, 0.2], calls=100) == Estimate(2.0, 2.0, 2.0, 2)


def test_threads_come_back():
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
