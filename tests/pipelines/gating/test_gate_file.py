"""A gate survives its file, and a file that is no gate, or is one of another base, is a clear error."""

import pytest
import torch
from safetensors.torch import save_file

from lora_loom.pipelines.errors import AdapterFileError, BaseModelError, SettingError
from lora_loom.pipelines.gating import gate_file
from lora_loom.pipelines.gating.channel_gate import ChannelGate
from lora_loom.pipelines.gating.gate_file import find_gate, load_gate, save_gate
from lora_loom.pipelines.gating.rank_gate import RankGate


@pytest.mark.parametrize(("kind", "cls"), [("rank", RankGate), ("channel", ChannelGate)])
def test_it_comes_back_as_it_was(pipes, loud_gate, tmp_path, kind, cls):
    gate = loud_gate(pipes("sd15"), kind)
    save_gate(tmp_path / "mine.safetensors", gate, base="tiny", family="sd15", metadata={"steps": "7"})
    file = load_gate(tmp_path / "mine.safetensors")
    assert (file.name, file.base, file.family, file.metadata["steps"]) == ("mine", "tiny", "sd15", "7")
    assert isinstance(file.gate, cls)
    assert not any(value.requires_grad for value in file.gate.parameters())
    expected = gate.state_dict()
    assert list(file.gate.state_dict()) == list(expected)
    assert all(torch.equal(value, expected[name]) for name, value in file.gate.state_dict().items())
    assert file.gate.layers.rows == gate.layers.rows
    assert file.gate.layers.widths == gate.layers.widths
    assert torch.equal(file.gate.layers.fingerprints, gate.layers.fingerprints)


def test_a_file_that_is_no_gate(tmp_path):
    save_file({"unet.a.lora_A.weight": torch.zeros(2, 2)}, tmp_path / "lora.safetensors")
    with pytest.raises(SettingError, match="holds no gate"):
        load_gate(tmp_path / "lora.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"not at all")
    with pytest.raises(AdapterFileError):
        load_gate(tmp_path / "broken.safetensors")


def test_weights_of_other_shapes(pipes, loud_gate, tmp_path):
    gate = loud_gate(pipes("sd15"))
    gate.voice = torch.nn.Parameter(torch.zeros(5))
    save_gate(tmp_path / "odd.safetensors", gate, base="tiny", family="sd15")
    with pytest.raises(SettingError, match=r"holds no gate.*voice"):
        load_gate(tmp_path / "odd.safetensors")


def test_a_gate_is_found_by_name_or_path(monkeypatch, tmp_path):
    (tmp_path / "pocket.safetensors").write_bytes(b"")
    monkeypatch.setattr(gate_file, "shipped_gates", lambda: {"pocket": tmp_path / "pocket.safetensors"})
    assert find_gate("pocket") == tmp_path / "pocket.safetensors"
    assert find_gate(str(tmp_path / "pocket.safetensors")) == tmp_path / "pocket.safetensors"
    with pytest.raises(SettingError, match=r"no gate 'pockt'.*Did you mean 'pocket'"):
        find_gate("pockt")


def test_the_error_for_another_base_names_both(pipes, loud_gate, tmp_path):
    save_gate(tmp_path / "g.safetensors", loud_gate(pipes("sd15")), base="tiny", family="sd15")
    error = gate_file.wrong_base(load_gate(tmp_path / "g.safetensors"), "mid_block.x")
    assert isinstance(error, BaseModelError)
    assert all(part in str(error) for part in ("gate g", "tiny (sd15)", "mid_block.x", "loom train gate"))
