"""A run of a suite, and `loom bench`."""

import importlib
import json
import sys
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from lora_loom.studio.bench import suites
from lora_loom.studio.bench.clock import Estimate
from lora_loom.studio.bench.rows import row
from lora_loom.studio.cli.application import build

ROWS = [
    row("C1", "kernels", Estimate.exact(1.44), anchor=8.03, line=1.70),
    row("C5", "ms to switch", Estimate(1.5, 1.4, 1.6, 9), anchor=212.0, line=1.0),
    row("C9", "a figure", Estimate.exact(2.0), anchor=None, line=None),
]


@pytest.fixture
def loom(monkeypatch):
    """`loom bench ...` with three rows that are there at once."""
    monkeypatch.setattr(suites, "GROUPS", {"runtime": ("here",)})
    monkeypatch.setitem(sys.modules, "lora_loom.studio.bench.runtime.here", SimpleNamespace(measure=lambda quick: ROWS))
    return lambda *args: CliRunner().invoke(build(), args)


def test_every_group_can_be_measured():
    for suite, groups in suites.GROUPS.items():
        for group in groups:
            assert callable(importlib.import_module(f"lora_loom.studio.bench.{suite}.{group}").measure)


def test_json_is_a_result_document(loom, tmp_path):
    out = tmp_path / "new" / "bench_runtime.json"
    done = loom("bench", "runtime", "--json", "--out", str(out))
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document == json.loads(out.read_text())
    assert document.keys() == {"command", "commit", "versions", "rows"}
    assert document["command"] == "loom bench runtime --json"
    assert document["rows"] == ROWS


def test_words_say_whether_a_line_holds(loom):
    text = loom("bench", "runtime", "--quick").stdout
    assert "at most 1.7: holds" in text
    assert "1.5 [1.4, 1.6], anchor 212, at most 1: MISSED" in text
    assert "a figure" in text
