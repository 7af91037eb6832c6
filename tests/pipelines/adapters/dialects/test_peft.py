"""The names of diffusers and PEFT, with the configuration that decides their scale."""

import json

import pytest
import torch

from lora_loom.pipelines.adapters.load import load_adapter
from lora_loom.pipelines.errors import AdapterFileError, AdapterMatchError

PARTS = ("lora_A.weight", "lora_B.weight")
PREFIX = {"sd15": "unet", "sdxl": "unet", "sd3": "transformer", "flux": "transformer"}


def names_of(base, family: str, *, text: bool = True) -> dict[tuple[str, str], str]:
    """Every fifth layer of the denoiser and all layers of the CLIPs, as diffusers saves them."""
    # Without the last layer, whose bare name `proj_out` PEFT also finds at the end of others.
    denoiser = [path for path in base.target.components["denoiser"] if path != "proj_out"][::5]
    names = {("denoiser", path): f"{PREFIX[family]}.{path}" for path in denoiser}
    for component, layers in base.target.components.items():
        if text and component != "denoiser":
            clip = [path for path in layers if ".layers." in path]
            names |= {(component, path): f"{component}.text_model.{path.removeprefix('text_model.')}" for path in clip}
    return names


def test_every_family_equals_diffusers(bases, lora, diffusers_deltas, assert_same_deltas, subtests):
    for family in list(PREFIX):
        with subtests.test(family=family):
            base = bases[family]
            file = lora(base, names_of(base, family), parts=PARTS, ranks=[2, 2, 3])
            adapter = load_adapter(file.tensors, name="a", target=base.target)
            assert adapter.receipt.dialect == "peft"
            assert adapter.receipt.complete
            assert_same_deltas(adapter, file.deltas)
            deltas, _ = diffusers_deltas(family, file.tensors)
            assert_same_deltas(adapter, deltas)


def test_clip_names_with_and_without_the_outer_text_model(bases, lora, assert_same_deltas):
    base = bases["sdxl"]
    for component in ("text_encoder", "text_encoder_2"):
        path = next(path for path in base.target.components[component] if path.endswith("layers.1.self_attn.q_proj"))
        bare = path.removeprefix("text_model.")
        for name in (bare, f"text_model.{bare}"):
            file = lora(base, {(component, path): f"{component}.{name}"}, parts=PARTS)
            assert_same_deltas(load_adapter(file.tensors, name="a", target=base.target), file.deltas)


def test_raw_peft_names_and_adapter_segments(bases, lora, assert_same_deltas, subtests):
    for prefix in ["base_model.model.", "base_model.model.unet.", ""]:
        for segment in ["", "default.", "my_adapter."]:
            with subtests.test(prefix=prefix, segment=segment):
                base = bases["sd15"]
                paths = ["mid_block.attentions.0.proj_in", "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"]
                parts = (f"lora_A.{segment}weight", f"lora_B.{segment}weight")
                file = lora(base, {("denoiser", path): f"{prefix}{path}" for path in paths}, parts=parts)
                adapter = load_adapter(file.tensors, name="a", target=base.target)
                assert adapter.receipt.complete
                assert_same_deltas(adapter, file.deltas)


def test_raw_names_of_a_text_encoder_find_their_component(bases, lora, assert_same_deltas):
    base = bases["sd15"]
    path = "encoder.layers.0.self_attn.q_proj"
    file = lora(base, {("text_encoder", path): f"base_model.model.text_model.{path}"}, parts=PARTS)
    assert_same_deltas(load_adapter(file.tensors, name="a", target=base.target), file.deltas)


def test_original_flux_names_under_diffusers_prefixes(bases):
    """fal's Kontext trainer writes `base_model.model.double_blocks...`, others `transformer.single_blocks...`."""
    base = bases["flux"]
    for prefix in ("base_model.model.", "transformer."):
        stem = f"{prefix}double_blocks.1.txt_attn.qkv"
        tensors = {f"{stem}.lora_A.weight": torch.randn(2, 16), f"{stem}.lora_B.weight": torch.randn(48, 2)}
        adapter = load_adapter(tensors, name="a", target=base.target)
        parts = [adapter.denoiser[f"transformer_blocks.1.attn.add_{name}_proj"].delta() for name in "qkv"]
        torch.testing.assert_close(
            torch.cat(parts), tensors[f"{stem}.lora_B.weight"] @ tensors[f"{stem}.lora_A.weight"]
        )


def test_alpha_tensors_beside_peft_names(bases, lora, assert_same_deltas):
    base = bases["flux"]
    names = {("denoiser", "single_transformer_blocks.0.attn.to_q"): "transformer.single_transformer_blocks.0.attn.to_q"}
    file = lora(base, names, parts=PARTS, ranks=[4], alphas=[2.0])
    assert_same_deltas(load_adapter(file.tensors, name="a", target=base.target), file.deltas)


CONFIG = {"unet.r": 4, "unet.lora_alpha": 8, "unet.target_modules": ["to_q"], "unet.peft_type": "LORA"}
TO_Q = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
TO_K = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k"


@pytest.fixture
def load_with(bases, lora, tmp_path):
    """Scales of to_q (rank 4) and to_k (rank 2) in a file with these fields of a LoraConfig."""
    base = bases["sd15"]
    file = lora(base, {("denoiser", path): f"unet.{path}" for path in (TO_Q, TO_K)}, parts=PARTS, ranks=[4, 2])

    def load(fields) -> tuple[float, float]:
        text = fields if isinstance(fields, str) else json.dumps(fields)
        path = file.save(tmp_path / "a.safetensors", {"format": "pt", "lora_adapter_metadata": text})
        adapter = load_adapter(path, name="a", target=base.target)
        ratios = [adapter.denoiser[path].delta() / file.deltas["denoiser", path] for path in (TO_Q, TO_K)]
        return tuple(round(float(ratio.median()), 4) for ratio in ratios)

    return load


def test_configuration_decides_the_scale(load_with, subtests):
    cases = [
        ({}, (2.0, 4.0)),
        ({"unet.rank_pattern": {"to_k": 2}, "unet.alpha_pattern": {"to_k": 1}}, (2.0, 0.5)),
        ({"unet.alpha_pattern": {f"^{TO_K}": 6}}, (2.0, 3.0)),
        ({"unet.alpha_pattern": {"attn1.to_k": 6, "to_k": 1}}, (2.0, 3.0)),
        ({"unet.alpha_pattern": {"o_k": 6}}, (2.0, 4.0)),
        ({"unet.alpha_pattern": {"^to_k": 6}}, (2.0, 4.0)),
        ({"unet.alpha_pattern": {r"down_blocks\..*\.to_(?:k|v)": 6}}, (2.0, 3.0)),
        ({"unet.alpha_pattern": {r"attn[12]\.to_[^q]$": 6, "to_q|to_k": 2}}, (0.5, 3.0)),
        ({"unet.alpha_pattern": {r"^attn1\.to_k": 6, r"transformer_blocks\.\d+\.attn1\.to_k": 2}}, (2.0, 1.0)),
        ({"unet.rank_pattern": {r"(.*)+to_k": 64, r"down_blocks\..*to_q": 4}}, (2.0, 4.0)),  # the factors show theirs
        ({"unet.use_rslora": True}, (4.0, 8 / 2**0.5)),
        ({"unet.brand_new_peft_field": {"a": [1]}, "unet.lora_dropout": "x"}, (2.0, 4.0)),
        ({"text_encoder.lora_alpha": 64}, (2.0, 4.0)),
    ]  # fmt: skip
    for fields, scales in cases:
        with subtests.test(fields=fields, scales=scales):
            assert load_with({**CONFIG, **fields}) == tuple(round(scale, 4) for scale in scales)


def test_configuration_of_a_stranger_is_checked(load_with, subtests):
    cases = [
        ("{broken", "broken JSON|do not close"),
        ("[1]", "not an object"),
        ('{"unet.r": NaN}', "NaN as a number"),
        ('{"unet.r": 1' + "0" * 400 + "}", "a number of 401 digits"),
        ({"unet.lora_alpha": "8"}, "lora_alpha is '8'"),
        ({"unet.lora_alpha": True}, "lora_alpha is True"),
        ({"unet.r": 0}, "not above zero"),
        ({"unet.use_rslora": "yes"}, "use_rslora is 'yes'"),
        ({"unet.alpha_pattern": [1]}, "alpha_pattern is not an object"),
        ({"unet.alpha_pattern": {"(a+)+$": 4}}, "not a module name"),
        ({"unet.lora_alpha": 4e6}, "beyond reason"),
    ]  # fmt: skip
    for fields, reason in cases:
        with subtests.test(fields=fields, reason=reason), pytest.raises(AdapterFileError, match=reason):
            load_with({**CONFIG, **fields} if isinstance(fields, dict) else fields)


def test_configuration_of_a_model_saved_alone_has_no_prefixes(load_with):
    assert load_with({"r": 4, "lora_alpha": 8, "alpha_pattern": {"to_k": 1}}) == (2.0, 0.5)


def test_a_dora_of_the_configuration_without_magnitudes_is_refused(load_with):
    with pytest.raises(AdapterMatchError, match="is a DoRA without its magnitudes"):
        load_with({**CONFIG, "unet.use_dora": True})


def test_configuration_beside_a_raw_peft_file(bases, lora, tmp_path, assert_same_deltas):
    base = bases["sd15"]
    file = lora(base, {("denoiser", TO_Q): f"base_model.model.{TO_Q}"}, parts=PARTS, ranks=[4])
    path = file.save(tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 16}))
    doubled = {key: 4.0 * delta for key, delta in file.deltas.items()}
    assert_same_deltas(load_adapter(path, name="a", target=base.target), doubled)
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(AdapterFileError, match="PEFT configuration"):
        load_adapter(path, name="a", target=base.target)
