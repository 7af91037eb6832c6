"""`loom evaluate` in words and as JSON: measuring, comparing, listing, and every mistake named."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from lora_loom.studio.cli.application import build


@pytest.fixture
def loom(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return lambda *args: CliRunner().invoke(build(), ["evaluate", *args], env={"COLUMNS": "200"})


@pytest.fixture(autouse=True)
def folders(tmp_path):
    for seed, name in enumerate(("a", "b")):
        folder = tmp_path / name
        folder.mkdir()
        rng = np.random.default_rng(seed)
        rows = []
        for i in range(24):
            pixels = (rng.normal(120, 40, (16, 16, 3)) + rng.normal(0, 30, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{i:02}.png")
            method = "merge" if i < 12 else "switch"
            row = {"file_name": f"{i:02}.png", "prompt": f"owl {i % 12 // 2}", "seed": i % 2, "method": method}
            rows.append(json.dumps({**row, "seconds": 1.0, "expected": {"subject": "owlet"}}))
        (folder / "metadata.jsonl").write_text("\n".join(rows))


def test_measures_by_name_as_json(loom, clip_folder, tmp_path):
    result = loom("a", "--metrics", "fid,kid,clip_score", "--reference", "b", "--extractor", f"clip:{clip_folder}",
                  "--by", "none", "--json", "--out", "x.json")  # fmt: skip
    assert result.exit_code == 0, result.output
    held = json.loads(result.stdout)
    assert held == json.loads((tmp_path / "x.json").read_text())
    assert {"command", "commit", "versions", "rows", "refused"} <= held.keys()
    rows = {(row["metric"], row["variant"]): row for row in held["rows"]}
    assert {("kid", "U-statistic, all pairs, x1000"), ("fid", "n = 24"), ("clip_score", "hessel")} <= rows.keys()
    kid = rows["kid", "U-statistic, all pairs, x1000"]
    assert kid["ci_low"] < kid["value"] < kid["ci_high"]
    assert kid["extractor"].startswith("clip:")
    assert kid["resizer"] == "pillow-bicubic"


def test_groups_and_notes_in_words(loom, clip_folder):
    result = loom("a", "--extractor", f"clip:{clip_folder}", "--reference", "b")
    assert result.exit_code == 0, result.output
    assert "method merge" in result.stdout
    assert "joint_success (development judge)" in result.stdout
    assert "95 % interval" in result.stdout
    assert "note: fid: fewer than 10 x 8 pictures" in result.stderr


def test_a_refused_measure_fails_the_command_after_the_others_are_shown(loom, clip_folder):
    asked = ["a", "--metrics", "fid,kid", "--reference", "b", "--extractor", f"clip:{clip_folder}"]
    result = loom(*asked, "--only", "prompt=owl 0")
    assert result.exit_code == 2
    assert "kid" in result.stdout
    assert "fid needs at least as many pictures as features" in result.stderr
    held = json.loads(loom(*asked, "--only", "prompt=owl 0", "--json").stdout)
    assert held["refused"][0]["error"]["type"] == "EvaluationError"


def test_two_methods_of_one_folder_are_compared_in_pairs(loom):
    result = loom(
        "compare", "a", "a", "--a", "method=merge", "--b", "method=switch", "--metrics", "joint_success", "--json"
    )
    assert result.exit_code == 0, result.output
    first = json.loads(result.stdout)["rows"][0]
    assert (first["metric"], first["n"], first["paired"], first["significant"]) == ("joint_success", 12, True, False)
    assert first["p_value"] == 1.0
    assert "not significant" in loom("compare", "a", "b", "--a", "method=merge", "--b", "method=merge").stdout


def test_metrics_and_extractors_are_listed(loom):
    text = loom("metrics").stdout
    for name in (
        "fid",
        "kid",
        "cmmd",
        "precision_recall",
        "clip_score",
        "clip_i",
        "dino",
        "joint_success",
        "diversity",
    ):
        assert f"\n{name}" in f"\n{text}"
    held = json.loads(loom("metrics", "--json").stdout)
    assert {"pocket", "open_clip", "clip", "dinov2", "inception"} == {each["kind"] for each in held["extractors"]}


def test_mistakes_are_named(loom, subtests):
    cases = [
        (["nowhere"], "is not there"),
        (["a", "--metrics", "fod"], "no metric named 'fod'"),
        (["a", "--metrics", "fid@nothing"], "no feature extractor named 'nothing'"),
        (["a", "--metrics", "fid@clip:x"], "needs reference pictures"),
        (["a", "--metrics", "joint_success", "--by", "colour"], "no picture has 'colour'"),
        (["a", "--metrics", "joint_success", "--only", "method=arbiter"], "one of merge, switch"),
        (["a", "--metrics", "joint_success", "--only", "method"], "is no condition"),
        (["compare", "a", "a", "--metrics", "joint_success"], "occur twice in one set"),
    ]
    for options, complaint in cases:
        with subtests.test(options=options, complaint=complaint):
            result = loom(*options)
            assert result.exit_code == 2
            assert complaint in result.stderr
            error = json.loads(loom(*options, "--json").stdout)["error"]
            assert error["type"] == "EvaluationError"


@pytest.mark.long
def test_a_report_about_folders_and_result_files(loom, tmp_path):
    row = {"method": "arbiter", "k": 2, "joint_success": 0.6, "ci_low": 0.5, "ci_high": 0.7, "n": 100}
    (tmp_path / "r.json").write_text(json.dumps({"command": "x", "commit": "abc", "rows": [row]}))
    result = loom(
        "report", "a", "r.json", "--metrics", "joint_success", "--out", "page.html", "--title", "Both", "--json"
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"html": "page.html", "markdown": "page.md"}
    page = (tmp_path / "page.html").read_text()
    assert "arbiter" in page
    assert "data:image/webp" in page
    assert "Made again by" in page
    assert loom("report", "a", "--out", "page.pdf").exit_code == 2
