"""The names of ai-toolkit, ComfyUI and OneTrainer: the original code's paths with their dots."""

import torch

from lora_loom.pipelines.adapters.load import load_adapter


def test_original_flux_paths(bases, subtests):
    parts_cases = [("lora_A.weight", "lora_B.weight"), ("lora_down.weight", "lora_up.weight")]
    for prefix in ["diffusion_model.", "model.diffusion_model.", ""]:
        for parts in parts_cases:
            with subtests.test(prefix=prefix, parts=parts):
                base = bases["flux"]
                tensors = {}
                for stem, rows, columns in (
                    ("double_blocks.0.img_attn.qkv", 48, 16),
                    ("single_blocks.2.linear1", 112, 16),
                ):
                    tensors[f"{prefix}{stem}.{parts[0]}"] = torch.randn(2, columns)
                    tensors[f"{prefix}{stem}.{parts[1]}"] = torch.randn(rows, 2)
                receipt = load_adapter(tensors, name="a", target=base.target).receipt
                assert receipt.complete
                assert receipt.base_family == "flux"
                assert [path for path in receipt.components["denoiser"].matched if "single" in path] == [
                    f"single_transformer_blocks.2.{part}"
                    for part in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
                ]


def test_diffusers_paths_under_the_native_prefix(bases, lora, assert_same_deltas):
    base = bases["flux"]
    names = {("denoiser", path): f"diffusion_model.{path}" for path in base.target.components["denoiser"]}
    file = lora(base, names, parts=("lora_A.weight", "lora_B.weight"))
    assert_same_deltas(load_adapter(file.tensors, name="a", target=base.target), file.deltas)


def test_sgm_paths_with_dots(bases, lora, assert_same_deltas):
    base = bases["sdxl"]
    path = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_v"
    stem = "diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_v"
    file = lora(base, {("denoiser", path): stem}, parts=("lora_A.weight", "lora_B.weight"), alphas=[1.0])
    assert_same_deltas(load_adapter(file.tensors, name="a", target=base.target), file.deltas)


def test_text_encoders(bases, lora, assert_same_deltas, subtests):
    cases = [
        ("flux", "text_encoders.clip_l.transformer.", "text_encoder"),
        ("flux", "text_encoders.t5xxl.transformer.", "text_encoder_2"),
        ("sdxl", "text_encoders.clip_g.transformer.", "text_encoder_2"),
        ("sd3", "text_encoders.t5xxl.transformer.", "text_encoder_3"),
        ("sd3", "clip_l.", "text_encoder"),
        ("sd3", "t5.", "text_encoder_3"),
    ]  # fmt: skip
    for family, prefix, component in cases:
        with subtests.test(family=family, prefix=prefix, component=component):
            base = bases[family]
            paths = [path for path in base.target.components[component] if ".layers." in path or ".layer." in path]
            clip = prefix.endswith(("transformer.", "clip_l.", "clip_g.")) and "t5" not in prefix
            outer = "text_model." if clip else ""
            names = {(component, path): f"{prefix}{outer}{path.removeprefix('text_model.')}" for path in paths}
            file = lora(base, names)
            adapter = load_adapter(file.tensors, name="a", target=base.target)
            assert adapter.receipt.complete
            assert_same_deltas(adapter, file.deltas)


def test_full_differences_and_biases_are_named_with_the_reason(bases, lora):
    base = bases["flux"]
    stem = "diffusion_model.double_blocks.0.img_attn.proj"
    file = lora(base, {("denoiser", "transformer_blocks.0.attn.to_out.0"): stem})
    file.tensors |= {
        f"{stem}.diff_b": torch.ones(16),
        "diffusion_model.double_blocks.0.txt_attn.proj.diff": torch.ones(16, 16),
        "diffusion_model.double_blocks.0.img_attn.norm.query_norm.w_norm": torch.ones(8),
        "diffusion_model.double_blocks.1.img_attn.proj.diff_b": torch.zeros(16),
        "diffusion_model.guidance": torch.ones(3),
    }
    receipt = load_adapter(file.tensors, name="a", target=base.target).receipt
    assert not receipt.complete
    assert {each.name: each.reason for each in receipt.components["denoiser"].ignored} == {
        f"{stem}.diff_b": "bias: a bias is not a low-rank update",
        "double_blocks.0.txt_attn.proj": "full: a full weight or difference is not low-rank",
        "double_blocks.0.img_attn.norm.query_norm": "norm: a change of a normalisation layer is not low-rank",
        "double_blocks.1.img_attn.proj": "bias: a bias is not a low-rank update",
    }
    assert [each.name for each in receipt.unknown_keys] == ["diffusion_model.guidance"]


def test_a_bias_of_zeros_loses_nothing(bases, lora):
    base = bases["flux"]
    stem = "diffusion_model.double_blocks.0.img_attn.proj"
    file = lora(base, {("denoiser", "transformer_blocks.0.attn.to_out.0"): stem})
    file.tensors[f"{stem}.diff_b"] = torch.zeros(16)
    (ignored,) = load_adapter(file.tensors, name="a", target=base.target).receipt.components["denoiser"].ignored
    assert ignored.reason == "bias: all zeros, so nothing is lost"
