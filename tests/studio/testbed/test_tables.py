"""The table counts by hand what it counts by code, and pairs methods on the same sets and seeds."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from lora_loom.studio.testbed import report, tables
from lora_loom.studio.testbed.outcomes import Cell, Outcomes, read
from lora_loom.studio.testbed.scoring import Score
from lora_loom.studio.testbed.sets import LoraSet, sets_of, single_sets
from lora_loom.studio.testbed.tables import cell_rows, judge_rows, line_rows, pair_rows, single_rows

SETS = sets_of("test", [3], 4)
SEEDS = 4
JPEG = (
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgICAgMCAgIDAwMDBAYEBAQEBAgGBgUGCQgKCgkICQkKDA8MCgsOCwkJDRENDg8QEBEQCgwSExIQ"
    "Ew8QEBD/yQALCAABAAEBAREA/8wABgAQEAX/2gAIAQEAAD8A0s8g/9k="
)


def _job(contestant: str, asked: LoraSet, right: list[bool], judges: tuple[str, ...] = ("sealed",)) -> dict[str, Any]:
    """A job in which picture i is perfect if `right[i]`, and lacks the last LoRA of the set otherwise."""
    truth = asked.scene.named()
    factors = list(truth)
    lost = list(asked.expected)[-1]
    values = [[("other" if f == lost and not there else truth[f]) for f in factors] for there in right]
    return {
        "contestant": contestant,
        "set": asked.name,
        "k": asked.k,
        "seconds": 2.0 * len(right),
        "passes": {"full": 60 if contestant == "composite" else 20},
        "peak_memory_bytes": 2**20,
        "sampling": [20, 3.0],
        "seeds": asked.seeds(len(right)),
        "sha256": ["0"] * len(right),
        "verdicts": {judge: {"factors": factors, "values": values} for judge in judges},
        "shown": [JPEG],
    }


def _packed(path: Path, jobs: list[dict[str, Any]]) -> Path:
    path.write_bytes(gzip.compress("\n".join(json.dumps(job) for job in jobs).encode()))
    return path


@pytest.fixture
def outcomes(tmp_path: Path) -> Outcomes:
    """merge 8 of 16, switch 4 of 16, composite 0 of 16, a method of ours 16 of 16; each LoRA alone 3 of 4."""
    shares = {"merge": 2, "switch": 1, "composite": 0, "arbiter": 4}
    jobs = [_job(name, asked, [i < n for i in range(SEEDS)]) for name, n in shares.items() for asked in SETS]
    jobs += [_job(name, asked, [True] * SEEDS) for name in ("round_trip", "truth") for asked in SETS]
    jobs += [_job("ignores_one", asked, [False] * SEEDS) for asked in SETS]
    jobs += [_job(f"alone.{i}", SETS[0], [True, False]) for i in range(3)]
    jobs += [_job("merge", asked, [True, True, True, False]) for asked in single_sets(1)]
    jobs.append({"clock": "merge", "k": 3, "pictures": 4, "seconds": 1.0, "processor": "a card"})
    return read([_packed(tmp_path / "run.jsonl.gz", jobs)])


def _row(rows: list[Any], **keys: Any) -> dict[str, Any]:
    (found,) = [row for row in rows if all(row.get(key) == value for key, value in keys.items())]
    return found


def test_a_cell_by_hand(outcomes: Outcomes) -> None:
    row = _row(cell_rows(outcomes, "sealed"), method="merge", k=3)
    assert (row["joint_success"], row["n"], row["sets"]) == (0.5, 16, 4)
    assert row["ci_low"] < 0.5 < row["ci_high"]
    assert row["concepts_shown"] == pytest.approx(5 / 6, abs=1e-4)
    assert (row["colour_bound"], row["preserved"]) == (1.0, 1.0)
    assert row["product_of_singles"] == pytest.approx(0.75**3, abs=1e-4)
    assert row["composition_gap"] == pytest.approx(0.5 / 0.75**3, abs=1e-3)
    assert row["joint_success_corrected"] == 0.5
    assert (row["passes_per_step"], row["seconds"], row["seconds_alone"]) == (1.0, 2.0, 0.25)
    assert _row(cell_rows(outcomes, "sealed"), method="composite", k=3)["passes_per_step"] == 3


def test_controls_are_rows_of_their_own(outcomes: Outcomes) -> None:
    rows = cell_rows(outcomes, "sealed")
    assert _row(rows, method="truth", k=3)["what"] == "control"
    alone = _row(rows, method="alone", k=3)
    assert alone["n"] == 6
    assert alone["joint_success"] == pytest.approx(5 / 6, abs=1e-4)  # only the last LoRA is ever lost
    assert _row(single_rows(outcomes, "sealed"), adapter="crown", control="own")["value"] == 0.75


def test_pairs_are_of_the_same_sets_and_seeds(outcomes: Outcomes) -> None:
    row = _row(pair_rows(outcomes, "sealed"), method="arbiter", against="merge", k="3")
    assert (row["difference"], row["only_method"], row["only_rival"], row["n"]) == (0.5, 8, 0, 16)
    assert row["best_rival"]
    assert row["mcnemar_p"] == pytest.approx(2 * 0.5**8, rel=1e-2)
    assert row["ratio"] == 2.0
    assert _row(pair_rows(outcomes, "sealed"), method="merge", against="switch", k=">=3")["difference"] == 0.25


def test_the_line_is_the_best_affordable_method_over_the_best_rival(outcomes: Outcomes) -> None:
    row = _row(line_rows(outcomes, "sealed"), k=3)
    assert (row["method"], row["against"], row["ratio"], row["holds"]) == ("arbiter", "merge", 2.0, True)


def test_failures_are_told(tmp_path: Path) -> None:
    failed = {"contestant": "merge", "set": SETS[0].name, "k": 3, "error": "SettingError: no"}
    outcomes = read([_packed(tmp_path / "a.gz", [failed, _job("merge", SETS[1], [True])])])
    row = _row(cell_rows(outcomes, "sealed"), method="merge", k=3)
    assert (row["failed_sets"], row["n"]) == (1, 1)
    assert "SettingError" in row["first_error"]


def test_two_judges_are_compared(tmp_path: Path) -> None:
    both = ("development", "sealed")
    outcomes = read([_packed(tmp_path / "a.gz", [_job("merge", SETS[0], [True, False], both)])])
    assert {row["kappa"] for row in judge_rows(outcomes)} == {1.0}
    row = _row(cell_rows(outcomes, "sealed"), method="merge")
    assert (row["joint_success_development"], row["kappa_development"]) == (0.5, 1.0)


def test_the_report_writes_results_and_sheets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = _packed(tmp_path / "a.gz", [_job(name, SETS[0], [True]) for name in ("merge", "composite", "truth")])
    report.write([packed], "compose", "sealed", "a note", tmp_path)
    held = json.loads((tmp_path / "compose.json").read_text())
    assert held["rows"][0]["note"] == "a note"
    assert (tmp_path / "compose_k3.png").exists()
    with pytest.raises(SystemExit, match="no verdicts of a judge called other; there are sealed"):
        report.write([packed], "compose", "other", "", tmp_path)


def test_every_control_has_its_place() -> None:
    assert {"base", "alone", "truth", "round_trip", "ignores_one"} <= set(tables.CONTROLS)


def test_a_line_that_nobody_passes_does_not_hold() -> None:
    cells: dict[tuple[str, int], Cell] = {}
    for name in ("merge", "gated"):
        cell = Cell(name, 3, sets=[SETS[0]], seeds=[1], passes_per_step=[1.0])
        cell.scores["sealed"] = [Score(dict.fromkeys(SETS[0].members, False), True, {})]
        cells[name, 3] = cell
    (row,) = line_rows(Outcomes(cells), "sealed")
    assert (row["ratio"], row["holds"]) == (None, False)
