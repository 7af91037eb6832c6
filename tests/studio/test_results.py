"""Intervals of proportions, and result files."""

import json
from pathlib import Path

import pytest

from lora_loom.studio import results
from lora_loom.studio.results import proportion, wilson, write_results


def test_wilson_known_value() -> None:
    low, high = wilson(8, 10)
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)  # Brown, Cai and DasGupta's example, z = 1.96


def test_wilson_stays_inside_and_contains_the_share() -> None:
    for successes in range(21):
        low, high = wilson(successes, 20)
        assert 0 <= low <= successes / 20 + 1e-12
        assert successes / 20 - 1e-12 <= high <= 1
    assert wilson(0, 0) == (0.0, 1.0)


def test_proportion_holds_against_its_line() -> None:
    assert proportion([True] * 9 + [False], line=0.9)["holds"] is True
    assert proportion([True] * 8 + [False] * 2, line=0.9)["holds"] is False
    assert proportion([False] * 10, line=0.1, below=True)["holds"] is True
    assert proportion([True] + [False] * 9, line=0.1, below=True)["holds"] is False
    assert proportion([True], line=None)["holds"] is None


def test_results_are_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    path = write_results("thing", "make thing", [proportion([True, False], line=0.4, what="x")])
    held = json.loads(path.read_text())
    assert set(held) == {"command", "commit", "versions", "rows"}
    assert held["rows"][0]["n"] == 2
    assert [p.name for p in tmp_path.iterdir()] == ["thing.json"]
