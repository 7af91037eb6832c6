"""From a packed run to committed results: `docs/results/NAME.json`, contact sheets, strips of methods, the run."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from lora_loom.pipelines.atomic_file import atomic_file
from lora_loom.pipelines.registry import methods
from lora_loom.studio.builders.contact_sheet import Line, contact_sheet
from lora_loom.studio.results import Row, results_folder, write_results
from lora_loom.studio.testbed.ceilings import CEILINGS
from lora_loom.studio.testbed.outcomes import Cell, Outcomes, read
from lora_loom.studio.testbed.pages import strip_name
from lora_loom.studio.testbed.scoring import Score
from lora_loom.studio.testbed.sets import SIZES
from lora_loom.studio.testbed.tables import CONTROLS, cell_rows, judge_rows, line_rows, pair_rows, single_rows

TILE = 96


def write(paths: Sequence[Path], name: str, judge: str, note: str, folder: Path | None = None) -> None:
    """Write table, pairs and sheets by the verdicts of `judge`; the other judge's figures stand beside."""
    folder = results_folder(folder)
    outcomes = read(paths)
    if judge not in outcomes.judges:
        raise SystemExit(f"no verdicts of a judge called {judge}; there are {', '.join(outcomes.judges) or 'none'}")
    rows = [_about(outcomes, judge, note), *cell_rows(outcomes, judge), *single_rows(outcomes, judge)]
    rows += [*judge_rows(outcomes), *line_rows(outcomes, judge), *pair_rows(outcomes, judge)]
    write_results(
        name,
        "python -m lora_loom.studio.testbed run ...; python -m lora_loom.studio.testbed report",
        rows,
        folder,
    )
    packed = b"".join(path.read_bytes() for path in paths)  # a file of several gzip streams reads as one
    with atomic_file(rows_path(name, folder)) as file:
        file.write(packed)
    for k in SIZES:
        _sheet(outcomes, k, judge, folder / f"{name}_k{k}.png")
    for contestant in outcomes.contestants:
        if contestant in methods():
            _strip(outcomes, contestant, judge, folder / strip_name(name, contestant))


def rows_path(name: str, folder: Path) -> Path:
    """The runs that results were made of, packed: from them the results are made again, and the run goes on."""
    return folder / f"{name}.jsonl.gz"


def _about(outcomes: Outcomes, judge: str, note: str) -> Row:
    sampling = ", ".join(f"{steps} steps at guidance {scale}" for steps, scale in sorted(outcomes.sampling))
    processors = ", ".join(sorted(outcomes.processors))
    return {"what": "about", "judge": judge, "sampling": sampling, "clocked_on": processors, "note": note}


def _sheet(outcomes: Outcomes, k: int, judge: str, path: Path) -> None:
    """One row a set, one column a contestant: the picture of the set's first seed with what it shows."""
    order = [*CEILINGS[:1], "base", *(name for name in outcomes.contestants if name not in CONTROLS)]
    cells = [outcomes.cells[name, k] for name in order if (name, k) in outcomes.cells]
    cells = [cell for cell in cells if cell.shown]
    if not cells:
        return
    names = list(dict.fromkeys(asked.name for cell in cells for asked, _, _ in cell.shown))
    tiles: list[Image.Image] = []
    lines: list[list[Line]] = []
    for name in names:
        for cell in cells:
            picture, score = _shown(cell, name, judge)
            tiles.append(picture)
            method, _, settings = cell.contestant.partition(":")
            lines.append([(method, True), (settings, True), *((each, there) for each, there in score.items())])
    contact_sheet(tiles, lines, path, columns=len(cells), tile=TILE, text_lines=k + 2)


def _strip(outcomes: Outcomes, contestant: str, judge: str, path: Path) -> None:
    """Two pictures of every size, the first of the list and so not chosen, with what each shows."""
    tiles: list[Image.Image] = []
    lines: list[list[Line]] = []
    for k in SIZES:
        cell = outcomes.cells.get((contestant, k))
        if cell is None:
            continue
        for asked, _, _ in cell.shown[:2]:
            picture, score = _shown(cell, asked.name, judge)
            tiles.append(picture)
            lines.append([(each, there) for each, there in score.items()])
    if tiles:
        contact_sheet(tiles, lines, path, columns=len(tiles), tile=TILE, text_lines=max(SIZES))


def _shown(cell: Cell, name: str, judge: str) -> tuple[Image.Image, dict[str, bool]]:
    for asked, place, jpeg in cell.shown:
        if asked.name == name:
            score: Score = cell.scores[judge][place]
            return Image.open(io.BytesIO(base64.b64decode(jpeg))), dict(score.shown)
    return Image.new("RGB", (TILE, TILE), (235, 235, 232)), {}
