"""Labels of people: asked blindly, kept at once, and compared with a judge from the pictures themselves."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from lora_loom.pipelines.errors import EvaluationError, OutputError
from lora_loom.studio.cli.application import build
from lora_loom.studio.evaluation.feature_cache import pixel_hash
from lora_loom.studio.evaluation.labels.agreement import between_people, readings, rows_of
from lora_loom.studio.evaluation.labels.book import LabelBook
from lora_loom.studio.evaluation.labels.questions import questions
from lora_loom.studio.evaluation.pictures import read_pictures


@pytest.fixture
def folder(tmp_path):
    """24 pictures of three methods; every second is bright."""
    folder = tmp_path / "set"
    folder.mkdir()
    rows = []
    for i in range(24):
        pixels = np.full((8, 8, 3), 200 if i % 2 else 20, np.uint8)
        pixels[0, 0] = i  # no two pictures are equal
        Image.fromarray(pixels).save(folder / f"{i:02}.png")
        row = {"prompt": f"prompt {i // 3}", "seed": 0, "method": ("merge", "switch", "composite")[i % 3]}
        rows.append({"file_name": f"{i:02}.png", **row, "expected": {"subject": "owlet", "accessory": "crown"}})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def look(pixels):
    """A judge that sees an owlet in bright pictures and never a crown."""
    return [{"subject": "owlet" if p.mean() > 127 else "other", "accessory": "none"} for p in pixels]


def test_expected_concepts_are_hidden_among_as_many_others(folder):
    for question in questions(read_pictures(folder), "ann"):
        assert len(question.concepts) == 4
        assert {"owlet", "crown"} < set(question.concepts)
        assert list(question.concepts) == sorted(question.concepts)


def test_every_method_is_asked_about_the_same_and_in_turns(folder):
    found = questions(read_pictures(folder), "ann")
    asked = {}
    for question in found:
        asked.setdefault(question.picture.sample.prompt, set()).add(question.concepts)
    assert all(len(concepts) == 1 for concepts in asked.values())
    first = [question.picture.sample.row["method"] for question in found[:9]]
    assert {first.count(method) for method in ("merge", "switch", "composite")} <= {2, 3, 4}


def test_the_order_is_a_persons_own_and_stays(folder):
    pictures = read_pictures(folder)
    order = [[q.picture.sample.name for q in questions(pictures, person)] for person in ("ann", "ann", "bob")]
    assert order[0] == order[1] != order[2]
    assert sorted(order[0]) == sorted(order[2])
    assert order[0] != sorted(order[0])


def test_sets_that_expect_nothing_cannot_be_labelled(write_folder):
    with pytest.raises(EvaluationError, match="says which concepts it should show"):
        questions(read_pictures(write_folder("bare", 2)), "ann")


def test_the_last_answer_of_a_person_counts(tmp_path):
    book = LabelBook(tmp_path / "labels")
    assert book.answers() == []
    book.add("aa", "ann", {"owlet": True})
    book.add("aa", "bob", {"owlet": False})
    book.add("aa", "ann", {"owlet": False})
    assert {(a.labeller, a.present["owlet"]) for a in book.answers()} == {("ann", False), ("bob", False)}
    assert book.answered_by("ann") == {"aa"}
    assert len(book.path.read_text().splitlines()) == 3  # nothing is ever taken out


def test_a_bad_line_is_named(tmp_path):
    (tmp_path / "labels.jsonl").write_text('{"pixels_sha256": "a", "labeller": "ann", "present": {"owlet": 1}}\n')
    with pytest.raises(EvaluationError, match=r"line 1 of .* is no answer"):
        LabelBook(tmp_path).answers()


def test_an_answer_that_cannot_be_kept_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="LOOM_LABELS"):
        LabelBook(tmp_path / "file").add("aa", "ann", {})


def label(folder, book, person, says):
    for picture in read_pictures(folder).pictures:
        book.add(pixel_hash(picture.pixels()), person, says(int(picture.sample.name[:2])))


def test_the_judge_is_compared_concept_by_concept(folder, tmp_path):
    book = LabelBook(tmp_path)
    label(folder, book, "ann", lambda i: {"owlet": i % 2 == 1, "crown": i < 6, "neon": False})
    rows = {
        (row["concept"], row["what"]): row for row in rows_of(readings(book.answers(), read_pictures(folder), look))
    }
    assert rows["owlet", "agreement"]["value"] == rows["owlet", "agreement"]["kappa"] == 1
    assert rows["owlet", "sensitivity"]["ci_low"] < 1  # twelve of twelve are not all of them
    assert rows["crown", "sensitivity"]["value"] == 0
    assert rows["crown", "specificity"]["value"] == 1
    assert ("neon", "sensitivity") not in rows
    assert rows["all", "agreement"]["n"] == 72
    assert rows["all", "agreement"]["value"] == pytest.approx(66 / 72)


def test_people_are_compared_with_one_another(folder, tmp_path):
    book = LabelBook(tmp_path)
    label(folder, book, "ann", lambda i: {"owlet": i % 2 == 1})
    label(folder, book, "bob", lambda i: {"owlet": i % 2 == 1 or i == 0})
    [row] = between_people(book.answers())
    assert (row["people"], row["n"]) == ("ann and bob", 24)
    assert row["value"] == pytest.approx(23 / 24)


def test_labels_of_other_pictures_are_told(folder, tmp_path):
    book = LabelBook(tmp_path)
    book.add("00", "ann", {"owlet": True})
    with pytest.raises(EvaluationError, match="none of the labelled pictures"):
        readings(book.answers(), read_pictures(folder), look)


def test_the_command(folder, tmp_path):
    label(folder, LabelBook(tmp_path / "labels"), "ann", lambda i: {"owlet": False})
    loom = lambda *more: CliRunner().invoke(  # noqa: E731
        build(), ["evaluate", "labels", str(folder), "--labels", str(tmp_path / "labels"), *more]
    )
    held = json.loads(loom("--json").stdout)
    assert held["pictures"] == 24
    assert {"concept", "what", "value", "ci_low", "ci_high", "n"} <= held["rows"][0].keys()
    assert "agreement" in loom().stdout
    assert loom("--judge", "third").exit_code == 2
    empty = CliRunner().invoke(build(), ["evaluate", "labels", str(folder), "--labels", str(tmp_path / "none")])
    assert "holds no labels" in empty.stderr
