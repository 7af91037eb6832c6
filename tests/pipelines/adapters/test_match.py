"""Files for other networks: refused by family, by depth or by shapes, loaded in part by force, and never silently."""

import warnings

import pytest
import torch

from lora_loom.pipelines.adapters.base_family import BaseFamily
from lora_loom.pipelines.adapters.load import inspect_adapter, load_adapter
from lora_loom.pipelines.adapters.places import ModuleShape
from lora_loom.pipelines.adapters.target import BaseTarget
from lora_loom.pipelines.errors import AdapterMatchError, LoomWarning
from lora_loom.pipelines.families import families

AB, DOWN_UP = ("lora_A.weight", "lora_B.weight"), ("lora_down.weight", "lora_up.weight")
TO_Q = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"


def target_of(family, layers, **encoders):
    """A base of true widths without any weight."""
    components = {"denoiser": layers, **encoders}
    shapes = {
        name: {path: ModuleShape("linear", weight) for path, weight in its.items()} for name, its in components.items()
    }
    return BaseTarget(families()[family], shapes)


def flux(family="flux"):
    layers = {f"transformer_blocks.{i}.attn.{n}": (3072, 3072) for i in range(19) for n in ("to_q", "to_k", "to_v")}
    layers |= {f"single_transformer_blocks.{i}.attn.to_{n}": (3072, 3072) for i in range(38) for n in "qkv"}
    layers |= {f"single_transformer_blocks.{i}.proj_mlp": (12288, 3072) for i in range(38)}
    return target_of(family, layers)


def unet(family):
    layers = {TO_Q: (320, 320), TO_Q.replace("attn1", "attn2"): (320, 320)}
    return target_of(family, {**layers, "down_blocks.0.resnets.1.time_emb_proj": (320, 1280)})


def lora(*layers, parts=AB):
    return {
        f"{stem}.{part}": torch.full(shape, 0.01)
        for stem, out, inputs in layers
        for part, shape in zip(parts, ((1, inputs), (out, 1)), strict=True)
    }


QWEN = lora(*((f"transformer.transformer_blocks.{i}.attn.to_q", 3072, 3072) for i in (0, 1, 59)))
KLEIN = lora(
    *((f"diffusion_model.double_blocks.{i}.img_attn.qkv", 9216, 3072) for i in range(2)),
    *((f"diffusion_model.single_blocks.{i}.linear2", 3072, 12288) for i in range(2)),
)
DOUBLES = lora(("lora_unet_double_blocks_0_img_attn_qkv", 9216, 3072), parts=DOWN_UP)
SELF = lora((f"lora_unet_{TO_Q.replace('.', '_')}", 320, 320), parts=DOWN_UP)
DEEPER = lora(
    ("transformer.transformer_blocks.0.attn.to_q", 3072, 3072),
    ("transformer.transformer_blocks.19.attn.to_q", 3072, 3072),
)
WIDER = lora(
    (f"unet.{TO_Q}", 320, 320),
    (f"unet.{TO_Q.replace('attn1', 'attn2')}", 640, 320),
)

REFUSED = [
    (QWEN, {}, flux(), r"is for Qwen-Image, which Loom does not run.*more than 20 joint blocks.*--force"),
    (KLEIN, {}, flux(), r"is for FLUX\.2, which Loom does not run.*12288 inputs.*Choose a LoRA for the flux.*--force"),
    (DOUBLES, {"modelspec.architecture": "chroma/lora"}, flux(), r"the flux family.*the chroma family.*--force"),
    (DOUBLES, {"modelspec.architecture": "flux-1-dev/lora"}, flux("chroma"), "the chroma family.*the flux family"),
    (SELF, {"ss_base_model_version": "sd_v2", "ss_v2": "True"}, unet("sd15"), "the sd15 family.*the sd2 family.*force"),
    (DEEPER, {}, flux(), r"blocks that this base model lacks.*of 19 transformer_blocks.*transformer_blocks\.19.*force"),
    (WIDER, {}, unet("sd15"), r"does not fit.*640 x 320 instead of 320 x 320.*--force"),
]


@pytest.fixture
def saved(tmp_path):
    from safetensors.torch import save_file

    def save(tensors, metadata):
        save_file(tensors, tmp_path / "it.safetensors", metadata=metadata or None)
        return tmp_path / "it.safetensors"

    return save


@pytest.mark.parametrize(("tensors", "metadata", "target", "said"), REFUSED)
def test_a_file_for_another_network_is_refused_and_loads_in_part_by_force(saved, tensors, metadata, target, said):
    path = saved(tensors, metadata)
    with pytest.raises(AdapterMatchError, match=said):
        load_adapter(path, name="a", target=target)
    receipt = inspect_adapter(path, target)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        adapter = load_adapter(path, name="a", target=target, force=True)
    assert adapter.receipt == receipt
    assert len(adapter.denoiser) == receipt.num_matched > 0
    told = [str(each.message) for each in caught if each.category is LoomWarning]
    assert len(told) == 1
    assert "it.safetensors" in told[0]
    assert receipt.summary() in told[0]
    assert ("loaded by force" in told[0]) == (receipt.base_family not in ("unknown", target.family))


@pytest.mark.parametrize(("tensors", "metadata", "target"), [
    (DOUBLES, {}, flux()),
    (DOUBLES, {}, flux("chroma")),  # nothing tells FLUX and Chroma apart here
    (DOUBLES, {"modelspec.architecture": "chroma/lora"}, flux("chroma")),
    (SELF, {}, unet("sd15")),
    (SELF, {}, unet("sd2")),
    (SELF, {"ss_base_model_version": "sd_v1"}, unet("sd15")),
    (SELF, {"ss_base_model_version": "my own base"}, unet("sd15")),
    (lora((f"unet.{TO_Q}", 320, 320)), {}, unet("pocket")),
])  # fmt: skip
def test_a_file_that_matches_in_full_loads_without_a_word(saved, tensors, metadata, target):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        adapter = load_adapter(saved(tensors, metadata), name="a", target=target)
    assert adapter.receipt.complete
    assert not adapter.receipt.partial


def test_force_never_loads_what_fits_nothing():
    tensors = lora(("transformer.transformer_blocks.59.attn.to_q", 3072, 3072))
    with pytest.raises(AdapterMatchError, match="does not fit this base model") as caught:
        load_adapter(tensors, name="a", target=flux(), force=True)
    assert "--force" not in str(caught.value)


def test_what_is_dropped_is_named_by_kind():
    fits = lora((f"unet.{TO_Q}", 320, 320))
    for key, kind in (
        (f"unet.{TO_Q}.lora_B.bias", "1 ignored (1 bias)"),
        (f"unet.{TO_Q}.diff_b", "1 ignored (1 bias)"),
        ("unet.norm_out.w_norm", "1 ignored (1 norm)"),
        ("unet.conv_in.diff", "1 ignored (1 full)"),
        ("bundle_emb.word.string_to_param", "1 ignored (1 bundled embedding)"),
        ("unet.conv_in.modules_to_save.default.kernel", "1 ignored (1 modules_to_save)"),
    ):
        with pytest.warns(LoomWarning, match="acts only in part") as caught:
            adapter = load_adapter(fits | {key: torch.ones(3)}, name="a", target=unet("sd15"))
        assert kind in str(caught[0].message)
        assert adapter.receipt.summary().endswith(kind)
    zeros = load_adapter(fits | {f"unet.{TO_Q}.diff_b": torch.zeros(320)}, name="a", target=unet("sd15")).receipt
    assert (zeros.complete, zeros.partial) == (False, False)


def test_what_evidence_rules_out():
    for weight, alike, out in ((9, ("chroma",), True), (4, ("chroma",), True), (3, ("chroma",), False), (3, (), True)):
        assert BaseFamily("flux", "", weight, alike).rules_out("chroma") is out
    assert not BaseFamily("flux", "", 2).rules_out("chroma")
    assert not BaseFamily("flux", "", 9).rules_out("flux")
    assert not BaseFamily("flux", "", 9).rules_out("unknown")
    assert not BaseFamily("unknown", "", 0).rules_out("flux")
