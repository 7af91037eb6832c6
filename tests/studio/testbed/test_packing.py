"""A packed run goes on in another folder as if it had been begun there, and never in one of another kind."""

import gzip
import json
from pathlib import Path

import pytest

from lora_loom.pipelines.errors import RequestError
from lora_loom.studio.testbed import run as runs
from lora_loom.studio.testbed.drawing import Sampling
from lora_loom.studio.testbed.jobs import Job
from lora_loom.studio.testbed.packing import claim, lines_of, pack, unpack
from lora_loom.studio.testbed.sets import sets_of

ASKED = sets_of("test", [2], 1)[0]
MACHINE, SAMPLING = runs.Machine(processes=0), Sampling(1)


def _jobs(*names: str) -> list[Job]:
    return [Job(name, ASKED, 1, shown=1) for name in names]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    assert runs.run(_jobs("merge", "truth", "alone.7"), MACHINE, SAMPLING, out) == 1  # there is no eighth LoRA
    return pack(out)


@pytest.mark.long
def test_a_packed_run_goes_on_elsewhere(packed: Path, tmp_path: Path) -> None:
    assert unpack(packed, tmp_path) == 2  # what failed is drawn again
    files = {path: path.read_text() for path in (tmp_path / "jobs").iterdir()}
    assert files == {
        tmp_path / "jobs" / path.name: path.read_text() for path in (packed.parent / "jobs").glob("*.json")
    }
    times = {path: path.stat().st_mtime_ns for path in files}
    assert runs.run(_jobs("merge", "truth", "alone.1"), MACHINE, SAMPLING, tmp_path) == 0
    assert {path: path.stat().st_mtime_ns for path in files} == times
    assert len(list((tmp_path / "jobs").iterdir())) == 3
    assert unpack(packed, tmp_path) == 0


@pytest.mark.long
def test_it_does_not_go_on_as_another_run(packed: Path, tmp_path: Path) -> None:
    unpack(packed, tmp_path)
    with pytest.raises(RequestError, match="pictures of another run"):
        runs.run(_jobs("merge"), MACHINE, Sampling(2), tmp_path)
    runs.run(_jobs("truth"), MACHINE, Sampling(2), tmp_path / "other")
    with pytest.raises(RequestError, match="pictures of another run"):
        unpack(packed, tmp_path / "other")


@pytest.mark.long
def test_what_a_gate_drew_is_drawn_again_with_another_gate(packed: Path, tmp_path: Path) -> None:
    lines = list(lines_of(packed))
    drawn = next(line for line in lines if line.get("contestant") == "merge")
    lines += [drawn | {"contestant": name} for name in ("gated", "gated:trust=2.0", "ignores_one")]
    whole = tmp_path / "whole.jsonl.gz"
    whole.write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    claim(tmp_path / "same", lines[0]["run"])
    assert unpack(whole, tmp_path / "same") == 5
    claim(tmp_path / "other", lines[0]["run"] | {"gates": "others"})
    assert unpack(whole, tmp_path / "other") == 3
    drawers = {json.loads(path.read_text())["contestant"] for path in (tmp_path / "other" / "jobs").iterdir()}
    assert drawers == {"merge", "truth", "ignores_one"}
    claim(tmp_path / "third", lines[0]["run"] | {"gates": "others", "weights": "others"})
    with pytest.raises(RequestError, match="pictures of another run"):
        unpack(whole, tmp_path / "third")


def test_a_file_without_a_claim_is_refused(packed: Path, tmp_path: Path) -> None:
    old = tmp_path / "old.jsonl.gz"
    old.write_bytes(gzip.compress("\n".join(json.dumps(each) for each in list(lines_of(packed))[1:]).encode()))
    with pytest.raises(RequestError, match="made of"):
        unpack(old, tmp_path)
    assert list((tmp_path / "jobs").iterdir()) == []


def test_the_same_run_packs_to_the_same_bytes(packed: Path) -> None:
    before = packed.read_bytes()
    assert pack(packed.parent).read_bytes() == before
