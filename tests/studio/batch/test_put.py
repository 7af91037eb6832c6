"""A file is put whole and once; what stands in the way is said, and nothing half-written stays."""

import errno
import os
import subprocess
import sys

import pytest

from lora_loom.pipelines.errors import OutputError
from lora_loom.studio.batch.put import part_of, put_new, sweep


def put(tmp_path, content):
    return put_new(tmp_path / "a" / "x.bin", lambda file: file.write(content), tmp_path / "parts")


def test_the_first_wins_and_nothing_is_overwritten(tmp_path):
    assert put(tmp_path, b"first") is True
    assert put(tmp_path, b"second") is False
    assert (tmp_path / "a" / "x.bin").read_bytes() == b"first"
    assert list((tmp_path / "parts").iterdir()) == []


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch, call):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OutputError, match=r"x\.bin could not be written: found No space left"):
        put(tmp_path, b"x")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_without_hard_links_it_is_renamed_and_still_never_overwrites(tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    assert put(tmp_path, b"first") is True
    assert put(tmp_path, b"second") is False
    assert (tmp_path / "a" / "x.bin").read_bytes() == b"first"
    assert list((tmp_path / "parts").iterdir()) == []


def test_a_link_that_was_made_and_reported_as_refused_is_ours(tmp_path, monkeypatch):
    link = os.link

    def answered_twice(source, target):
        link(source, target)
        raise FileExistsError

    monkeypatch.setattr(os, "link", answered_twice)
    assert put(tmp_path, b"first") is True


def test_what_a_dead_process_left_is_swept_and_what_the_living_write_is_not(tmp_path):
    code = (
        "from pathlib import Path; from lora_loom.studio.batch.put import part_of\n"
        f"part_of('x.bin', Path({str(tmp_path)!r})).touch()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    living = part_of("x.bin", tmp_path)
    living.touch()
    other, old = tmp_path / "x.00000000-1-2.abcd.part", tmp_path / "x.00000000-1-3.abcd.part"
    other.touch()
    old.touch()
    os.utime(old, (0, 0))
    assert len(list(tmp_path.iterdir())) == 4
    sweep(tmp_path)
    assert set(tmp_path.iterdir()) == {living, other}
