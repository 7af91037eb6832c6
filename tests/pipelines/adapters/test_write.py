"""Writing: round trips through both layouts, what diffusers makes of our files, metadata, and a full disk."""

import errno
import hashlib
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from lora_loom.pipelines.adapters.factors import Magnitude
from lora_loom.pipelines.adapters.load import load_adapter
from lora_loom.pipelines.adapters.safetensors_file import read_header
from lora_loom.pipelines.adapters.write import save_adapter
from lora_loom.pipelines.errors import AdapterMatchError, OutputError

PREFIX = {"sd15": "unet", "sdxl": "unet", "sd3": "transformer", "flux": "transformer"}


@pytest.fixture
def adapter_on(bases, lora):
    """An adapter with mixed ranks on every tenth layer of the denoiser and some layers of every text encoder."""

    def make(family: str, *, ranks=(2, 3)):
        base = bases[family]
        paths = [path for path in base.target.components["denoiser"] if path != "proj_out"][::10]
        names = {("denoiser", path): f"{PREFIX[family]}.{path}" for path in paths}
        for component, layers in base.target.components.items():
            if component != "denoiser":
                some = [path for path in layers if ".layers." in path or ".layer." in path][::3]
                names |= {(component, path): f"{component}.{path}" for path in some}
        file = lora(base, names, parts=("lora_A.weight", "lora_B.weight"), ranks=ranks, alphas=[4.0])
        return load_adapter(file.tensors, name="robe", target=base.target)

    return make


def deltas_of(adapter):
    return {(name, path): each.delta() for name, of in adapter.components.items() for path, each in of.items()}


def test_what_is_written_reads_back_the_same(bases, adapter_on, tmp_path, assert_same_deltas, subtests):
    for layout in ["peft", "kohya"]:
        for family in list(PREFIX):
            with subtests.test(layout=layout, family=family):
                adapter = adapter_on(family)
                path = tmp_path / "new" / "robe.safetensors"
                digest = save_adapter(adapter, path, layout=layout)
                again = load_adapter(path, name="robe", target=bases[family].target)
                assert again.sha256 == digest == hashlib.sha256(path.read_bytes()).hexdigest()
                assert again.receipt.complete
                assert again.receipt.dialect == layout
                assert_same_deltas(again, deltas_of(adapter))
                assert {path.name for path in path.parent.iterdir()} == {"robe.safetensors"}


@pytest.mark.long
def test_diffusers_reads_our_files_as_the_same_updates(
    adapter_on, tmp_path, diffusers_deltas, assert_same_deltas, subtests
):
    cases = [("sd15", "peft"), ("sd15", "kohya"), ("sdxl", "peft"), ("flux", "peft")]
    for family, layout in cases:
        with subtests.test(family=family, layout=layout):
            # One rank for kohya's: with several, diffusers mistakes the names of its alphas and warns of dropping them.
            adapter = adapter_on(family, ranks=(2,) if layout == "kohya" else (2, 3))
            path = tmp_path / "robe.safetensors"
            save_adapter(adapter, path, layout=layout)
            without_t5 = {key: value for key, value in load_file(path).items() if ".layer." not in key}
            deltas, _ = diffusers_deltas(family, without_t5)
            assert deltas.keys() == {key for key in deltas_of(adapter) if ".layer." not in key[1]}
            for key, delta in deltas.items():
                torch.testing.assert_close(adapter.components[key[0]][key[1]].delta(), delta, atol=1e-5, rtol=1e-5)


def test_the_configuration_in_the_header_is_one_that_diffusers_takes(
    adapter_on, tmp_path, diffusers_deltas, header_of, assert_same_deltas
):
    adapter = adapter_on("sd15")
    path = tmp_path / "robe.safetensors"
    save_adapter(adapter, path)
    fields = json.loads(header_of(path)["__metadata__"]["lora_adapter_metadata"])
    deltas, _ = diffusers_deltas("sd15", load_file(path), metadata=fields)
    assert_same_deltas(adapter, deltas)


def test_the_three_families_of_metadata(adapter_on, tmp_path):
    path = tmp_path / "robe.safetensors"
    extra = {"modelspec.trigger_phrase": "<t01>", "modelspec.title": "A red robe"}
    save_adapter(adapter_on("sd15", ranks=(2,)), path, layout="kohya", metadata=extra)
    metadata = read_header(path).metadata
    data = path.read_bytes()
    data = data[8 + int.from_bytes(data[:8], "little") :]
    digest = hashlib.sha256(data).hexdigest()
    assert metadata["modelspec.sai_model_spec"] == "1.0.1"
    assert metadata["modelspec.architecture"] == "loom-pocket/lora"
    assert metadata["modelspec.title"] == "A red robe"
    assert metadata["modelspec.trigger_phrase"] == "<t01>"
    assert metadata["modelspec.hash_sha256"] == f"0x{digest}"
    assert metadata["sshs_model_hash"] == digest
    assert (metadata["ss_network_module"], metadata["ss_network_dim"]) == ("networks.lora", "2")
    assert metadata["ss_output_name"] == "robe"
    assert "lora_adapter_metadata" not in metadata


def test_mixed_ranks_are_dynamic_in_kohyas_words(adapter_on, tmp_path):
    save_adapter(adapter_on("sd15"), tmp_path / "a.safetensors", layout="kohya")
    assert read_header(tmp_path / "a.safetensors").metadata["ss_network_dim"] == "Dynamic"


def test_half_precision_on_request(adapter_on, tmp_path):
    save_adapter(adapter_on("sd15"), tmp_path / "a.safetensors", dtype=torch.float16)
    assert {entry.dtype for entry in read_header(tmp_path / "a.safetensors").entries.values()} == {"F16"}


def test_a_dora_is_not_written_as_something_else(adapter_on, tmp_path):
    adapter = adapter_on("sd15")
    path, factors = next(iter(adapter.denoiser.items()))
    changed = {**adapter.denoiser, path: replace(factors, magnitude=Magnitude(torch.ones(len(factors.up))))}
    with pytest.raises(AdapterMatchError, match="is a DoRA"):
        save_adapter(replace(adapter, denoiser=changed), tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


def test_the_same_adapter_writes_the_same_bytes(adapter_on, tmp_path):
    adapter = adapter_on("sd15")
    assert save_adapter(adapter, tmp_path / "a.safetensors") == save_adapter(adapter, tmp_path / "b.safetensors")


@pytest.mark.parametrize("existing", [b"the old file", None])
def test_a_full_disk_leaves_no_half_file_and_the_old_one_whole(adapter_on, tmp_path, monkeypatch, existing):
    adapter, path = adapter_on("sd15"), tmp_path / "robe.safetensors"
    if existing:
        path.write_bytes(existing)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match=r"robe.safetensors could not be written.*No space left on device"):
        save_adapter(adapter, path)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == ([existing] if existing else [])
