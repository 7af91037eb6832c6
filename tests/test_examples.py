"""The example scripts run as they are, in small, on a tiny base."""

import json
import runpy
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_fid_clip_evaluation(tiny_pocket, clip_folder, write_lora, tmp_path, monkeypatch, capsys):
    from lora_loom.studio import session

    names = {name for each in first_sets() for name in each.members}
    for name in names:
        write_lora(tmp_path / "loras" / f"{name}.safetensors")
    monkeypatch.setattr(session, "library_roots", lambda folders=(): [tmp_path / "loras"])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    options = ["--base", str(tiny_pocket), "--methods", "merge,switch", "--sets", "2", "--seeds", "5", "--steps", "2"]
    out = tmp_path / "evaluation"
    monkeypatch.setattr("sys.argv", ["x", *options, "--extractor", f"clip:{clip_folder}", "--out", str(out)])
    runpy.run_path(str(EXAMPLES / "fid_clip_evaluation.py"), run_name="__main__")
    rows = json.loads((out / "results.json").read_text())["rows"]
    measured = {(row["method"], row["metric"]) for row in rows}
    assert {("merge", "fid"), ("switch", "kid"), ("merge", "clip_score"), ("switch", "joint_success")} <= measured
    assert "report.html" in capsys.readouterr().out
    assert "data:image/webp" in (out / "report.html").read_text()
    assert len(list((out / "generated").rglob("*.png"))) == 20


def first_sets():
    from lora_loom.studio.testbed.sets import sets_of

    return sets_of("test", sizes=(2,), at_most=2)
