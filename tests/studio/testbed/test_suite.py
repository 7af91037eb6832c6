"""The suite holds the same sets as the testbed's own runner, with their controls."""

import json
import tomllib
from pathlib import Path

import pytest

from lora_loom.studio.testbed import suite
from lora_loom.studio.testbed.sets import sets_of


def test_a_suite_asks_for_every_set_and_its_controls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite.write(
        tmp_path,
        methods="merge,composite",
        k="2,3",
        sets=2,
        seeds=3,
        steps=12,
        guidance=3.0,
        control_seeds=1,
        single_scenes=1,
        picture_seconds=1.5,
    )
    rows = [json.loads(line) for line in (tmp_path / "prompts.jsonl").read_text().splitlines()]
    held = tomllib.loads((tmp_path / "suite.toml").read_text())
    assert held["methods"] == ["merge", "composite"]
    assert held["request"] == {"num_inference_steps": 12, "guidance_scale": 3.0}
    asked = [row for row in rows if "control" not in row["metadata"]]
    assert [row["id"] for row in asked] == [each.name for each in sets_of("test", [2, 3], 2)]
    assert all(len(row["seeds"]) == 3 and "method" not in row for row in asked)
    controls = [row["metadata"]["control"] for row in rows if "control" in row["metadata"]]
    assert {kind: controls.count(kind) for kind in controls} == {"base": 4, "alone": 10, "own": 24}
    assert len({row["id"] for row in rows}) == len(rows)
    told = json.loads(capsys.readouterr().out)
    assert told["pictures"] == 4 * 3 * 2 + 4 + 10 + 24
    assert told["picture_passes"] == 4 * 3 + 2 * 3 * 2 + 2 * 3 * 3 + 38
