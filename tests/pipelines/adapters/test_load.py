"""Loading as a whole: receipts to the letter, files for another base, and what stays the same around it."""

import json
from types import SimpleNamespace

import pytest
import torch

from lora_loom.pipelines.adapters.load import BaseTarget, inspect_adapter, load_adapter
from lora_loom.pipelines.adapters.receipt import Ignored, WrongShape
from lora_loom.pipelines.errors import AdapterFileError, AdapterMatchError

TO_Q = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
TO_K = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k"
FC1 = "encoder.layers.0.mlp.fc1"


@pytest.fixture
def partly(bases, lora):
    """Two modules that fit, one of another width, one for a layer and one for an encoder that the base has not."""
    base = bases["sd15"]
    names = {("denoiser", TO_Q): f"unet.{TO_Q}", ("text_encoder", FC1): f"text_encoder.text_model.{FC1}"}
    file = lora(base, names, parts=("lora_A.weight", "lora_B.weight"), ranks=[2, 4], alphas=[1.0, 4.0])
    for stem, inputs in ((f"unet.{TO_K}", 99), ("unet.mid_block.gone", 16), ("text_encoder_2.text_model.fc", 16)):
        file.tensors |= {f"{stem}.lora_A.weight": torch.randn(3, inputs), f"{stem}.lora_B.weight": torch.randn(16, 3)}
    file.tensors["unet.something"] = torch.ones(2)
    return file


def test_the_receipt_of_a_file_that_fits_in_part_is_exact(bases, partly, tmp_path, assert_same_deltas):
    path = partly.save(tmp_path / "partly.safetensors", {"modelspec.architecture": "loom-pocket/lora"})
    adapter = load_adapter(path, name="me", target=bases["sd15"].target)
    assert_same_deltas(adapter, partly.deltas)
    receipt = adapter.receipt
    assert (receipt.file, receipt.dialect, receipt.base_family) == ("partly.safetensors", "peft", "pocket")
    assert receipt.base_family_why == "its modelspec.architecture is loom-pocket/lora"
    assert receipt.sha256 == adapter.sha256
    denoiser, first, second = (receipt.components[name] for name in ("denoiser", "text_encoder", "text_encoder_2"))
    assert denoiser.matched == (TO_Q,)
    assert denoiser.ignored == (Ignored("mid_block.gone", "the base has no such module"),)
    assert denoiser.wrong_shape == (WrongShape(TO_K, (16, 99), (16, 16)),)
    assert (denoiser.rank, denoiser.alpha, denoiser.scale, denoiser.kinds) == (
        (2, 2),
        (1.0, 1.0),
        (0.5, 0.5),
        {"lora": 1},
    )
    assert (first.matched, first.rank, first.scale) == ((FC1,), (4, 4), (1.0, 1.0))
    assert second.ignored == (Ignored("text_model.fc", "the base has no text_encoder_2"),)
    assert receipt.unknown_keys == (Ignored("unet.something", "no part of a LoRA in peft names"),)
    assert (receipt.num_matched, receipt.complete) == (2, False)
    assert receipt.summary() == (
        "peft, pocket: 1 module of denoiser, 1 module of text_encoder, 3 ignored, 1 of another shape"
    )


def test_a_receipt_is_json(bases, partly, tmp_path):
    fields = inspect_adapter(partly.save(tmp_path / "a.safetensors"), bases["sd15"].target).to_dict()
    assert json.loads(json.dumps(fields)) == fields
    assert fields["components"]["denoiser"]["wrong_shape"] == [
        {"path": TO_K, "file_shape": [16, 99], "base_shape": [16, 16]}
    ]
    assert fields["num_matched"] == 2


def test_without_a_base_the_receipt_tells_what_the_file_holds(partly, tmp_path):
    receipt = inspect_adapter(partly.save(tmp_path / "a.safetensors"))
    assert receipt.target_family == ""
    assert set(receipt.components["denoiser"].matched) == {TO_Q, TO_K, "mid_block.gone"}
    assert receipt.components["denoiser"].rank == (2, 3)


def test_inspection_also_answers_for_files_that_loading_refuses(bases, lora, tmp_path):
    target = bases["sd15"].target
    file = lora(bases["sd15"], {("denoiser", TO_Q): f"unet.{TO_Q}"}, parts=("lora_A.weight", "lora_B.weight"))
    file.tensors[f"unet.{TO_Q}.lora_A.weight"][0, 0] = float("nan")
    receipt = inspect_adapter(file.save(tmp_path / "nan.safetensors"), target)
    assert receipt.components["denoiser"].non_finite == (f"unet.{TO_Q}.lora_A.weight",)
    assert not receipt.complete


def test_an_sdxl_file_on_the_pocket_base_names_both_shapes(bases):
    """The names of SDXL's middle attention exist in a U-Net of SD1 build, its widths do not."""
    stem = "lora_unet_middle_block_1_transformer_blocks_0_attn2_to_k"
    tensors = {f"{stem}.lora_down.weight": torch.randn(8, 2048), f"{stem}.lora_up.weight": torch.randn(1280, 8)}
    tensors |= {
        "lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": torch.randn(8, 768),
        "lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": torch.randn(3072, 8),
    }
    with pytest.raises(AdapterMatchError) as caught:
        load_adapter(tensors, name="a", target=bases["sd15"].target)
    text = str(caught.value)
    assert "expected a LoRA for the pocket family" in text
    assert "found one for the sdxl family (its U-Net attends to a text of width 2048)" in text
    assert f"{TO_K} 1280 x 2048 instead of 16 x 16" in text
    assert "Choose a sdxl base model" in text


def test_a_file_of_another_family_is_refused_even_where_some_layers_fit(bases, lora):
    """SD1 and SD2 share self-attention widths: half such a LoRA is not a LoRA."""
    base = bases["sd15"]
    file = lora(base, {("denoiser", TO_Q): f"unet.{TO_Q}"}, parts=("lora_A.weight", "lora_B.weight"))
    file.tensors |= {
        f"unet.{TO_K}.lora_A.weight": torch.randn(2, 768),
        f"unet.{TO_K}.lora_B.weight": torch.randn(16, 2),
    }
    with pytest.raises(AdapterMatchError, match="one for the sd15 family"):
        load_adapter(file.tensors, name="a", target=base.target)


def test_a_file_that_matches_nothing_lists_its_first_keys_and_both_families(bases):
    tensors = {
        f"lora_unet_double_blocks_{block}_img_attn_qkv.lora_{side}.weight": torch.randn(4, 4)
        for block in range(3)
        for side in ("down", "up")
    }
    with pytest.raises(AdapterMatchError) as caught:
        load_adapter(tensors, name="a", target=bases["sd15"].target)
    text = str(caught.value)
    assert "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight" in text
    assert "the flux family" in text
    assert "the pocket family, with modules such as conv_in" in text
    assert "the base has no such module" in text


def test_files_without_any_lora(bases, subtests):
    cases = [
        ["model.diffusion_model.input_blocks.0.0.weight", "first_stage_model.decoder.conv_in.weight"],
        ["emb_params"],
        [],
    ]  # fmt: skip
    for keys in cases:
        with (
            subtests.test(keys=keys),
            pytest.raises(
                AdapterMatchError, match=r"holds no LoRA that Loom knows.*dialects diffusers-old, kohya, native"
            ),
        ):
            load_adapter({key: torch.ones(2, 2) for key in keys}, name="a", target=bases["sd15"].target)


def test_one_layer_under_two_names_is_refused(bases):
    base = bases["sdxl"]
    path = "down_blocks.1.attentions.0.proj_in"
    out, inputs = base.target.components["denoiser"][path].weight
    tensors = {}
    for stem in (path, "input_blocks.4.1.proj_in"):
        tensors[f"unet.{stem}.lora_A.weight"] = torch.randn(2, inputs)
        tensors[f"unet.{stem}.lora_B.weight"] = torch.randn(out, 2)
    with pytest.raises(AdapterFileError, match=f"two updates for one module: expected one for {path}"):
        load_adapter(tensors, name="a", target=base.target)


def test_a_file_that_would_widen_the_input_is_refused(bases):
    inputs = bases["flux"].target.components["denoiser"]["x_embedder"].weight[1]
    tensors = {}
    for stem, columns in (("x_embedder", 2 * inputs), ("single_transformer_blocks.0.attn.to_q", 16)):
        tensors[f"transformer.{stem}.lora_A.weight"] = torch.randn(2, columns)
        tensors[f"transformer.{stem}.lora_B.weight"] = torch.randn(16, 2)
    with pytest.raises(
        AdapterMatchError, match=rf"widen the input.*16 x {inputs} in x_embedder.*found 16 x {2 * inputs}"
    ):
        load_adapter(tensors, name="a", target=bases["flux"].target)


def test_the_layers_come_from_any_pipeline_and_no_weight_is_touched(fresh):
    models = fresh("sdxl")
    pipe = SimpleNamespace(
        unet=models["denoiser"], text_encoder=models["text_encoder"], text_encoder_2=models["text_encoder_2"]
    )
    target = BaseTarget.from_pipeline(pipe)
    assert target.family == "sdxl"
    assert list(target.components) == ["denoiser", "text_encoder", "text_encoder_2"]
    with torch.device("meta"):
        assert BaseTarget.from_modules({name: model.to("meta") for name, model in models.items()}) == target


def test_factors_are_float32_and_own_their_scale(bases, lora):
    base = bases["sd15"]
    file = lora(base, {("denoiser", TO_Q): f"unet.{TO_Q}"}, parts=("lora_A.weight", "lora_B.weight"), alphas=[0.5])
    halves = {key: value.half() for key, value in file.tensors.items()}
    factors = load_adapter(halves, name="a", target=base.target).denoiser[TO_Q]
    assert factors.down.dtype == factors.up.dtype == torch.float32
    torch.testing.assert_close(factors.up, 0.25 * halves[f"unet.{TO_Q}.lora_B.weight"].float())
