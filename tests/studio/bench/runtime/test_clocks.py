"""The clocked comparisons run and agree on a small U-Net; their lines are held on the real ones, marked slow.

The slow tests fail only if the better end of the interval misses the line, as other work on the machine moves times.
"""

import itertools

import pytest

from lora_loom.studio.bench.clock import interleaved, one_thread
from lora_loom.studio.bench.random_loras import random_loras
from lora_loom.studio.bench.runtime import batches, forward_time, loading, switching


def same_length(samples, rounds):
    return all(len(seconds) == rounds and set(seconds) == {1} for seconds in samples.values())


@pytest.mark.long
def test_every_comparison_agrees_and_gives_samples(mini, monkeypatch):
    monkeypatch.setitem(interleaved.__kwdefaults__, "clock", itertools.count().__next__)  # every call lasts one tick
    assert same_length(forward_time.time_calls(mini, 2, adapters=2), 2)
    assert same_length(batches.time_composite(mini, 2), 2)
    assert same_length(batches.time_pictures(mini, 2), 2)
    assert same_length(loading.time_loads(mini, 2, resident=2), 2)
    loras = random_loras(mini.build(), 8)
    assert same_length(switching.time_switches(mini, loras, 2), 2)
    assert same_length(switching.time_fresh_sets(mini, loras, 2), 2)
    assert same_length(switching.time_growth(mini, loras, 2), 6)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("group", [forward_time, switching, loading, batches])
def test_lines(group):
    with one_thread():
        rows = group.measure(True)
    for row in rows:
        if row["line"] is not None:
            better = row["ci_high"] >= row["line"] if row["bound"] == "at least" else row["ci_low"] <= row["line"]
            assert better, row
