"""Whether a line holds, and what a row has."""

import json

from lora_loom.studio.bench.clock import Estimate
from lora_loom.studio.bench.rows import row


def test_a_line_is_a_bound_that_may_be_touched(subtests):
    cases = [(2.0, False, True), (2.1, False, False), (2.0, True, True), (1.9, True, False)]
    for value, at_least, holds in cases:
        with subtests.test(value=value, at_least=at_least, holds=holds):
            assert row("X", "x", Estimate.exact(value), anchor=None, line=2.0, at_least=at_least)["holds"] is holds


def test_without_a_line_there_is_no_verdict():
    made = row("X", "x", Estimate.exact(1.0), anchor=3.0, line=None)
    assert (made["line"], made["bound"], made["holds"]) == (None, None, None)


def test_a_row_has_the_keys_of_all_results():
    made = row("X", "x", Estimate(1.23456, 1.1, 1.4, 9), anchor=3.0, line=2.0)
    assert {"id", "what", "value", "anchor", "line", "holds", "ci", "ci_low", "ci_high", "n"} <= made.keys()
    assert made["ci"] == [made["ci_low"], made["ci_high"]] == [1.1, 1.4]
    assert made["value"] == 1.235
    assert json.loads(json.dumps(made, allow_nan=False)) == made
