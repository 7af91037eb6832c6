"""A file is there whole or not at all, whatever interrupts the writing."""

import errno
import resource
import signal

import pytest

from lora_loom.pipelines.atomic_file import atomic_file
from lora_loom.pipelines.errors import OutputError


def test_the_file_appears_at_the_end_and_folders_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "x.bin"
    with atomic_file(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in path.parent.iterdir()] == ["x.bin"]


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(b"old")

    def interrupted():
        with atomic_file(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == [b"old"]


@pytest.fixture
def full_disk(monkeypatch):
    """Files of this process cannot grow beyond 4 KiB, which the system reports as it reports a full disk."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_is_an_error_that_names_the_file(tmp_path):
    with (
        pytest.raises(OutputError, match=r"x\.bin could not be written: found File too large"),
        atomic_file(tmp_path / "x.bin") as file,
    ):
        file.write(bytes(100_000))
    assert list(tmp_path.iterdir()) == []


def test_no_space_left_is_an_error_that_says_so(tmp_path):
    with pytest.raises(OutputError, match="found No space left on device"), atomic_file(tmp_path / "x.bin"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_way_is_an_error(tmp_path):
    (tmp_path / "x.bin").mkdir()
    with pytest.raises(OutputError, match="Is a directory"), atomic_file(tmp_path / "x.bin") as file:
        file.write(b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.bin"]
