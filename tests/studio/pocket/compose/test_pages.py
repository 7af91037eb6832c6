"""The figures in the pages of the methods are those of the results."""

import pytest

from studio.pocket.compose import pages
from studio.results import RESULTS

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


@pytest.mark.skipif(not (RESULTS / f"{NAME}.json").exists(), reason="PocketCompose has not been run yet")
def test_the_pages_are_those_of_the_results() -> None:
    rows = pages.read_rows(NAME)
    for page in pages.pages():
        assert page.read_text() == pages.filled(page.read_text(), rows, NAME)
