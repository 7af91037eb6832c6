"""Renew the texts that are made from the code and the results: `python -m lora_loom.studio.cli.generated_texts`.

The table of methods and what installing takes in the README, the documents of the pocket world and the figures of the
method pages. With `--check` nothing is written, and what is stale is named together with the command that renews it.
"""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from lora_loom.studio.cli.methods import markdown_table
from lora_loom.studio.results import RESULTS

ROOT = RESULTS.parents[1]
METHODS = re.compile(r"(<!-- methods:[^>]*-->\n).*?(<!-- /methods -->)", re.DOTALL)
INSTALLING = re.compile(r"(<!-- installing:[^>]*-->\n).*?(<!-- /installing -->)", re.DOTALL)
FIGURES = "pocketcompose_methods"


def texts() -> Iterator[tuple[Path, str]]:
    """Every file that holds generated text, with what it has to be."""
    from lora_loom.studio.bench import installation
    from lora_loom.studio.builders import card
    from lora_loom.studio.pocket import base_path
    from lora_loom.studio.testbed import pages

    readme = ROOT / "README.md"
    table = markdown_table()
    installing = installation.sentence(pages.read_rows(installation.NAME))
    text = METHODS.sub(lambda found: f"{found[1]}{table}\n{found[2]}", readme.read_text(encoding="utf-8"))
    yield readme, INSTALLING.sub(lambda found: f"{found[1]}{textwrap.fill(installing, 120)}\n{found[2]}", text)
    yield base_path() / "README.md", card.card()
    yield RESULTS.parent / "pocket.md", card.page()
    rows = pages.read_rows(FIGURES)
    for page in pages.pages():
        yield page, pages.filled(page.read_text(encoding="utf-8"), rows, FIGURES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, end with an error if a text is stale")
    check = parser.parse_args().check
    stale = [(path, text) for path, text in texts() if path.read_text(encoding="utf-8") != text]
    if check and stale:
        names = ", ".join(str(path.relative_to(ROOT)) for path, _ in stale)
        raise SystemExit(f"stale: {names}. Renew with `make generated`, look at the change and commit it.")
    for path, text in stale:
        path.write_text(text, encoding="utf-8")
        print(f"renewed {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
