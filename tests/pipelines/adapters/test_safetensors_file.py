"""The reader against safetensors' own: the same tensors, hash and metadata, for every dtype and alignment."""

import hashlib
import json
from collections import Counter

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils._python_dispatch import TorchDispatchMode

from lora_loom.pipelines.adapters.header import FLOATING_BYTES
from lora_loom.pipelines.adapters.limits import Limits
from lora_loom.pipelines.adapters.safetensors_file import read, read_header, read_tensors
from lora_loom.pipelines.errors import AdapterFileError

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)


@pytest.fixture
def file(tmp_path):
    tensors = {f"{index}.{dtype}": torch.randn(3, 5).to(dtype) for index, dtype in enumerate(DTYPES)}
    tensors |= {"alpha": torch.tensor(4), "scalar": torch.tensor(0.5), "empty": torch.empty(0, 3)}
    path = tmp_path / "a.bin"  # the extension decides nothing
    save_file(tensors, path, metadata={"ss_v2": "False"})
    return path


def test_tensors_hash_and_metadata_are_those_of_the_file(file):
    found, expected = read(file), load_file(file)
    assert found.tensors.keys() == expected.keys()
    for key, tensor in expected.items():
        assert found.tensors[key].dtype == tensor.dtype
        assert found.tensors[key].shape == tensor.shape
        assert (
            found.tensors[key]
            .view(torch.uint8 if tensor.ndim else tensor.dtype)
            .equal(tensor.view(torch.uint8 if tensor.ndim else tensor.dtype))
        )
    assert found.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert found.metadata == {"ss_v2": "False"}
    assert found.non_finite == ()


def test_header_alone_tells_shapes_without_the_tensors(file):
    header = read_header(file)
    assert header.shapes["empty"] == (0, 3)
    assert header.shapes["alpha"] == ()
    assert header.entries["1.torch.float32"].dtype == "F32"


def test_tensors_that_are_not_aligned_are_read(tmp_path, header_of):
    header = {
        "byte": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]},
        "word": {"dtype": "F32", "shape": [2], "data_offsets": [1, 9]},
    }
    text = json.dumps(header).encode()
    values = torch.tensor([1.5, -2.0])
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"\x38" + values.numpy().tobytes())
    assert header_of(path) == header
    assert read(path).tensors["word"].equal(values)
    assert float(read(path).tensors["byte"]) == 1.0


def test_memory_and_file_give_the_same_verdict_and_hash(tmp_path):
    tensors = {"b": torch.randn(4, 2).T, "a": torch.randn(3)}
    save_file({key: value.contiguous() for key, value in tensors.items()}, tmp_path / "a.safetensors")
    from_memory = read_tensors(tensors)
    assert from_memory.sha256 == read(tmp_path / "a.safetensors").sha256
    assert from_memory.tensors["b"].equal(tensors["b"])
    with pytest.raises(AdapterFileError, match="NaN or infinity in 1 of 1 tensors: x"):
        read_tensors({"x": torch.tensor([float("nan"), 1.0])})


def test_every_dtype_is_scanned_for_nan_and_infinity(tmp_path, subtests):
    for dtype in DTYPES:
        for value in ["nan", "inf", "-inf"]:
            with subtests.test(dtype=dtype, value=value):
                number = float("nan") if dtype == torch.float8_e4m3fn else float(value)  # e4m3 has no infinity
                bad = torch.randn(70_000)
                bad[69_998] = number
                path = tmp_path / "a.safetensors"
                save_file({"good": torch.randn(9).to(dtype), "bad": bad.to(dtype), "other": torch.randn(9)}, path)
                with pytest.raises(AdapterFileError, match="in 1 of 3 tensors: bad") as caught:
                    read(path)
                assert caught.value.path == path
                assert read(path, allow_non_finite=True).non_finite == ("bad",)


def test_weights_beyond_the_magnitude_are_refused_up_to_it_taken(tmp_path, subtests):
    for dtype in [torch.float64, torch.float32, torch.bfloat16]:
        with subtests.test(dtype=dtype):
            path = tmp_path / "a.safetensors"
            save_file({"down": torch.tensor([1.0, -(2.0**19)]).to(dtype), "alpha": torch.tensor(1e9)}, path)
            assert float(read(path, Limits(magnitude=2.0**19)).tensors["alpha"]) == 1e9
            with pytest.raises(AdapterFileError, match="larger ones in down"):
                read(path, Limits(magnitude=2.0**18))


def test_all_finite_patterns_of_half_precision_pass_the_scan(tmp_path):
    patterns = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(torch.float16)
    finite = patterns[torch.isfinite(patterns)]
    save_file({"x": finite}, tmp_path / "a.safetensors")
    assert read(tmp_path / "a.safetensors").tensors["x"].equal(finite)
    assert set(FLOATING_BYTES.values()) == {8, 4, 2, 1}


class Operators(TorchDispatchMode):
    """Counts what torch is asked to do, and the bytes that are masked for the scan."""

    def __init__(self):
        super().__init__()
        self.counts, self.masked = Counter(), 0

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        name = operator.overloadpacket.__name__
        self.counts[name] += 1
        self.masked += args[0].nbytes if name == "bitwise_and" else 0
        return operator(*args, **(kwargs or {}))


def test_a_46_mb_file_is_looked_at_once_in_large_parts_and_never_copied(tmp_path):
    """An SDXL LoRA's 1,120 tensors: the cost beyond the hash is one pass over the bytes and a few views a tensor."""
    sizes = [(16, 1280), (1280, 16)] * 560
    path = tmp_path / "a.safetensors"
    save_file({f"unet.{n}.x": torch.zeros(size, dtype=torch.float16) for n, size in enumerate(sizes)}, path)
    with Operators() as seen:
        found = read(path)
    data = sum(tensor.nbytes for tensor in found.tensors.values())
    assert data > 45_000_000
    assert seen.masked == data
    assert seen.counts["bitwise_and"] == seen.counts["amax"] == -(-data // 2**18)
    views = {"slice", "view", "detach", "empty", "bitwise_and", "amax", "_local_scalar_dense"}
    assert seen.counts.keys() <= views
    assert seen.counts.total() <= 5 * len(sizes)
