"""The figures in the pages of the methods are those of the results."""

import pytest

from lora_loom.studio.results import RESULTS
from lora_loom.studio.testbed import pages

NAME = "pocketcompose_methods"


def row(method: str, joint: float, k: int = 2) -> dict[str, object]:
    figures = {"joint_success": joint, "ci_low": joint - 0.1, "ci_high": joint + 0.1, "passes_per_step": 1.5}
    return {"what": "method", "method": method, "k": k, "n": 32, "seconds": 0.4, **figures}


def test_a_block_is_written_anew_and_the_rest_is_kept() -> None:
    page = "# Lion\n\n<!-- pocketcompose: lion -->\nold\n<!-- /pocketcompose -->\nafter\n"
    text = pages.filled(page, [row("lion", 0.5), row("merge", 0.25)], "nothing")
    assert "| 2 | 0.50 (0.40 to 0.60) | 0.25 | 32 | 1.50 | 0.40 |" in text
    assert "old" not in text
    assert text.startswith("# Lion\n\n<!-- pocketcompose: lion -->\n")
    assert text.endswith("<!-- /pocketcompose -->\nafter\n")
    assert pages.filled(text, [row("lion", 0.5), row("merge", 0.25)], "nothing") == text


def test_a_method_without_figures_says_so() -> None:
    assert "Not measured" in pages.block("lion", [row("merge", 0.3)], "nothing")


def test_the_overview_tells_the_line_and_the_pairs() -> None:
    line = {"what": "line", "k": 3, "method": "gated", "against": "merge", "ratio": 1.5, "line": 1.25, "holds": True}
    pair = {"what": "pair", "against": "merge", "best_rival": True, "k": ">=3", "n": 32, "ratio": 1.5}
    figures = {"only_method": 9, "only_rival": 3, "mcnemar_p": 0.146, "ci_low": -0.01, "ci_high": 0.2}
    about = {"what": "about", "judge": "sealed", "sampling": "12 steps", "note": "on paper"}
    methods = [row("gated", 0.3, 3), row("merge", 0.2, 3)]
    rows = [about, *methods, line, pair | figures | {"method": "ties", "difference": -0.1}]
    rows += [pair | figures | {"method": "gated", "difference": 0.1}, pair | {"k": "3", "method": "gated"}]
    text = pages.overview(rows, "nothing")
    assert "With 3 LoRAs the best method of at most two forwards a step is `gated`: it has 1.50 times" in text
    assert "Asked was 1.25: met." in text
    never = pages.overview([*rows[:3], line | {"ratio": None, "holds": False}], "nothing")
    assert (
        "`merge`, the best of merge, switch and composite, shows all concepts in no picture. Asked was 1.25: not"
        in never
    )
    assert text.index("| `gated` | 32 | 1.50 | +0.100 (-0.010 to +0.200) | 9 | 3 | 0.15 |") < text.index(
        "| `ties` | 32 | 1.50 | -0.1"
    )


@pytest.mark.skipif(not (RESULTS / f"{NAME}.json").exists(), reason="PocketCompose has not been run yet")
def test_the_pages_are_those_of_the_results() -> None:
    rows = pages.read_rows(NAME)
    for page in pages.pages():
        assert page.read_text() == pages.filled(page.read_text(), rows, NAME)
