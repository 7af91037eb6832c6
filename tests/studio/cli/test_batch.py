"""`loom batch` from suite to audit on a real, tiny base, with exit codes that scripts can rely on."""

import json

import pytest
from typer.testing import CliRunner

from lora_loom.studio.cli.application import build

SUITE = """
base_model = "{base}"
prompts = ["a red circle", {{prompt = "a blue star", width = 33}}]
lora_sets = [["fox:0.7"]]
[request]
num_inference_steps = 1
"""


@pytest.fixture
def loom(monkeypatch, tmp_path, tiny_pocket, write_lora):
    monkeypatch.chdir(tmp_path)
    write_lora(tmp_path / "loras" / "fox.safetensors")
    (tmp_path / "suite.toml").write_text(SUITE.format(base=tiny_pocket))

    def run(*args):
        result = CliRunner().invoke(build(), ["batch", *args, "--json"])
        return result.exit_code, json.loads(result.stdout)

    return run


@pytest.mark.long
def test_plan_run_status_and_audit(loom, tmp_path):
    code, planned = loom("plan", "suite.toml", "--out", "out", "--library", "loras")
    assert (code, planned["pictures"]) == (0, 2)
    assert loom("status", "out")[1]["drawn"] == 0
    assert loom("audit", "out")[0] == 1
    code, ran = loom("run", "out", "--workers", "1")
    assert (code, ran["drawn"], ran["failed"]) == (1, 1, 1)  # no base can draw a width of 33
    code, audited = loom("audit", "out")
    assert (code, audited["sound"]) == (1, 1)
    assert audited["problems"][0]["kind"] == "failed"
    assert "width of 33" in audited["problems"][0]["what"]
    row = json.loads((tmp_path / "out" / "metadata.jsonl").read_text())
    assert (tmp_path / "out" / row["file_name"]).is_file()

    (tmp_path / "suite.toml").write_text((tmp_path / "suite.toml").read_text().replace("width = 33", "width = 32"))
    code, refused = loom("plan", "suite.toml", "--out", "out", "--library", "loras")
    assert (code, refused["error"]["type"]) == (2, "BatchError")
    assert loom("plan", "suite.toml", "--out", "two", "--library", "loras")[0] == 0
    assert loom("run", "two", "--workers", "1")[0] == 0
    assert loom("audit", "two")[1]["passed"] is True


def test_words_for_people(loom, tmp_path):
    result = CliRunner().invoke(build(), ["batch", "plan", "suite.toml", "--out", "out", "--library", "loras"])
    assert "2 pictures in 2 shards" in result.stdout
    result = CliRunner().invoke(build(), ["batch", "status", "out"])
    assert "0 of 2 pictures drawn" in result.stdout
    assert "loom batch run out" in result.stdout
    result = CliRunner().invoke(build(), ["batch", "audit", "out"])
    assert (result.exit_code, "missing: " in result.stdout) == (1, True)
