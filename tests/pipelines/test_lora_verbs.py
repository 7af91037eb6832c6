"""diffusers' verbs over LoRAs that lie beside the model."""

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from lora_loom.pipelines.errors import (
    AdapterFileError,
    AdapterMatchError,
    LoomWarning,
    RequestError,
    UnknownAdapterError,
)
from lora_loom.pipelines.families import FusionPipeline
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.requests.control import Region


@pytest.fixture
def pipe(pipes):
    made = FusionPipeline.from_pipe(pipes("sd15"))
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture
def loras(three_loras):
    return three_loras("sd15")


@pytest.fixture
def loaded(pipe, loras):
    for name, tensors in loras.items():
        pipe.load_lora_weights(tensors, adapter_name=name)
    return pipe


def test_the_lora_loaded_last_is_active_until_told_otherwise(loaded):
    assert loaded.get_active_adapters() == ["fog"]
    loaded.set_adapters("ink", 0.5)
    assert loaded.get_active_adapters() == ["ink"]
    assert loaded.plan().text_passes == ({"ink": 0.5},)
    loaded.set_adapters(["fog", "fox"])
    assert loaded.plan().text_passes == ({"fog": 1.0, "fox": 1.0},)


def test_loras_are_listed_by_component(loaded):
    listed = {"unet": ["fox", "ink", "fog"], "text_encoder": ["fox", "ink"]}
    assert loaded.get_list_adapters() == listed


def test_names_are_made_where_none_is_given(pipe, loras):
    pipe.load_lora_weights(loras["fox"])
    pipe.load_lora_weights(loras["ink"])
    assert list(pipe.adapters) == ["default_0", "default_1"]
    pipe.delete_adapters("default_0")
    pipe.load_lora_weights(loras["fox"])
    assert list(pipe.adapters) == ["default_1", "default_2"]


def test_disabled_loras_leave_the_base(loaded, pipes, draw):
    loaded.set_adapters("fog")
    loaded.disable_lora()
    assert loaded.get_active_adapters() == ["fog"]
    assert torch.equal(draw(loaded), draw(pipes("sd15")))
    loaded.enable_lora()
    assert not torch.equal(draw(loaded), draw(pipes("sd15")))


def test_deleted_loras_are_forgotten(loaded, draw):
    loaded.set_adapters(["fox", "ink", "fog"])
    draw(loaded)
    loaded.delete_adapters("ink")
    assert loaded.get_active_adapters() == ["fox", "fog"]
    assert list(loaded.bank.adapters) == ["fox", "fog"]
    loaded.unload_lora_weights()
    assert loaded.get_list_adapters() == {}
    assert not loaded.bank.adapters


@pytest.mark.parametrize("where", ["file", "folder", "named"])
def test_a_lora_is_read_from_a_file(pipe, loras, tmp_path, where):
    path = tmp_path / "fox.safetensors"
    save_file(loras["fox"], path)
    if where == "named":
        save_file(loras["ink"], tmp_path / "ink.safetensors")
    source = path if where == "file" else tmp_path
    pipe.load_lora_weights(source, adapter_name="fox", weight_name="fox.safetensors" if where == "named" else None)
    assert pipe.adapters["fox"].receipt.file == "fox.safetensors"


def test_a_folder_of_several_wants_a_name(pipe, loras, tmp_path):
    for name in ("fox", "ink"):
        save_file(loras[name], tmp_path / f"{name}.safetensors")
    with pytest.raises(AdapterFileError, match=r"weight_name.*fox\.safetensors, ink\.safetensors"):
        pipe.load_lora_weights(tmp_path)


def test_a_path_that_leads_nowhere_says_so(pipe, tmp_path):
    with pytest.raises(AdapterFileError, match="no LoRA at"):
        pipe.load_lora_weights(tmp_path / "fox.safetensors")


def test_a_lora_of_another_base_is_refused_and_not_kept(pipe, three_loras):
    with pytest.raises(AdapterMatchError):
        pipe.load_lora_weights(three_loras("flux")["fog"], adapter_name="fog")
    assert pipe.get_active_adapters() == []


def test_names_must_be_new_known_and_paired(loaded, loras):
    with pytest.raises(RequestError, match="loaded already"):
        loaded.load_lora_weights(loras["fox"], adapter_name="fox")
    with pytest.raises(UnknownAdapterError, match=r"'owl'.*fox, ink, fog"):
        loaded.set_adapters(["fox", "owl"])
    with pytest.raises(UnknownAdapterError, match="'owl'"):
        loaded.delete_adapters("owl")
    with pytest.raises(RequestError, match="2 strengths for fox, ink"):
        loaded.set_adapters(["fox", "ink"], [1.0])


def test_controls_say_where_when_and_in_which_layers_a_lora_acts(loaded):
    box, painted = (0, 0, 0.5, 1), Image.new("L", (8, 8), 255)
    controls = {"fox": {"blocks": {"style": 0.5}, "curve": [(0, 0), (0.3, 1)], "region": box}, "ink": {"exempt": True}}
    loaded.set_adapters(["fox", "ink"], [0.8, None], controls=controls)
    fox = AdapterChoice("fox", 0.8, {"style": 0.5}, ((0.0, 0.0), (0.3, 1.0)), Region(box=box))
    assert loaded.loaded.choices == [fox, AdapterChoice("ink", exempt=True)]
    loaded.set_adapters("fox", controls={"fox": {"region": painted}})
    assert loaded.loaded.choices == [AdapterChoice("fox", region=Region.painted(painted))]
    with pytest.raises(RequestError, match="controls for ink"):
        loaded.set_adapters("fox", controls={"ink": {"exempt": True}})
    with pytest.raises(RequestError, match="unknown keys"):
        loaded.set_adapters("fox", controls={"fox": {"layers": {}}})


def test_who_draws_by_default_is_said_once(loaded, draw):
    with pytest.warns(LoomWarning, match=r"only fog draws.*'fox', 'ink', 'fog'"):
        draw(loaded)
    draw(loaded)


def test_a_lora_is_found_in_a_subfolder(pipe, loras, tmp_path):
    (tmp_path / "loras").mkdir()
    save_file(loras["fox"], tmp_path / "loras" / "fox.safetensors")
    pipe.load_lora_weights(tmp_path, adapter_name="fox", subfolder="loras")
    assert list(pipe.adapters) == ["fox"]


def test_weights_by_component_that_cannot_be_met_are_refused(loaded):
    for weight, words in (
        ({"down": 0.5}, "does not have"),
        ({"unet": {"down_blocks.1": 0.5}}, "down"),
        ({"unet": "much"}, "a number"),
        ({"unet": {"up": {"block_9": "x"}}}, "up.block_9"),
    ):
        with pytest.raises(RequestError, match=words):
            loaded.set_adapters("fox", weight)


def test_text_encoders_act_alike_or_not_at_all(pipes, three_loras):
    made = FusionPipeline.from_pipe(pipes("sdxl"))
    made.load_lora_weights(three_loras("sdxl")["fox"], adapter_name="fox")
    made.set_adapters("fox", {"unet": 0.5, "text_encoder": 0.25, "text_encoder_2": 0.25})
    assert made.loaded.choices == [AdapterChoice("fox", 0.5, blocks={"text": 0.5})]
    with pytest.raises(RequestError, match="unlike in each text encoder"):
        made.set_adapters("fox", {"unet": 0.5, "text_encoder": 0.25})


def test_fusing_into_the_weights_is_not_offered(loaded):
    with pytest.raises(RequestError, match="merge"):
        loaded.fuse_lora()
