"""A run leaves one file a job, goes on where it stopped, tries failures again, and packs all into one file."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lora_loom.pipelines.errors import RequestError, SettingError, UnknownMethodError
from lora_loom.studio.pocket import adapters_path
from lora_loom.studio.testbed import run as runs
from lora_loom.studio.testbed.contestants import LoomMethod, Reference, contestant
from lora_loom.studio.testbed.drawing import Sampling
from lora_loom.studio.testbed.jobs import Job, check, jobs_of
from lora_loom.studio.testbed.outcomes import read
from lora_loom.studio.testbed.packing import pack
from lora_loom.studio.testbed.sets import sets_of

SHIPPED = {path.stem for path in adapters_path().glob("*.safetensors")}
ASKED = next(each for each in sets_of("test", [2]) if set(each.members) <= SHIPPED)


def _jobs(*names: str) -> list[Job]:
    return [Job(name, ASKED, 1, shown=1) for name in names]


@pytest.mark.long
def test_a_run_goes_on_and_tries_failures_again(tmp_path: Path) -> None:
    jobs, machine, sampling = _jobs("merge", "truth", "alone.7"), runs.Machine(processes=0), Sampling(1)
    assert runs.run(jobs, machine, sampling, tmp_path) == 1  # there is no eighth LoRA
    files = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "jobs").iterdir()}
    assert len(files) == 3
    assert "IndexError" in json.loads((tmp_path / "jobs" / jobs[2].error_name).read_text())["error"]
    replaced = [*jobs[:2], replace(jobs[2], contestant="alone.1")]
    assert runs.run(replaced, machine, sampling, tmp_path) == 0
    for job in jobs[:2]:
        assert (tmp_path / "jobs" / job.file_name).stat().st_mtime_ns == files[job.file_name]
    with pytest.raises(RequestError, match="pictures of another run"):
        runs.run(replaced, machine, Sampling(2), tmp_path)
    outcomes = read([pack(tmp_path)])
    assert set(outcomes.cells) == {("merge", 2), ("truth", 2), ("alone", 2)}
    assert outcomes.cells["merge", 2].passes_per_step == [1.0]
    assert outcomes.cells["merge", 2].seeds == ASKED.seeds(1)


@pytest.mark.long
def test_a_run_with_another_gate_or_judge_is_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, machine, sampling = _jobs("truth"), runs.Machine(processes=0), Sampling(1)
    runs.run(jobs, machine, sampling, tmp_path / "run")
    changed = tmp_path / "changed.safetensors"
    changed.write_bytes(b"another")
    for name, value in (("gates_path", lambda: tmp_path), ("judge_files", lambda: {"sealed": changed})):
        with monkeypatch.context() as patch:
            patch.setattr(runs, name, value)
            with pytest.raises(RequestError, match="pictures of another run"):
                runs.run(jobs, machine, sampling, tmp_path / "run")
    assert runs.run(jobs, machine, sampling, tmp_path / "run") == 0


def test_the_order_of_jobs_keeps_a_cut_run_balanced() -> None:
    sets = sets_of("test", [2, 3], 3)
    jobs = jobs_of(["merge", "switch"], sets, seeds=2, control_sets=1, single_scenes=0, shown_sets=2)
    drawn = [(job.asked.k, job.contestant) for job in jobs if job.contestant in ("merge", "switch")]
    assert drawn == [(2, "merge"), (2, "switch"), (3, "merge"), (3, "switch")] * 3
    assert sum(job.contestant == "alone.2" for job in jobs) == 1  # of the one set of three that controls see
    assert sum(job.shown for job in jobs if job.contestant == "merge") == 4
    assert len({job.file_name for job in jobs}) == len(jobs)


def test_single_loras_come_first() -> None:
    jobs = jobs_of(["switch"], sets_of("test", [2], 1), seeds=1, control_sets=0, single_scenes=1, shown_sets=0)
    assert [job.asked.part for job in jobs] == ["single"] * 48 + ["test"]


def test_contestants_by_name() -> None:
    assert contestant("switch:switch_every=2") == LoomMethod("switch", {"switch_every": 2})
    assert contestant("merge@0.8") == LoomMethod("merge", {}, strength=0.8)
    assert contestant("paper_switch") == Reference("paper_switch")
    with pytest.raises(UnknownMethodError):
        check(["merge", "mergee"])
    with pytest.raises(SettingError):
        contestant("switch:switch_often=2")
