"""The page stands alone and shows what was measured; result files give the same tables; hostile texts stay texts."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from lora_loom.pipelines.errors import EvaluationError
from lora_loom.studio.evaluation.evaluate import ask, evaluate
from lora_loom.studio.evaluation.pictures import read_pictures
from lora_loom.studio.evaluation.report.build import build, write
from lora_loom.studio.evaluation.report.content import Entry, Measure, Report
from lora_loom.studio.evaluation.report.from_results import entries_of, read_results
from lora_loom.studio.evaluation.report.markdown import markdown
from lora_loom.studio.evaluation.report.page import page
from lora_loom.studio.evaluation.report.plots import plots_of
from lora_loom.studio.evaluation.report.rows import rows_of

ATTACK = "<script>window.owned=1</script>| `x`"
ROWS = [
    {"what": "method", "method": m, "k": k, "joint_success": v, "ci_low": v - 0.04, "ci_high": v + 0.05, "n": 960,
     "passes_per_step": p, "seconds": p / 2, "concepts_shown": 0.8, "concepts_ci_low": 0.7, "concepts_ci_high": 0.9}
    for m, p in (("merge", 1.0), ("composite", 3.0)) for k, v in ((2, 0.5), (3, 0.31))
]  # fmt: skip


class Judge:
    """Sees an owlet in bright pictures."""

    @staticmethod
    def verdicts(pixels):
        return [{"subject": "owlet" if picture.mean() > 127 else "other", "style": "neon"} for picture in pixels]


@pytest.fixture
def found(tmp_path, monkeypatch):
    """Two methods and a control; `bright` pictures show the concept, the others do not."""
    import lora_loom.studio.pocket.judge as judges

    monkeypatch.setattr(judges, "shipped_judge", Judge)
    rows = []
    for i in range(60):
        method, control = ("merge", "switch", "merge")[i % 3], "base" if i % 3 == 2 else None
        bright = i % 3 == 0 or (i % 3 == 1 and i % 2 == 0)
        Image.fromarray(np.full((12, 12, 3), 200 if bright else 20, np.uint8)).save(tmp_path / f"{i:02}.png")
        row = {"prompt": f"an owlet {i // 12} {ATTACK}", "seed": i // 3, "method": method, "metadata": {"k": 2}}
        row["metadata"] |= {"control": control} if control else {}
        cost = {"seconds": 0.5, "num_inference_steps": 10, "passes": {"full": 20}, "loras": [1, 2]}
        rows.append({"file_name": f"{i:02}.png", **row, **cost, "expected": {"subject": "owlet", "style": "neon"}})
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return evaluate(read_pictures(tmp_path), ask(["joint_success"]))


class Reader(HTMLParser):
    """Tags that are closed in order, and the texts between."""

    def __init__(self):
        super().__init__()
        self.open, self.texts, self.tags = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "path", "use", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("path", "use"):
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def read(text):
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return reader


def test_the_page_stands_alone(found):
    reader = read(page(build({"set": found}, {}, title="A report", command="loom evaluate report set")))
    for tag, attributes in reader.tags:
        assert tag not in ("script", "link", "iframe")
        assert not attributes.get("src", "data:image/webp").startswith(("http", "//", "file"))
        assert not [name for name in attributes if name.startswith("on")]
    text = " ".join(reader.texts)
    for said in (
        "A report",
        "switch",
        "joint success",
        "passes / step",
        "Controls",
        "base",
        "loom evaluate report set",
    ):
        assert said in text
    assert ATTACK in "".join(reader.texts)


def test_findings_are_sure_or_say_they_are_not(found):
    [finding] = build({"set": found}, {}, title="x").findings
    assert finding.startswith("merge leads with 1.000; over switch that is +0.500 (95 % interval +0.2")
    assert finding.endswith("in 20 pairs, more than chance.")


def test_pictures_are_random_and_carry_verdicts(found):
    report = build({"set": found}, {}, title="x", samples=4)
    assert len(report.sheets) == 3
    assert all(len(sheet.tiles) == 4 for sheet in report.sheets)
    switch = next(sheet for sheet in report.sheets if "switch" in sheet.title)
    assert {mark for tile in switch.tiles for mark in tile.marks} == {("owlet", True), ("owlet", False), ("neon", True)}
    again = build({"set": found}, {}, title="x", samples=4)
    assert again.sheets == report.sheets


def test_controls_stand_apart(found):
    report = build({"set": found}, {}, title="x")
    assert [entry.label for entry in report.controls] == ["merge, control base"]
    assert report.controls[0].measure("joint_success").value == 0


def test_a_result_file_gives_tables_and_plots(tmp_path):
    extra = [{"what": "single", "control": "own", "adapter": "owlet", "value": 0.9}]
    (tmp_path / "r.json").write_text(json.dumps({"command": "x", "commit": "c", "rows": [*ROWS, *extra]}))
    report = build({}, {"r": read_results(tmp_path / "r.json")}, title="Pocket")
    assert report.headline == "joint_success"
    merge = next(entry for entry in report.entries if (entry.method, entry.k) == ("merge", 3))
    assert merge.measure("joint_success") == Measure("joint_success", 0.31, 0.27, 0.36, 960)
    assert merge.measure("concepts_shown") == Measure("concepts_shown", 0.8, 0.7, 0.9, 960)
    assert (merge.cost.passes_per_step, merge.cost.seconds) == (1.0, 0.5)
    titles = [title for title, _ in plots_of(report)]
    assert titles == [
        "Quality against cost: denoiser passes per step",
        "Quality against cost: seconds per picture",
        "Quality by number of LoRAs",
    ]
    assert report.tables[0].title == "Each LoRA alone"
    text = markdown(report)
    assert "| merge | 3 | 0.310 (0.270 – 0.360) | 960 | 1 | 0.5 | 0.800 (0.700 – 0.900) |" in text


@pytest.mark.long
def test_plots_are_texts_in_the_colours_of_the_page():
    report = Report("x", tuple(entries_of(ROWS)))
    for _, svg in plots_of(report):
        assert svg.startswith("<svg")
        assert "var(--ink)" in svg
        assert ">merge<" in svg.replace("\n", "")
        assert "#0102" not in svg
        assert not re.search(r"#(4f46c8|d9772b)", svg)
    assert plots_of(report) == plots_of(report)


def test_one_method_alone_needs_no_plot():
    assert plots_of(Report("x", (Entry({"method": "merge"}, (Measure("fid", 3.0),)),))) == []


def test_rows_of_metrics_are_gathered_into_one_entry():
    rows = [
        {
            "method": "merge",
            "metric": "fid",
            "value": 3.0,
            "ci_low": 2.0,
            "ci_high": 4.0,
            "n": 50,
            "higher_is_better": False,
        },
        {"method": "merge", "metric": "clip_score", "variant": "hessel", "value": 0.7, "n": 50},
    ]
    [entry] = entries_of(rows)
    assert [measure.title for measure in entry.measures] == ["FID", "CLIPScore (Hessel)"]


def test_hostile_texts_stay_texts_in_markdown(found):
    text = markdown(build({"set": found}, {}, title=ATTACK))
    assert "<script>" not in text


def test_page_and_markdown_are_written(found, tmp_path):
    html, beside = write(build({"set": found}, {}, title="x"), tmp_path / "out" / "r.html")
    assert html.read_text().startswith("<!doctype html>")
    assert beside.read_text().startswith("# x")


def test_what_is_no_result_file_is_refused(tmp_path, subtests):
    for text in ["{", "[]", '{"rows": []}', '{"rows": [1]}']:
        with subtests.test(text=text):
            (tmp_path / "r.json").write_text(text)
            with pytest.raises(EvaluationError):
                read_results(tmp_path / "r.json")


def test_the_table_as_results_reads_back_as_the_same_entries(found):
    report = build({"a": found}, {}, title="A")
    rows = rows_of(report)
    merge = next(row for row in rows if row["method"] == "merge" and "control" not in row)
    assert merge["n"] == 20
    assert merge["passes_per_step"] == 2.0
    assert merge["seconds"] == 0.5
    assert merge["ci_low"] < merge["joint_success"] == 1.0
    assert "judge" not in merge
    again = entries_of(rows)
    for one, other in zip(report.entries, again, strict=True):
        assert (one.method, one.k, one.kind) == (other.method, other.k, other.kind)
        assert one.measure("joint_success").value == other.measure("joint_success").value
        assert one.measure("joint_success").ci_low == other.measure("joint_success").ci_low
        assert one.cost.seconds == other.cost.seconds


def test_the_judge_of_a_sealed_headline_is_a_key_and_the_other_judge_keeps_its_name():
    measures = (Measure("joint_success", 0.7, 0.6, 0.8, 9), Measure("joint_success_sealed", 0.5, 0.4, 0.6, 9))
    (row,) = rows_of(Report("A", (Entry({"method": "merge", "k": 3}, measures),)))
    assert row["judge"] == "sealed"
    assert (row["joint_success"], row["ci_low"], row["ci_high"]) == (0.5, 0.4, 0.6)
    assert (row["joint_success_development"], row["joint_success_development_ci_high"]) == (0.7, 0.8)
