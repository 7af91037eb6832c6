"""The names of diffusers before PEFT, against diffusers' own conversion of them."""

import pytest

from lora_loom.pipelines.adapters.load import load_adapter

TO_OLD = {"to_q": "to_q_lora", "to_k": "to_k_lora", "to_v": "to_v_lora", "to_out.0": "to_out_lora"}


def processor_names(base) -> dict[tuple[str, str], str]:
    names = {}
    for path in base.target.components["denoiser"]:
        for attention in (".attn1.", ".attn2."):
            block, found, layer = path.partition(attention)
            if found:
                names["denoiser", path] = f"unet.{block}{attention}processor.{TO_OLD[layer]}"
    return names


def text_names(base, spelling: str) -> dict[tuple[str, str], str]:
    names = {}
    for path in base.target.components["text_encoder"]:
        block, found, layer = path.partition(".self_attn.")
        if found:
            old = {"q_proj": "to_q_lora", "k_proj": "to_k_lora", "v_proj": "to_v_lora", "out_proj": "to_out_lora"}[
                layer
            ]
            stem = f"text_encoder.text_model.{block}.self_attn."
            names["text_encoder", path] = stem + (old if spelling == "to_q_lora" else f"{layer}.lora_linear_layer")
    return names


@pytest.mark.parametrize("spelling", ["to_q_lora", "lora_linear_layer"])
def test_attention_processors_equal_diffusers(bases, lora, diffusers_deltas, assert_same_deltas, spelling):
    base = bases["sd15"]
    file = lora(base, processor_names(base) | text_names(base, spelling), parts=("down.weight", "up.weight"), ranks=[3])
    adapter = load_adapter(file.tensors, name="a", target=base.target)
    assert adapter.receipt.dialect == "diffusers-old"
    assert adapter.receipt.complete
    assert len(adapter.receipt.components["denoiser"].matched) == 16 * 8
    assert_same_deltas(adapter, file.deltas)
    deltas, _ = diffusers_deltas("sd15", file.tensors)
    assert_same_deltas(adapter, deltas)


def test_lora_down_and_up_under_the_modules_own_name(bases, lora, assert_same_deltas, subtests):
    for family, prefix in [("sd15", "unet."), ("sd15", ""), ("sd3", "transformer.")]:
        with subtests.test(family=family, prefix=prefix):
            base = bases[family]
            paths = [path for path in base.target.components["denoiser"] if ".attn" in path][::5]
            names = {("denoiser", path): f"{prefix}{path}" for path in paths}
            file = lora(base, names, parts=("lora.down.weight", "lora.up.weight"), ranks=[2, 4])
            adapter = load_adapter(file.tensors, name="a", target=base.target)
            assert adapter.receipt.dialect == "diffusers-old"
            assert_same_deltas(adapter, file.deltas)


def test_two_old_names_for_one_module_are_both_named(bases, lora):
    base = bases["sd15"]
    path = next(path for path in base.target.components["denoiser"] if path.endswith("attn1.to_q"))
    stem = path.removesuffix(".to_q")
    names = {("denoiser", path): f"unet.{stem}.processor.to_q_lora"}
    file = lora(base, names, parts=("down.weight", "up.weight"))
    lora(base, {("denoiser", path): f"unet.{path}"}, parts=("lora.down.weight", "lora.up.weight"), into=file)
    receipt = load_adapter(file.tensors, name="a", target=base.target).receipt
    assert receipt.num_matched == 1
    assert len(receipt.unknown_keys) == 2
