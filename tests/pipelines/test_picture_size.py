"""Sizes are bounded by what a base was trained for, and by the memory there is."""

import pytest

from lora_loom.pipelines import picture_size as module
from lora_loom.pipelines.errors import RequestError
from lora_loom.pipelines.picture_size import picture_size
from lora_loom.pipelines.runtime.targets import denoiser_of


@pytest.fixture
def size_of(pipes):
    pipe = pipes("sdxl")  # trained on 1024 x 1024
    return lambda width, height: picture_size(pipe, width, height, denoiser_of(pipe).family)


def test_sixteen_times_the_trained_pixels_are_the_most(size_of, monkeypatch):
    monkeypatch.setattr(module, "_free_bytes", lambda device: None)
    assert size_of(4096, 4096) == {"width": 4096, "height": 4096}
    assert size_of(8192, 2048) == {"width": 8192, "height": 2048}
    with pytest.raises(RequestError, match=r"at most 4096 x 4096.*Take 4096 x 4096"):
        size_of(8192, 8192)
    with pytest.raises(RequestError, match="Take 8192 x 2048"):
        size_of(16384, 4096)


def test_a_size_that_is_offered_is_taken(size_of, monkeypatch):
    monkeypatch.setattr(module, "_free_bytes", lambda device: None)
    with pytest.raises(RequestError) as refused:
        size_of(8008, 6008)
    width, height = refused.value.remedy.split()[1], refused.value.remedy.split()[3].rstrip(",")
    size_of(int(width), int(height))


def test_what_the_memory_cannot_hold_is_refused_beyond_the_trained_size(pipes, size_of, monkeypatch):
    monkeypatch.setattr(module, "_free_bytes", lambda device: 1000)
    assert size_of(1024, 1024)
    with pytest.raises(RequestError, match=r"too little memory.*1032 x 1024"):
        size_of(1032, 1024)
    monkeypatch.setattr(pipes("sdxl").vae, "use_tiling", True)
    assert size_of(1032, 1024)


def test_free_memory_is_told_here(pipes):
    assert module._free_bytes(pipes("sd15").device) > 2**20
