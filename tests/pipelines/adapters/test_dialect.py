"""Every key is read by the dialect that knows it: files of two dialects, and what tools make of the names."""

import pytest
import torch

from lora_loom.pipelines.adapters.load import load_adapter
from lora_loom.pipelines.errors import AdapterMatchError

DOWN_UP = ("lora_down.weight", "lora_up.weight")
AB = ("lora_A.weight", "lora_B.weight")
TO_Q = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
OF_FLUX = "transformer_blocks.1.attn.to_q"
OF_CLIP = "encoder.layers.0.self_attn.q_proj"
FLAT = TO_Q.replace(".", "_")


def test_files_of_two_dialects(bases, lora, assert_same_deltas, subtests):
    clip = f"text_model.{OF_CLIP}"
    cases = [
        ("sd15", TO_Q, (f"lora_unet_{FLAT}", DOWN_UP), (f"text_encoder.{clip}", AB), "kohya and peft"),
        ("sd15", TO_Q, (f"unet.{TO_Q}", AB), (f"lora_te_{clip.replace('.', '_')}", DOWN_UP), "peft and kohya"),
        ("flux", OF_FLUX, (f"transformer.{OF_FLUX}", AB), (f"lora_te1.{clip}", AB), "peft and kohya"),
        ("flux", OF_FLUX, (f"transformer.{OF_FLUX}", AB), (f"clip_l.{clip}", DOWN_UP), "native and peft"),
    ]
    for family, path, denoiser, encoder, dialect in cases:
        with subtests.test(denoiser=denoiser[0], encoder=encoder[0]):
            base = bases[family]
            file = lora(base, {("denoiser", path): denoiser[0]}, parts=denoiser[1], alphas=[1.0])
            known = next(each for each in base.target.components["text_encoder"] if each.endswith(OF_CLIP))
            file = lora(base, {("text_encoder", known): encoder[0]}, parts=encoder[1], alphas=[4.0], into=file)
            adapter = load_adapter(file.tensors, name="a", target=base.target)
            assert set(adapter.receipt.dialect.split(" and ")) == set(dialect.split(" and "))
            assert adapter.receipt.complete
            assert_same_deltas(adapter, file.deltas)


def test_spellings_that_tools_leave(bases, lora, assert_same_deltas, subtests):
    cases = [
        ("flux", OF_FLUX, f"transformer._orig_mod.{OF_FLUX}", AB),
        ("flux", OF_FLUX, f"_orig_mod.{OF_FLUX}", AB),
        ("flux", OF_FLUX, f"transformer.{OF_FLUX}", DOWN_UP),
        ("flux", OF_FLUX, f"lora_transformer.{OF_FLUX}", DOWN_UP),
        ("flux", OF_FLUX, f"transformer.base_model.model.{OF_FLUX}", AB),
        ("flux", OF_FLUX, f"base_model.model.transformer.{OF_FLUX}", AB),
        ("flux", OF_FLUX, f"base_model.model.diffusion_model.{OF_FLUX}", AB),
        ("flux", OF_FLUX, f"diffusion_model.base_model.model.{OF_FLUX}", DOWN_UP),
        ("flux", OF_FLUX, OF_FLUX, DOWN_UP),
        ("sd15", TO_Q, TO_Q, DOWN_UP),
        ("sd15", TO_Q, f"lora_unet__orig_mod_{FLAT}", DOWN_UP),
        ("sd15", TO_Q, f"lora_unet_{FLAT.replace('_to_q', '.to_q')}", DOWN_UP),
    ]
    for family, path, stem, parts in cases:
        with subtests.test(stem=stem):
            base = bases[family]
            file = lora(base, {("denoiser", path): stem}, parts=parts, alphas=[1.0])
            adapter = load_adapter(file.tensors, name="a", target=base.target)
            assert adapter.receipt.complete
            assert_same_deltas(adapter, file.deltas)


def test_two_spellings_of_one_key_are_told(bases, lora):
    base = bases["flux"]
    file = lora(base, {("denoiser", OF_FLUX): f"transformer.{OF_FLUX}"}, parts=AB)
    twice = {key.replace("transformer.", "transformer._orig_mod.", 1): tensor for key, tensor in file.tensors.items()}
    receipt = load_adapter(file.tensors | twice, name="a", target=base.target).receipt
    assert {each.name for each in receipt.unknown_keys} in (twice.keys(), file.tensors.keys())
    assert receipt.num_matched == 1


def test_prefixes_of_strangers_are_still_no_lora(bases):
    tensors = {f"lora_prior_unet_{FLAT}.{part}": torch.ones(2, 2) for part in DOWN_UP}
    with pytest.raises(AdapterMatchError, match="holds no LoRA that Loom knows"):
        load_adapter(tensors, name="a", target=bases["sd15"].target)
