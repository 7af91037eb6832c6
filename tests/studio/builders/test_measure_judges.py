"""Rows of the judges' measures: known truth gives its share, agreement its kappa, missing pictures are named."""

from pathlib import Path

import numpy as np
import pytest

from lora_loom.studio.builders import measure_judges
from lora_loom.studio.builders.known_pictures import Known
from lora_loom.studio.builders.labelled import Pool, labelled, scene_of
from lora_loom.studio.pocket.judge import CLASSES, JUDGED

POOL = Pool("tiny", 12, 64)


class Reader:
    """Says what it is told; `wrong` pictures get the class before."""

    def __init__(self, labels: np.ndarray, wrong: int = 0) -> None:
        self.labels, self.wrong = labels, wrong

    def verdicts(self, pictures: np.ndarray) -> list[dict[str, str]]:
        said = self.labels.copy()
        said[: self.wrong] -= 1
        return [{f: CLASSES[f][k] for f, k in zip(JUDGED, row, strict=True)} for row in said[: len(pictures)]]


@pytest.fixture
def known(tmp_path: Path) -> Known:
    pictures, labels = labelled(tmp_path, POOL, 12)
    return Known("fresh", pictures, labels, [scene_of(POOL, i)[0] for i in range(12)])


def test_accuracy_is_the_share_that_is_right(known: Known) -> None:
    rows = list(measure_judges.accuracies("development", Reader(known.labels, wrong=3), known))
    assert {row["value"] for row in rows} == {0.75}
    assert [row["factor"] for row in rows] == [*JUDGED, "all"]
    assert [row["holds"] for row in rows] == [False] * len(JUDGED) + [None]


@pytest.mark.long
def test_geometry_is_measured_where_it_speaks(known: Known) -> None:
    rows = {(row["what"], row["factor"]): row for row in measure_judges.geometric(known)}
    spoken = rows["says something", "subject"]
    assert rows["accuracy", "colour"]["n"] == round(spoken["value"] * spoken["n"])


@pytest.mark.long
def test_kappa_is_one_between_equal_readers(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    same = {name: lambda: Reader(known.labels) for name in ("development", "sealed")}
    monkeypatch.setattr(measure_judges, "JUDGES", same)
    monkeypatch.setattr(measure_judges, "RESAMPLES", 20)
    rows = [r for r in measure_judges.agreement_rows("generated", known.pictures) if "and sealed" in str(r["judge"])]
    assert len(rows) == 2 * (len(JUDGED) + 1)  # and both over every verdict
    assert {row["value"] for row in rows} == {1.0}
    assert all(row["holds"] for row in rows if row["what"] == "kappa")


def test_missing_pictures_are_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="run measure_base"):
        measure_judges.generated(tmp_path, 12, 10)
