"""Which bases are trained on and which are refused, and that one in use comes back as it was."""

from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, is_initialized
from safetensors.torch import load_file

from lora_loom.pipelines.errors import BaseModelError, SettingError
from lora_loom.pipelines.training.lora import train_lora


def same(first, second):
    one, two = load_file(first), load_file(second)
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.long
def test_the_base_comes_back_unchanged(pipe, pictures, quick, tmp_path):
    parts = {"unet": pipe.unet, "text_encoder": pipe.text_encoder, "vae": pipe.vae}
    before = {name: {key: value.clone() for key, value in part.state_dict().items()} for name, part in parts.items()}
    pipe.vae.requires_grad_(False)
    config = dict(pipe.config)
    pipe.set_progress_bar_config(desc="mine")
    train_lora(
        replace(quick, text_encoder_learning_rate=1e-2, gradient_checkpointing=True),
        pictures,
        pipe,
        tmp_path / "x.safetensors",
    )
    for name, part in parts.items():
        after = part.state_dict()
        assert after.keys() == before[name].keys()
        assert all(torch.equal(after[key], before[name][key]) for key in after)
        assert not part.training
        assert {value.requires_grad for value in part.parameters()} == {name != "vae"}
    assert not pipe.unet.is_gradient_checkpointing
    assert dict(pipe.config) == config
    assert pipe._progress_bar_config == {"desc": "mine"}


@pytest.mark.parametrize("mixed_precision", ["bf16", "fp16"])
@pytest.mark.long
def test_half_precision_trains_and_the_next_run_may_be_another(make_pipe, pictures, quick, tmp_path, mixed_precision):
    train_lora(replace(quick, mixed_precision=mixed_precision), pictures, make_pipe(), tmp_path / "half.safetensors")
    train_lora(quick, pictures, make_pipe(), tmp_path / "full.safetensors")


def test_a_number_format_that_another_part_of_the_process_excludes_is_refused(pipe, pictures, quick, tmp_path):
    Accelerator(mixed_precision="no", cpu=True)
    try:
        with pytest.raises(SettingError, match="mixed_precision bf16 cannot be had here"):
            train_lora(replace(quick, mixed_precision="bf16"), pictures, pipe, tmp_path / "x.safetensors")
        assert is_initialized()  # it was not ours to drop
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.long
def test_xl_bases_train(xl_pipe, pictures, quick, tmp_path):
    settings = replace(quick, text_encoder_learning_rate=1e-2, prior_weight=1.0, prior_images=2)
    train_lora(settings, pictures, xl_pipe, tmp_path / "x.safetensors")
    components = {key.partition(".")[0] for key in load_file(tmp_path / "x.safetensors")}
    assert components == {"unet", "text_encoder", "text_encoder_2"}


@pytest.mark.long
def test_a_base_in_a_folder_is_opened(pipe, pictures, quick, tmp_path):
    pipe.save_pretrained(tmp_path / "base")
    train_lora(quick, pictures, tmp_path / "base", tmp_path / "x.safetensors")
    train_lora(quick, pictures, pipe, tmp_path / "y.safetensors")
    assert same(tmp_path / "x.safetensors", tmp_path / "y.safetensors")


def test_a_base_that_is_not_there_is_named(pictures, quick, tmp_path):
    with pytest.raises(BaseModelError, match=r"no base model .*nowhere"):
        train_lora(quick, pictures, tmp_path / "nowhere", tmp_path / "x.safetensors")


def test_other_families_and_inpainting_bases_are_refused(pipe, pictures, quick, tmp_path):
    with pytest.raises(BaseModelError, match=r"expected a Stable Diffusion 1, 2 or XL pipeline.*found object"):
        train_lora(quick, pictures, object(), tmp_path / "x.safetensors")
    pipe.unet.register_to_config(in_channels=9)
    with pytest.raises(BaseModelError, match=r"4 input channels.*found 9"):
        train_lora(quick, pictures, pipe, tmp_path / "x.safetensors")


def test_a_base_that_carries_adapters_is_refused(pipe, pictures, quick, tmp_path):
    train_lora(quick, pictures, pipe, tmp_path / "x.safetensors")
    pipe.load_lora_weights(tmp_path / "x.safetensors")
    with pytest.raises(BaseModelError, match="already carries adapters"):
        train_lora(quick, pictures, pipe, tmp_path / "y.safetensors")


def test_a_resolution_the_base_cannot_draw_is_refused(pipe, pictures, quick, tmp_path):
    with pytest.raises(BaseModelError, match=r"multiple of 4.*found 18"):
        train_lora(replace(quick, resolution=18), pictures, pipe, tmp_path / "x.safetensors")
