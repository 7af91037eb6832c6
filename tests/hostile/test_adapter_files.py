"""Hostile LoRA files: each is a clear error that names file, expectation, finding and remedy, and leaves no trace."""

import json
import os
import sys
import tracemalloc
from contextlib import contextmanager

import pytest
import torch
from safetensors.torch import save

from lora_loom.pipelines.adapters.limits import Limits
from lora_loom.pipelines.adapters.load import inspect_adapter, load_adapter
from lora_loom.pipelines.adapters.safetensors_file import read_header
from lora_loom.pipelines.errors import AdapterFileError, AdapterMatchError, LoomError

MOST_CALLS = 1_000_000  # of functions


@contextmanager
def counted_calls():
    """The functions called inside, of Python and of C, in order."""
    calls = []
    before = sys.getprofile()
    sys.setprofile(lambda frame, event, given: calls.append(event) if event in ("call", "c_call") else None)
    try:
        yield calls
    finally:
        sys.setprofile(before)


@pytest.fixture
def refused(target):
    """Load the file, assert that the error is complete and comes after few calls, and give it."""

    def load(path, kind: type[LoomError] = AdapterFileError, limits: Limits | None = None) -> LoomError:
        with pytest.raises(kind) as caught, counted_calls() as calls:
            load_adapter(path, name="a", target=target, **({"limits": limits} if limits else {}))
        assert len(calls) < MOST_CALLS
        error = caught.value
        assert error.path == path
        assert path.name.isprintable() is False or path.name in str(error)
        assert error.expected
        assert error.found
        assert error.remedy
        assert len(str(error)) < 1500
        assert str(error).isprintable()
        return error

    return load


def test_the_sound_file_that_the_others_are_bent_from(corpus, target):
    adapter = load_adapter(corpus.write(corpus.lora(alpha=1.0)), name="a", target=target)
    assert adapter.receipt.complete
    assert list(adapter.denoiser) == [corpus.sample]


def test_pickle_in_disguise_is_named_and_never_run(corpus, refused, subtests):
    for protocol in [0, 1, 2, 3, 4, 5]:
        with subtests.test(protocol=protocol):
            error = refused(corpus.write(corpus.pickled(protocol)))
            assert error.what == "lora.safetensors is not a safetensors file"
            assert "pickle" in error.found or protocol == 1  # whose first bytes could be anything
            assert not corpus.marker.exists()


def test_other_formats_are_named(corpus, refused, subtests):
    cases = [
        (b"GGUF\x03\x00\x00\x00" + bytes(64), "GGUF"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git LFS pointer"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "PNG"),
        (b'{"this": "is a workflow, not a LoRA at all"}', "a JSON text"),
        (b"\x93NUMPY\x01\x00" + bytes(64), "NumPy"),
        (b"MZ" + bytes(64), "Windows program"),
    ]  # fmt: skip
    for content, name in cases:
        with subtests.test(content=content, name=name):
            assert name in refused(corpus.write(content)).found


def test_zip_of_torch_save_is_named(corpus, refused, tmp_path):
    assert "ZIP" in refused(corpus.write(corpus.zipped())).found
    torch.save({"a": torch.ones(2)}, tmp_path / "saved.safetensors")
    assert "torch.save" in refused(tmp_path / "saved.safetensors").found


def test_empty_and_tiny_files(corpus, refused, subtests):
    for content in [b"", b"\x00", bytes(8), bytes(9), b"{}", bytes(100)]:
        with subtests.test(content=content):
            refused(corpus.write(content))


def test_files_without_tensors(corpus, refused):
    assert "none" in refused(corpus.write(corpus.raw({})), AdapterMatchError).found


def test_truncated_file(corpus, refused, subtests):
    for kept in [12, 60, 200, -1, -100]:
        with subtests.test(kept=kept):
            assert "truncated" in refused(corpus.write(corpus.lora()[:kept])).what


def test_bytes_behind_the_last_tensor(corpus, refused):
    assert "belong to no tensor" in refused(corpus.write(corpus.lora() + b"<script>")).what


def test_header_of_200_mb_is_only_a_claim_and_costs_nothing(corpus, refused, subtests):
    for length in [200_000_000, 2**63, 2**64 - 1]:
        with subtests.test(length=length):
            path = corpus.write(length.to_bytes(8, "little") + b"{" + bytes(1000))
            tracemalloc.start()
            error = refused(path)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert "beyond the limit" in error.what
            assert f"{length:,} bytes claimed" in error.found
            assert peak < 1_000_000


def test_deep_json(corpus, refused, subtests):
    cases = [
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"{" + b'"a":{' * 50_000 + b"}" * 50_001,
        b'{"a":' + b"[" * 100_000,
    ]  # fmt: skip
    for header in cases:
        with subtests.test(header=header):
            assert "nested deeper" in refused(corpus.write(corpus.raw(header))).found


def test_headers_that_lie_or_do_not_parse(corpus, refused, subtests):
    cases = [
        b"{nonsense}",
        b'{"a": NaN}',
        b'{"a": {"dtype": "F32", "shape": [1e3], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [true], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], "code": "x"}}',
        b'{"a": {"dtype": "F33", "shape": [1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [1,1,1,1,1,1,1,1,1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [' + b"9" * 5000 + b'], "data_offsets": [0, 4]}}',
        b'{"__metadata__": {"a": 1}}',
        b'{"__metadata__": []}',
        b'{"a": 1}',
        b'{"\xff": 1}',
        b'{"' + b"k" * 600 + b'": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
    ]  # fmt: skip
    for header in cases:
        with subtests.test(header=header):
            assert "cannot be trusted" in refused(corpus.write(corpus.raw(header, bytes(4)))).what


def test_duplicate_keys(corpus, refused):
    entry = b'{"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}'
    path = corpus.write(corpus.raw(b'{"weight":' + entry + b',"weight":' + entry + b"}", bytes(4)))
    assert "the key 'weight' occurs twice" in refused(path).found


def test_offsets_that_do_not_tile_the_data(corpus, refused, subtests):
    cases = [
        ([(0, 8), (4, 12)], "overlapping"),
        ([(0, 8), (0, 8)], "overlapping"),
        ([(0, 8), (12, 20)], "a hole"),
        ([(4, 12), (12, 20)], "a hole"),
    ]  # fmt: skip
    for offsets, what in cases:
        with subtests.test(offsets=offsets, what=what):
            header = {
                f"t{n}": {"dtype": "F32", "shape": [2], "data_offsets": list(each)} for n, each in enumerate(offsets)
            }
            assert what in refused(corpus.write(corpus.raw(header, bytes(20)))).what


def test_more_tensors_than_any_lora_has(corpus, refused):
    header = {f"t{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(60_000)}
    assert "60,000 tensors" in refused(corpus.write(corpus.raw(header))).found


def test_file_size_limit(corpus, refused):
    assert "too large" in refused(corpus.write(corpus.lora()), limits=Limits(file_bytes=100)).what


def test_nan_and_infinity_in_weights_and_in_alpha(corpus, refused, subtests):
    for value in [float("nan"), float("inf"), float("-inf")]:
        with subtests.test(value=value):
            weights = {
                f"unet.{corpus.sample}.lora_A.weight": torch.ones(2, 16),
                f"unet.{corpus.sample}.lora_B.weight": torch.ones(16, 2),
            }
            weights[f"unet.{corpus.sample}.lora_B.weight"][7, 1] = value
            error = refused(corpus.write(save(weights)))
            assert error.found == f"NaN or infinity in 1 of 2 tensors: unet.{corpus.sample}.lora_B.weight"
            assert "not finite" in refused(corpus.write(corpus.lora(alpha=value))).what


def test_weights_that_overflow_when_they_are_multiplied(corpus, refused):
    weights = {
        f"unet.{corpus.sample}.lora_A.weight": torch.full((2, 16), 3e38),
        f"unet.{corpus.sample}.lora_B.weight": torch.full((16, 2), 3e38),
    }
    assert "absurdly large" in refused(corpus.write(save(weights))).what


def test_rank_4096_on_a_layer_of_16(corpus, refused):
    error = refused(corpus.write(corpus.lora(rank=4096)))
    assert error.expected == "a rank of at most 1024"
    assert error.found == "rank 4096 for a weight of 16 x 16"


def test_alpha_of_a_billion(corpus, refused, subtests):
    for alpha in [1e9, -1e9, 1e3]:
        with subtests.test(alpha=alpha):
            error = refused(corpus.write(corpus.lora(alpha=alpha)))
            assert "multiplies its update beyond reason" in error.what
            assert f"alpha {alpha:g}, rank 2" in error.found


def test_weights_that_are_not_floating_point(corpus, refused, subtests):
    for dtype in ["I64", "I32", "BOOL"]:
        with subtests.test(dtype=dtype):
            assert f"{dtype} in unet" in refused(corpus.write(corpus.lora(dtype=dtype))).found


def test_alpha_that_is_a_tensor(corpus, refused):
    tensors = {
        f"unet.{corpus.sample}.lora_A.weight": torch.ones(2, 16),
        f"unet.{corpus.sample}.lora_B.weight": torch.ones(16, 2),
    }
    tensors[f"unet.{corpus.sample}.alpha"] = torch.ones(3)
    assert "a broken alpha" in refused(corpus.write(save(tensors))).what


def test_expansion_file(corpus, refused):
    """A control LoRA wants the first convolution to take in twice the channels."""
    tensors = {
        f"unet.{corpus.sample}.lora_A.weight": torch.ones(2, 16),
        f"unet.{corpus.sample}.lora_B.weight": torch.ones(16, 2),
        "unet.conv_in.lora_A.weight": torch.ones(2, 8, 3, 3),
        "unet.conv_in.lora_B.weight": torch.ones(16, 2, 1, 1),
    }
    error = refused(corpus.write(save(tensors)), AdapterMatchError)
    assert "widen the input" in error.what
    assert "16 x 4 x 3 x 3 in conv_in" in error.expected
    assert error.found == "16 x 8 x 3 x 3"


def test_a_small_file_that_unfolds_into_a_huge_one(corpus, refused):
    """A Kronecker product of two full factors has the rank of the whole layer."""
    tensors = {f"unet.{corpus.sample}.lokr_w1": torch.ones(4, 4), f"unet.{corpus.sample}.lokr_w2": torch.ones(4, 4)}
    error = refused(corpus.write(save(tensors)), limits=Limits(expanded_bytes=2047))
    assert "once its factors are written out" in error.what
    assert error.found == "2,048 bytes"


SCRIPT = "<script>alert(1)</script>\x1b[2J\x1b]0;owned\x07\u202egpj.exe\x00\r\n"


def test_metadata_and_names_of_a_stranger_are_text_and_short(corpus, target):
    metadata = {"modelspec.architecture": f"loom-pocket{SCRIPT}" + "A" * 10_000, "modelspec.title": SCRIPT}
    receipt = inspect_adapter(corpus.write(corpus.lora(metadata=metadata)), target)
    assert receipt.base_family == "pocket"
    assert len(receipt.base_family_why) < 200
    assert receipt.base_family_why.isprintable()


def test_keys_of_a_stranger_are_text_and_short(corpus, target, refused):
    key = f"unet.{SCRIPT}{'B' * 300}.lora_A.weight"
    tensors = {key: torch.ones(2, 16), f"unet.{corpus.sample}.lora_A.weight": torch.ones(2, 16)}
    tensors |= {f"unet.{corpus.sample}.lora_B.weight": torch.ones(16, 2), f"{SCRIPT}.what": torch.ones(1)}
    receipt = inspect_adapter(corpus.write(save(tensors)), target)
    ignored = [*receipt.components["denoiser"].ignored, *receipt.unknown_keys]
    assert len(ignored) == 2
    for each in ignored:
        assert each.name.isprintable()
        assert len(each.name) <= 200
        assert "\u202e" not in each.name
    del tensors[f"unet.{corpus.sample}.lora_A.weight"]
    refused(corpus.write(save(tensors)), AdapterMatchError)


def test_regular_expressions_in_metadata_are_never_run(corpus, refused):
    fields = {"unet.r": 2, "unet.lora_alpha": 2, "unet.alpha_pattern": {"(a|a)*" * 20 + "$": 4}}
    metadata = {"lora_adapter_metadata": json.dumps(fields)}
    assert "not a module name" in refused(corpus.write(corpus.lora(metadata=metadata))).found


def test_names_that_climb_or_deceive_are_only_names(corpus, target, tmp_path, subtests):
    """A file is read where it is, its name goes nowhere but into texts, and keys are never paths."""
    cases = ["../escape.safetensors", "..%2f..%2fetc", "a\tb.safetensors", "\u202egpj.safetensors"]
    for name in cases:
        with subtests.test(name=name):
            path = corpus.write(corpus.lora(), name.replace("/", "_"))
            before = sorted(tmp_path.rglob("*"))
            adapter = load_adapter(path, name=name, target=target)
            assert adapter.name == name
            assert adapter.receipt.file.isprintable()
            assert sorted(tmp_path.rglob("*")) == before
            tensors = {
                f"unet.../../{name}.lora_A.weight": torch.ones(2, 16),
                f"unet.../../{name}.lora_B.weight": torch.ones(16, 2),
            }
            with pytest.raises(AdapterMatchError):
                load_adapter(tensors, name="a", target=target)


def test_folders_pipes_and_missing_files(refused, tmp_path):
    folder = tmp_path / "folder.safetensors"
    folder.mkdir()
    assert refused(folder).found == "a folder"
    pipe = tmp_path / "pipe.safetensors"
    os.mkfifo(pipe)
    assert refused(pipe).found == "a device or pipe"
    assert refused(tmp_path / "missing.safetensors").found == "No such file or directory"
    with pytest.raises(AdapterFileError, match="cannot be opened"):
        read_header("nul\0byte")


def test_a_file_that_shrinks_while_it_is_read(corpus, target, monkeypatch):
    path = corpus.write(corpus.lora())
    size = path.stat().st_size
    path.write_bytes(corpus.lora()[:-4])
    monkeypatch.setattr("os.fstat", lambda _descriptor: type("Status", (), {"st_size": size})())
    with pytest.raises(AdapterFileError, match="changed while it was read"):
        load_adapter(path, name="a", target=target)


def test_no_changed_byte_of_a_header_gets_through_as_another_error(corpus, target):
    """Every third byte replaced by zero, a quote, a bracket and 0xff: a LoomError in plain text or a sound file."""
    content = bytearray(corpus.lora(alpha=1.0))
    path = corpus.write(b"")
    errors = []
    for position in range(0, 8 + int.from_bytes(content[:8], "little"), 3):
        for value in (0, 34, 91, 255):
            path.write_bytes(content[:position] + bytes([value]) + content[position + 1 :])
            try:
                load_adapter(path, name="a", target=target)
            except LoomError as error:
                errors.append(str(error))
    assert len(errors) > 100
    assert all(text.isprintable() for text in errors)


def test_magnitudes_without_a_dimension(corpus, refused):
    tensors = {
        f"unet.{corpus.sample}.lora_A.weight": torch.ones(2, 16),
        f"unet.{corpus.sample}.lora_B.weight": torch.ones(16, 2),
    }
    for name in ("lora_magnitude_vector", "dora_scale"):
        path = corpus.write(save(tensors | {f"unet.{corpus.sample}.{name}": torch.tensor(1.0)}))
        assert refused(path).found == "a tensor of shape []"
