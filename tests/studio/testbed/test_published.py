"""The table that is published is what the published verdicts of every picture give."""

from statistics import mean

import pytest

from lora_loom.studio.results import RESULTS
from lora_loom.studio.testbed.outcomes import read
from lora_loom.studio.testbed.pages import read_rows
from lora_loom.studio.testbed.report import rows_path

NAME = "pocketcompose_methods"


def test_every_figure_is_counted_from_the_published_verdicts() -> None:
    outcomes, rows = read([rows_path(NAME, RESULTS)]), read_rows(NAME)
    judge = next(row["judge"] for row in rows if row["what"] == "about")
    cells = {(row["method"], row["k"]): row for row in rows if row["what"] in ("method", "reference")}
    assert len(cells) > 40
    for key, row in cells.items():
        joint = outcomes.cells[key].joint(judge)
        assert row["n"] == len(joint), key
        assert row["joint_success"] == pytest.approx(mean(joint), abs=1e-4), key
        assert mean(outcomes.cells[key].passes_per_step) == pytest.approx(row["passes_per_step"], abs=1e-3), key
