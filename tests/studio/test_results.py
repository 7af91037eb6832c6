"""Intervals of proportions, and result files."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from lora_loom.pipelines.errors import OutputError
from lora_loom.studio import results
from lora_loom.studio.results import commit, proportion, wilson, write_results


def test_wilson_known_value() -> None:
    low, high = wilson(8, 10)
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)  # Brown, Cai and DasGupta's example, z = 1.96


def test_wilson_stays_inside_and_contains_the_share() -> None:
    for successes in range(21):
        low, high = wilson(successes, 20)
        assert 0 <= low <= successes / 20 + 1e-12
        assert successes / 20 - 1e-12 <= high <= 1
    assert wilson(0, 0) == (0.0, 1.0)


def test_proportion_holds_against_its_line() -> None:
    assert proportion([True] * 9 + [False], line=0.9)["holds"] is True
    assert proportion([True] * 8 + [False] * 2, line=0.9)["holds"] is False
    assert proportion([False] * 10, line=0.1, below=True)["holds"] is True
    assert proportion([True] + [False] * 9, line=0.1, below=True)["holds"] is False
    assert proportion([True], line=None)["holds"] is None


def test_results_are_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    path = write_results("thing", "make thing", [proportion([True, False], line=0.4, what="x")])
    held = json.loads(path.read_text())
    assert set(held) == {"command", "commit", "versions", "rows"}
    assert held["rows"][0]["n"] == 2
    assert [p.name for p in tmp_path.iterdir()] == ["thing.json"]


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """A repository of somebody else, with a commit."""
    for run in (("init", "-q"), ("add", "."), ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a")):
        (tmp_path / "file").write_text("theirs")
        subprocess.run(("git", "-C", str(tmp_path), *run), check=True)
    return tmp_path


def installed_at(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "ROOT", root)
    monkeypatch.setattr(results, "RESULTS", root / "docs" / "results")


def test_a_repository_of_others_is_neither_read_nor_written(stranger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site_packages = stranger / ".venv" / "site-packages" / "lora_loom"
    site_packages.mkdir(parents=True)
    for root, project in ((site_packages, ""), (stranger, ""), (stranger, '[project]\nname = "theirs"\n')):
        installed_at(root, monkeypatch)
        if project:
            (stranger / "pyproject.toml").write_text(project)
        assert commit() == "unknown"
        with pytest.raises(OutputError, match=r"no checkout of Loom.*--results"):
            write_results("thing", "make thing", [])
    assert not list(stranger.rglob("*.json"))
    assert not (stranger / "docs").exists()


def test_results_go_where_they_are_told_to(stranger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed_at(stranger, monkeypatch)
    path = write_results("thing", "make thing", [], stranger / "mine")
    assert path == stranger / "mine" / "thing.json"
    assert json.loads(path.read_text())["commit"] == "unknown"


def test_loom_unpacked_inside_another_repository_has_no_commit(stranger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (stranger / "vendor").mkdir()
    (stranger / "vendor" / "pyproject.toml").write_text('[project]\nname = "lora-loom"\n')
    installed_at(stranger / "vendor", monkeypatch)
    assert results.in_checkout()
    assert commit() == "unknown"


def test_the_commit_is_that_of_the_own_checkout(stranger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (stranger / "pyproject.toml").write_text('[project]\nname = "lora-loom"\n')  # now it is Loom's
    installed_at(stranger, monkeypatch)
    monkeypatch.setenv("GIT_DIR", str(stranger / "elsewhere"))
    assert re.fullmatch(r"[0-9a-f]{12}\+?", commit())
