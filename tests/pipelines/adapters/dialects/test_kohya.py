"""kohya's names on every family: against diffusers' own loader where it reads them, else against known names."""

import re

import pytest
import torch
from diffusers import FluxPipeline, FluxTransformer2DModel

from lora_loom.pipelines.adapters.factors import LoraFactors
from lora_loom.pipelines.adapters.load import BaseTarget, load_adapter

# Pairs as they stand in files of sd-scripts, and the layers that they train.
SGM_NAMES = {
    "input_blocks_0_0": "conv_in",
    "input_blocks_1_0_in_layers_2": "down_blocks.0.resnets.0.conv1",
    "input_blocks_2_0_emb_layers_1": "down_blocks.0.resnets.1.time_emb_proj",
    "input_blocks_3_0_op": "down_blocks.0.downsamplers.0.conv",
    "input_blocks_4_0_skip_connection": "down_blocks.1.resnets.0.conv_shortcut",
    "input_blocks_4_1_proj_in": "down_blocks.1.attentions.0.proj_in",
    "input_blocks_4_1_transformer_blocks_1_attn2_to_k": "down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_k",
    "input_blocks_8_1_transformer_blocks_9_ff_net_2": "down_blocks.2.attentions.1.transformer_blocks.9.ff.net.2",
    "middle_block_0_out_layers_3": "mid_block.resnets.0.conv2",
    "middle_block_1_transformer_blocks_5_attn1_to_out_0": "mid_block.attentions.0.transformer_blocks.5.attn1.to_out.0",
    "middle_block_2_in_layers_2": "mid_block.resnets.1.conv1",
    "output_blocks_2_1_transformer_blocks_0_ff_net_2": "up_blocks.0.attentions.2.transformer_blocks.0.ff.net.2",
    "output_blocks_2_2_conv": "up_blocks.0.upsamplers.0.conv",
    "output_blocks_5_1_proj_out": "up_blocks.1.attentions.2.proj_out",
    "output_blocks_8_0_skip_connection": "up_blocks.2.resnets.2.conv_shortcut",
    "time_embed_0": "time_embedding.linear_1",
    "label_emb_0_2": "add_embedding.linear_2",
    "out_2": "conv_out",
}


def flat(prefix: str, path: str) -> str:
    return f"{prefix}_{path.replace('.', '_')}"


def text_stem(prefix: str, path: str) -> str:
    return flat(prefix, path if path.startswith("text_model.") else f"text_model.{path}")


def text_names(base, component: str, prefix: str) -> dict[tuple[str, str], str]:
    layers = [path for path in base.target.components[component] if ".layers." in path]
    return {(component, path): text_stem(prefix, path) for path in layers}


@pytest.mark.parametrize("alpha", [None, 2.0])
def test_sd15_equals_diffusers_on_every_kind_of_layer(bases, lora, diffusers_deltas, assert_same_deltas, alpha):
    base = bases["sd15"]
    names = {("denoiser", path): flat("lora_unet", path) for path in list(base.target.components["denoiser"])[::4]}
    file = lora(base, names | text_names(base, "text_encoder", "lora_te"), ranks=[4], alphas=[alpha])
    adapter = load_adapter(file.tensors, name="a", target=base.target)
    assert adapter.receipt.dialect == "kohya"
    assert adapter.receipt.complete
    assert_same_deltas(adapter, file.deltas)
    deltas, _ = diffusers_deltas("sd15", file.tensors)
    assert_same_deltas(adapter, deltas)


def test_sgm_names_of_sdxl_are_those_of_sd_scripts(bases, lora, assert_same_deltas):
    base = bases["sdxl"]
    file = lora(base, {("denoiser", path): f"lora_unet_{name}" for name, path in SGM_NAMES.items()}, alphas=[1.0])
    adapter = load_adapter(file.tensors, name="a", target=base.target)
    assert adapter.receipt.complete
    assert_same_deltas(adapter, file.deltas)


def test_sdxl_equals_diffusers_and_every_layer_has_an_sgm_name(bases, lora, diffusers_deltas, assert_same_deltas):
    base = bases["sdxl"]
    index = base.target.indices["denoiser"].underscored
    sgm = {
        places[0].path: name
        for name, places in index.items()
        if "." not in name and places[0].path.replace(".", "_") != name
    }
    assert sgm.keys() == base.target.components["denoiser"].keys()
    # diffusers takes seconds per thousand layers, so one transformer block of ten stands for all.
    some = {path: name for path, name in sgm.items() if not re.search(r"transformer_blocks\.[1-8]\.", path)}
    names = {("denoiser", path): f"lora_unet_{name}" for path, name in some.items()}
    names |= text_names(base, "text_encoder", "lora_te1") | text_names(base, "text_encoder_2", "lora_te2")
    file = lora(base, names, ranks=[2], alphas=[1.0])
    deltas, _ = diffusers_deltas("sdxl", file.tensors)
    assert deltas.keys() == file.deltas.keys()
    adapter = load_adapter(file.tensors, name="a", target=base.target)
    assert_same_deltas(adapter, deltas)
    assert_same_deltas(adapter, file.deltas)


def test_diffusers_block_names_also_serve_sdxl(bases, lora, assert_same_deltas):
    base = bases["sdxl"]
    file = lora(base, {("denoiser", path): flat("lora_unet", path) for path in base.target.components["denoiser"]})
    assert_same_deltas(load_adapter(file.tensors, name="a", target=base.target), file.deltas)


def test_mixed_ranks_and_alphas_keep_each_module_at_its_own_scale(bases, lora, assert_same_deltas):
    base = bases["sd15"]
    paths = [path for path in base.target.components["denoiser"] if ".attn" in path]
    names = {("denoiser", path): flat("lora_unet", path) for path in paths}
    file = lora(base, names, ranks=[1, 4, 2], alphas=[1.0, 8.0, None])
    adapter = load_adapter(file.tensors, name="a", target=base.target)
    assert_same_deltas(adapter, file.deltas)
    receipt = adapter.receipt.components["denoiser"]
    assert (receipt.rank, receipt.alpha, receipt.scale) == ((1, 4), (1.0, 8.0), (1.0, 2.0))


def test_live_output_equals_peft(bases, lora, diffusers_deltas, fresh):
    """Not only the updates: the U-Net itself answers the same within 1e-5, PEFT live against our updates added."""
    base = bases["sdxl"]
    paths = [path for path in base.target.components["denoiser"] if ".attn" in path or ".ff." in path][::7]
    file = lora(base, {("denoiser", path): flat("lora_unet", path) for path in paths}, ranks=[4], alphas=[2.0])
    # Small, as factors of size 1 make the tiny network chaotic: rounding alone then moves its output.
    file.tensors = {key: value if key.endswith("alpha") else 0.1 * value for key, value in file.tensors.items()}
    _, live = diffusers_deltas("sdxl", file.tensors)
    merged = fresh("sdxl")["denoiser"]
    for path, factors in load_adapter(file.tensors, name="a", target=base.target).denoiser.items():
        merged.get_submodule(path).weight.data += factors.delta()
    call = {
        "sample": torch.randn(1, 4, 8, 8),
        "timestep": 5,
        "encoder_hidden_states": torch.randn(1, 3, 32),
        "added_cond_kwargs": {"text_embeds": torch.randn(1, 8), "time_ids": torch.ones(1, 6)},
    }
    with torch.no_grad():
        ours, theirs = merged(**call).sample, live["denoiser"](**call).sample
    assert not torch.allclose(theirs, bases["sdxl"].models["denoiser"](**call).sample, atol=1e-3)
    torch.testing.assert_close(ours, theirs, atol=1e-5 * float(theirs.abs().max()), rtol=0)


def test_flux_double_blocks_equal_diffusers(bases, lora, diffusers_deltas, assert_same_deltas):
    """Fused query, key and value, projections, feed-forward, modulation and embedders, with alpha."""
    base = bases["flux"]
    tensors = flux_file(base, alpha=1.0, single=False)
    deltas, _ = diffusers_deltas("flux", tensors)
    assert_same_deltas(load_adapter(tensors, name="a", target=base.target), deltas)


def test_the_true_flux_equals_diffusers_conversion_in_every_layer():
    """19 double and 38 single blocks of width 3072 on the meta device, compared by what they do to a vector."""
    with torch.device("meta"):
        target = BaseTarget.from_modules({"denoiser": FluxTransformer2DModel(guidance_embeds=True)})
    stream = {"attn_qkv": (9216, 3072), "attn_proj": (3072, 3072), "mlp_0": (12288, 3072), "mlp_2": (3072, 12288)}
    stream["mod_lin"] = (18432, 3072)
    layers = {
        f"double_blocks_{n}_{s}_{k}": shape for n in range(19) for s in ("img", "txt") for k, shape in stream.items()
    }
    single = {"linear1": (21504, 3072), "linear2": (3072, 15360), "modulation_lin": (9216, 3072)}
    layers |= {f"single_blocks_{n}_{name}": shape for n in range(38) for name, shape in single.items()}
    tensors = {}
    for name, (rows, columns) in layers.items():
        tensors[f"lora_unet_{name}.lora_down.weight"] = torch.randn(2, columns)
        tensors[f"lora_unet_{name}.lora_up.weight"] = torch.randn(rows, 2)
        tensors[f"lora_unet_{name}.alpha"] = torch.tensor(0.5)
    adapter = load_adapter(tensors, name="a", target=target)
    assert adapter.receipt.complete
    converted = FluxPipeline.lora_state_dict(dict(tensors))
    assert len(converted) == 2 * len(adapter.denoiser) == 2 * (19 * 14 + 38 * 6)
    for path, factors in adapter.denoiser.items():
        down, up = (converted[f"transformer.{path}.lora_{side}.weight"] for side in "AB")
        vector = torch.ones(down.shape[1])  # atol: each entry is a sum over up to 15,360 inputs
        torch.testing.assert_close(factors.up @ (factors.down @ vector), up @ (down @ vector), atol=1e-3, rtol=1e-5)


def test_flux_single_block_rows_are_query_key_value_and_mlp(bases):
    base = bases["flux"]
    tensors = flux_file(base, alpha=1.0, single=True)
    adapter = load_adapter(tensors, name="a", target=base.target)
    stem = "lora_unet_single_blocks_1_linear1"
    fused = 0.5 * tensors[f"{stem}.lora_up.weight"] @ tensors[f"{stem}.lora_down.weight"]
    parts = ["attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"]
    found = [adapter.denoiser[f"single_transformer_blocks.1.{part}"].delta() for part in parts]
    torch.testing.assert_close(torch.cat(found), fused)


def test_flux_final_modulation_swaps_shift_and_scale_and_keeps_alpha(bases):
    """diffusers drops the alpha of the final layer; with alpha 1 at rank 2 that would double the update."""
    base = bases["flux"]
    rows, inputs = base.target.components["denoiser"]["norm_out.linear"].weight
    stem = "lora_unet_final_layer_adaLN_modulation_1"
    down, up = torch.randn(2, inputs), torch.randn(rows, 2)
    tensors = {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up, f"{stem}.alpha": torch.tensor(1.0)}
    delta = load_adapter(tensors, name="a", target=base.target).denoiser["norm_out.linear"].delta()
    shift, scale = (0.5 * up @ down).chunk(2)
    torch.testing.assert_close(delta, torch.cat([scale, shift]))


def test_block_diagonal_fused_factors_fall_apart_into_small_ones(bases):
    """sd-scripts stores split query, key and value LoRAs as one block-diagonal up matrix."""
    base = bases["flux"]
    stem = "lora_unet_double_blocks_0_img_attn_qkv"
    ups = [torch.randn(16, 2) for _ in range(3)]
    tensors = {f"{stem}.lora_down.weight": torch.randn(6, 16), f"{stem}.lora_up.weight": torch.block_diag(*ups)}
    adapter = load_adapter(tensors, name="a", target=base.target)
    assert [factors.rank for factors in adapter.denoiser.values()] == [2, 2, 2]
    downs = tensors[f"{stem}.lora_down.weight"].chunk(3)
    for name, up, down in zip(("to_q", "to_k", "to_v"), ups, downs, strict=True):
        torch.testing.assert_close(adapter.denoiser[f"transformer_blocks.0.attn.{name}"].delta(), up @ down)


def test_sd3_joint_blocks(bases):
    base = bases["sd3"]
    width, names = (
        16,
        {
            "joint_blocks_0_x_block_attn_qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
            "joint_blocks_0_context_block_attn_qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
            "joint_blocks_0_x_block_attn2_qkv": ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
            "joint_blocks_0_x_block_attn_proj": ("attn.to_out.0",),
            "joint_blocks_0_context_block_attn_proj": ("attn.to_add_out",),
        },
    )
    tensors = {}
    for name, paths in names.items():
        tensors[f"lora_unet_{name}.lora_down.weight"] = torch.randn(2, width)
        tensors[f"lora_unet_{name}.lora_up.weight"] = torch.randn(width * len(paths), 2)
    adapter = load_adapter(tensors, name="a", target=base.target)
    assert adapter.receipt.base_family == "sd3"
    assert adapter.receipt.complete
    for name, paths in names.items():
        fused = tensors[f"lora_unet_{name}.lora_up.weight"] @ tensors[f"lora_unet_{name}.lora_down.weight"]
        found = [adapter.denoiser[f"transformer_blocks.0.{path}"].delta() for path in paths]
        torch.testing.assert_close(torch.cat(found), fused)


def test_sd3_modulation_is_swapped_in_the_last_block_only(bases):
    base = bases["sd3"]
    for block, swapped in ((0, False), (2, True)):
        path = f"transformer_blocks.{block}.norm1_context.linear"
        rows, inputs = base.target.components["denoiser"][path].weight
        stem = f"lora_unet_joint_blocks_{block}_context_block_adaLN_modulation_1"
        down, up = torch.randn(1, inputs), torch.randn(rows, 1)
        tensors = {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
        delta = load_adapter(tensors, name="a", target=base.target).denoiser[path].delta()
        halves = (up @ down).chunk(2)
        torch.testing.assert_close(delta, torch.cat([halves[1], halves[0]]) if swapped else up @ down)


def test_text_encoders_of_transformers(bases, lora, assert_same_deltas, subtests):
    cases = [
        ("sd3", "lora_te1", "text_encoder"),
        ("sd3", "lora_te2", "text_encoder_2"),
        ("sd3", "lora_te3", "text_encoder_3"),
        ("flux", "lora_te1", "text_encoder"),
        ("flux", "lora_te3", "text_encoder_2"),
    ]  # fmt: skip
    for family, prefix, component in cases:
        with subtests.test(family=family, prefix=prefix, component=component):
            base = bases[family]
            if prefix == "lora_te3":
                paths = [path for path in base.target.components[component] if ".layer." in path]
                names = {(component, path): flat(prefix, path) for path in paths}
            else:
                names = text_names(base, component, prefix)
            file = lora(base, names)
            assert_same_deltas(load_adapter(file.tensors, name="a", target=base.target), file.deltas)


def test_underscored_diffusers_paths_of_onetrainer_and_simpletuner(bases, lora, assert_same_deltas, subtests):
    cases = [("lora_transformer", "flux"), ("lycoris", "sd3"), ("lycoris", "sdxl")]
    for prefix, family in cases:
        with subtests.test(prefix=prefix, family=family):
            base = bases[family]
            file = lora(
                base, {("denoiser", path): flat(prefix, path) for path in base.target.components["denoiser"]}, ranks=[1]
            )
            assert_same_deltas(load_adapter(file.tensors, name="a", target=base.target), file.deltas)


def test_a_name_that_is_not_the_bases_is_never_guessed(bases, lora):
    base = bases["sd15"]
    path = "mid_block.attentions.0.proj_in"
    file = lora(base, {("denoiser", path): flat("lora_unet", path)})
    file.tensors |= {key.replace("mid_block", "mid_blocks"): value for key, value in file.tensors.items()}
    adapter = load_adapter(file.tensors, name="a", target=base.target)
    assert isinstance(adapter.denoiser[path], LoraFactors)
    ignored = adapter.receipt.components["denoiser"].ignored
    assert [(each.name, each.reason) for each in ignored] == [
        ("mid_blocks_attentions_0_proj_in", "the base has no such module")
    ]
    assert not adapter.receipt.complete


def flux_file(base, *, alpha: float, single: bool) -> dict[str, torch.Tensor]:
    """A kohya file on every original layer of a tiny FLUX, by the shapes of the original code."""
    width, inputs = 16, base.target.components["denoiser"]["x_embedder"].weight[1]
    double = {
        **{f"{stream}_attn_qkv": (3 * width, width) for stream in ("img", "txt")},
        **{f"{stream}_attn_proj": (width, width) for stream in ("img", "txt")},
        **{f"{stream}_mlp_0": (4 * width, width) for stream in ("img", "txt")},
        **{f"{stream}_mlp_2": (width, 4 * width) for stream in ("img", "txt")},
        **{f"{stream}_mod_lin": (6 * width, width) for stream in ("img", "txt")},
    }
    layers = {f"double_blocks_{block}_{name}": shape for block in range(2) for name, shape in double.items()}
    layers |= {"img_in": (width, inputs), "txt_in": (width, 16), "vector_in_in_layer": (width, 8)}
    for block in range(3):
        layers[f"single_blocks_{block}_linear2"] = (width, 5 * width)
        layers[f"single_blocks_{block}_modulation_lin"] = (3 * width, width)
        if single:
            layers[f"single_blocks_{block}_linear1"] = (7 * width, width)
    if not single:  # diffusers loses these prefixes: only without them can its result be compared
        layers = {name: shape for name, shape in layers.items() if "_blocks_" in name}
    tensors = {}
    for name, (rows, columns) in layers.items():
        tensors[f"lora_unet_{name}.lora_down.weight"] = torch.randn(2, columns)
        tensors[f"lora_unet_{name}.lora_up.weight"] = torch.randn(rows, 2)
        tensors[f"lora_unet_{name}.alpha"] = torch.tensor(alpha)
    return tensors
