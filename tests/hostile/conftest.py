"""A corpus of files made to deceive or to break, each named for what it does, and a base to load them on."""

import json
import math
import pickle
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lora_loom.pipelines.adapters.target import BaseTarget

SAMPLE = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "BOOL": 1}


def file_bytes(header: bytes | dict, data: bytes = b"") -> bytes:
    """A safetensors file of any header, however wrong."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def lora_bytes(
    *, inputs: int = 16, out: int = 16, rank: int = 2, dtype: str = "F32", alpha: float | None = None, metadata=None
) -> bytes:
    """A sound LoRA on one layer, all zeros; with the sizes that a test asks for, not so sound."""
    tensors = {f"unet.{SAMPLE}.lora_A.weight": (rank, inputs), f"unet.{SAMPLE}.lora_B.weight": (out, rank)}
    header, at = ({"__metadata__": metadata} if metadata else {}), 0
    for name, shape in tensors.items():
        end = at + math.prod(shape) * ITEM_BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, end]}
        at = end
    data = bytes(at)
    if alpha is not None:
        header[f"unet.{SAMPLE}.alpha"] = {"dtype": "F32", "shape": [], "data_offsets": [at, at + 4]}
        data += torch.tensor(alpha).numpy().tobytes()
    return file_bytes(header, data)


class Bomb:
    """A pickle that would create a file if anyone loaded it."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def zipped(folder: Path) -> bytes:
    path = folder / "archive.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02.")
    content = path.read_bytes()
    path.unlink()
    return content


@pytest.fixture
def corpus(tmp_path):
    """Write one hostile file and give its path; `name` may be any file name."""

    def write(content: bytes, name: str = "lora.safetensors") -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return SimpleNamespace(
        write=write,
        lora=lora_bytes,
        raw=file_bytes,
        sample=SAMPLE,
        marker=tmp_path / "the-bomb-went-off",
        pickled=lambda protocol: pickle.dumps(Bomb(tmp_path / "the-bomb-went-off"), protocol=protocol),
        zipped=lambda: zipped(tmp_path),
    )


@pytest.fixture(scope="session")
def target() -> BaseTarget:
    """A base of one layer, at the path that the corpus aims at."""
    model = nn.Module()
    parent: nn.Module = model
    *outer, last = SAMPLE.split(".")
    for name in outer:
        parent.add_module(name, nn.Module())
        parent = parent.get_submodule(name)
    parent.add_module(last, nn.Linear(16, 16, bias=False))
    model.add_module("conv_in", nn.Conv2d(4, 16, 3))
    return BaseTarget.from_modules({"denoiser": model})
