"""What other merging tools get wrong without a word, as tests of our own paths, from files to the merged file.

Each is a verified fault of a released library. The truth is always the same: the sum over the files of strength x alpha
/ rank x up @ down, made here by hand as a dense matrix.
"""

import json

import pytest
import torch
from safetensors.torch import save_file

from lora_loom.pipelines.adapters.load import load_adapter
from lora_loom.pipelines.adapters.target import BaseTarget
from lora_loom.pipelines.adapters.write import save_adapter
from lora_loom.pipelines.errors import AdapterMatchError
from lora_loom.pipelines.registry import create
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.weight_space.export import exported

LINEAR = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
CONV = "down_blocks.0.resnets.0.conv1"
POINTWISE = "down_blocks.0.attentions.0.proj_in"


@pytest.fixture(scope="module")
def target(pipes):
    return BaseTarget.from_pipeline(pipes("sd15"))


@pytest.fixture
def write(target, tmp_path):
    """Writes tensors as a file and loads it for the base."""

    def make(name, tensors, metadata=None):
        save_file(tensors, tmp_path / f"{name}.safetensors", metadata=metadata)
        return load_adapter(tmp_path / f"{name}.safetensors", name=name, target=target)

    return make


@pytest.fixture
def merged(target, tmp_path):
    """The merged file of some adapters by their strengths, read back."""

    def make(adapters, strengths, method="merge", rank=None, layout="peft"):
        choices = tuple(AdapterChoice(name, strength) for name, strength in strengths.items())
        result = exported(create(method), choices, adapters, name="one", rank=rank)
        save_adapter(result.adapter, tmp_path / "one.safetensors", layout=layout)
        return load_adapter(tmp_path / "one.safetensors", name="one", target=target)

    return make


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def shape_of(target, path):
    return target.components["denoiser"][path].weight


def kohya(target, path, seed, rank, alpha):
    """Tensors of one module under kohya's names, and the update they stand for."""
    out, *inputs = shape_of(target, path)
    down, up = random(rank, *inputs, seed=seed), random(out, rank, seed=seed + 1)
    key = f"lora_unet_{path.replace('.', '_')}"
    tensors = {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up.view(out, rank, *(1,) * len(inputs[1:]))}
    if alpha is not None:
        tensors[f"{key}.alpha"] = torch.tensor(float(alpha))
    scale = 1.0 if alpha is None else alpha / rank
    return tensors, (scale * up @ down.flatten(1)).view(out, *inputs)


def check(adapter, path, expected):
    found = adapter.denoiser[path].delta()
    assert float((found - expected).norm() / expected.norm()) < 1e-5


def test_alpha_is_applied_once(write, merged, target, subtests):
    """PEFT up to 0.20 applied it twice in its svd family; sd-scripts' concat scales by a squared ratio."""
    for method in ["merge", "svd"]:
        for path in [LINEAR, CONV, POINTWISE]:
            with subtests.test(method=method, path=path):
                fox, first = kohya(target, path, 0, 4, alpha=1.0)
                ink, second = kohya(target, path, 5, 4, alpha=8.0)
                adapters = {"fox": write("fox", fox), "ink": write("ink", ink)}
                one = merged(adapters, {"fox": 0.7, "ink": 0.4}, method, rank=8)
                if method == "merge":
                    check(one, path, 0.7 * first + 0.4 * second)
                else:  # cut to the largest rank, 4, by default: the best of that rank
                    singular = torch.linalg.svdvals((0.7 * first + 0.4 * second).flatten(1))
                    lost = (one.denoiser[path].delta() - 0.7 * first - 0.4 * second).norm()
                    assert float(lost) == pytest.approx(float(singular[4:].norm()), rel=1e-3)


def test_a_file_without_alpha_has_scale_one(write, merged, target):
    fox, first = kohya(target, LINEAR, 0, 4, alpha=None)
    check(merged({"fox": write("fox", fox)}, {"fox": 1.0}), LINEAR, first)


def test_rank_stabilised_scale_goes_into_the_factors_and_not_into_the_merged_file(write, merged, target):
    """PEFT hands the flag of the first adapter on to the merged one, which is then sqrt(rank) too strong."""
    out, into = shape_of(target, LINEAR)
    down, up = random(9, into), random(out, 9, seed=1)
    config = {"unet.r": 9, "unet.lora_alpha": 3, "unet.use_rslora": True, "unet.target_modules": [LINEAR]}
    tensors = {f"unet.{LINEAR}.lora_A.weight": down, f"unet.{LINEAR}.lora_B.weight": up}
    fox = write("fox", tensors, {"lora_adapter_metadata": json.dumps(config)})
    one = merged({"fox": fox}, {"fox": 1.0})
    check(one, LINEAR, (3 / 9**0.5) * up @ down)
    assert json.loads(one.metadata["lora_adapter_metadata"])["unet.use_rslora"] is False


def test_updates_are_summed_and_not_factors(write, merged, target):
    """`linear`, and sd-scripts' sum, add A's and B's on their own: cross terms as large as the signal."""
    fox, first = kohya(target, LINEAR, 0, 4, alpha=4.0)
    ink, second = kohya(target, LINEAR, 5, 4, alpha=4.0)
    one = merged({"fox": write("fox", fox), "ink": write("ink", ink)}, {"fox": 1.0, "ink": 1.0})
    check(one, LINEAR, first + second)


def test_ranks_differ_by_layer_and_by_adapter(write, merged, target, subtests):
    """PEFT's `linear` ends in a bare error of torch.stack; its svd types fail on convolutions."""
    for method in ["merge", "svd", "ties", "dare", "lego", "lion"]:
        with subtests.test(method=method):
            fox = kohya(target, LINEAR, 0, 1, alpha=1.0)[0] | kohya(target, CONV, 2, 6, alpha=2.0)[0]
            ink = kohya(target, LINEAR, 4, 12, alpha=1.0)[0] | kohya(target, POINTWISE, 6, 3, alpha=3.0)[0]
            one = merged({"fox": write("fox", fox), "ink": write("ink", ink)}, {"fox": 0.7, "ink": 0.4}, method)
            assert set(one.denoiser) == {LINEAR, CONV, POINTWISE}
            check(one, POINTWISE, 0.4 * kohya(target, POINTWISE, 6, 3, alpha=3.0)[1])


def test_a_negative_strength_is_in_one_factor_only(write, merged, target):
    """On both it squares away and steers towards what it should steer away from (PEFT 0.18.1)."""
    fox, first = kohya(target, LINEAR, 0, 4, alpha=4.0)
    check(merged({"fox": write("fox", fox)}, {"fox": -0.6}), LINEAR, -0.6 * first)


def test_a_merge_of_a_merge_applies_no_strength_twice(write, merged, target):
    """PEFT multiplies in the live scaling, so a strength that was set before the merge counts twice."""
    fox, first = kohya(target, LINEAR, 0, 4, alpha=2.0)
    half = merged({"fox": write("fox", fox)}, {"fox": 0.5})
    check(merged({"one": half}, {"one": 1.0}), LINEAR, 0.5 * first)
    check(merged({"one": half}, {"one": 0.5}, layout="kohya"), LINEAR, 0.25 * first)


def test_loha_and_lokr_files_take_part_exactly(write, merged, target):
    """diffusers does not read LoHa keys at all, and LoKr for two families only."""
    out, into = shape_of(target, LINEAR)
    key = f"lora_unet_{LINEAR.replace('.', '_')}"
    parts = [random(out, 2), random(2, into, seed=1), random(out, 2, seed=2), random(2, into, seed=3)]
    names = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
    loha = {f"{key}.{name}": part for name, part in zip(names, parts, strict=True)}
    loha[f"{key}.alpha"] = torch.tensor(1.0)
    of_loha = 0.5 * (parts[0] @ parts[1]) * (parts[2] @ parts[3])
    w1, w2_a, w2_b = random(2, 2, seed=4), random(out // 2, 3, seed=5), random(3, into // 2, seed=6)
    lokr = {f"{key}.lokr_w1": w1, f"{key}.lokr_w2_a": w2_a, f"{key}.lokr_w2_b": w2_b}
    lokr[f"{key}.alpha"] = torch.tensor(6.0)
    of_lokr = 2.0 * torch.kron(w1, w2_a @ w2_b)
    one = merged({"loha": write("loha", loha), "lokr": write("lokr", lokr)}, {"loha": 1.0, "lokr": -0.5})
    check(one, LINEAR, of_loha - 0.5 * of_lokr)


def test_files_of_three_dialects_merge_with_nothing_lost(write, merged, target):
    """A dialect that is not known gives `no keys found`, and the base's own picture."""
    out, into = shape_of(target, LINEAR)
    down, up = random(4, into, seed=3), random(out, 4, seed=4)
    processor = LINEAR.replace(".to_q", ".processor.to_q_lora")
    fox, first = kohya(target, LINEAR, 0, 4, alpha=2.0)
    adapters = {
        "kohya": write("kohya", fox),
        "peft": write("peft", {f"unet.{LINEAR}.lora_A.weight": down, f"unet.{LINEAR}.lora_B.weight": up}),
        "old": write("old", {f"unet.{processor}.down.weight": down, f"unet.{processor}.up.weight": up}),
    }
    assert len({adapter.receipt.dialect for adapter in adapters.values()}) == 3
    check(merged(adapters, {"kohya": 1.0, "peft": 0.5, "old": 0.25}), LINEAR, first + 0.75 * up @ down)


def test_a_dora_is_refused_with_the_reason(write, target):
    """Merged as a LoRA it is off by a third and more, and the order of two would matter."""
    fox, _ = kohya(target, LINEAR, 0, 4, alpha=4.0)
    fox[f"lora_unet_{LINEAR.replace('.', '_')}.dora_scale"] = torch.ones(shape_of(target, LINEAR)[0], 1)
    with pytest.raises(AdapterMatchError, match="rescales the base's own weight"):
        exported(create("merge"), (AdapterChoice("fox"),), {"fox": write("fox", fox)}, name="one")


def test_a_lora_for_another_base_is_refused_by_name(write, target):
    wide = {f"lora_unet_{LINEAR.replace('.', '_')}.lora_down.weight": random(4, 99)}
    wide[f"lora_unet_{LINEAR.replace('.', '_')}.lora_up.weight"] = random(99, 4)
    with pytest.raises(AdapterMatchError, match="does not fit this base"):
        write("stranger", wide)


@pytest.mark.parametrize("layout", ["peft", "kohya"])
def test_round_trips_between_layouts_keep_the_update(write, merged, target, layout):
    fox = kohya(target, LINEAR, 0, 4, alpha=2.0)[0] | kohya(target, CONV, 2, 6, alpha=2.0)[0]
    there = merged({"fox": write("fox", fox)}, {"fox": 1.0}, layout=layout)
    back = merged({"one": there}, {"one": 1.0}, layout="kohya" if layout == "peft" else "peft")
    for path, seed, rank in ((LINEAR, 0, 4), (CONV, 2, 6)):
        check(back, path, kohya(target, path, seed, rank, alpha=2.0)[1])


def test_a_fused_qkv_is_taken_apart_before_it_is_merged(pipes, tmp_path):
    """Its three layers share A and not B: merged in the fused layout beside split files it would miss them."""
    target = BaseTarget.from_pipeline(pipes("flux"))
    block = "transformer_blocks.0.attn"
    out, into = target.components["denoiser"][f"{block}.to_q"].weight
    down, up = random(4, into), random(3 * out, 4, seed=1)
    fused = {"lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": down}
    fused["lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight"] = up
    fused["lora_unet_double_blocks_0_img_attn_qkv.alpha"] = torch.tensor(2.0)
    own_down, own_up = random(2, into, seed=2), random(out, 2, seed=3)
    split = {f"transformer.{block}.to_k.lora_A.weight": own_down, f"transformer.{block}.to_k.lora_B.weight": own_up}
    sources = {name: load_adapter(of, name=name, target=target) for name, of in (("fox", fused), ("ink", split))}
    choices = (AdapterChoice("fox", 0.5), AdapterChoice("ink", -1.0))
    save_adapter(exported(create("merge"), choices, sources, name="one").adapter, tmp_path / "one.safetensors")
    one = load_adapter(tmp_path / "one.safetensors", name="one", target=target)
    rows = 0.5 * 0.5 * (up @ down)
    check(one, f"{block}.to_q", rows[:out])
    check(one, f"{block}.to_k", rows[out : 2 * out] - own_up @ own_down)
    check(one, f"{block}.to_v", rows[2 * out :])


def test_twice_all_strengths_is_twice_the_update(write, merged, target, subtests):
    for method in ["merge", "svd", "ties", "lego"]:
        with subtests.test(method=method):
            fox, ink = (kohya(target, LINEAR, seed, 4, alpha=4.0)[0] for seed in (0, 5))
            adapters = {"fox": write("fox", fox), "ink": write("ink", ink)}
            once = merged(adapters, {"fox": 0.4, "ink": -0.3}, method).denoiser[LINEAR].delta()
            check(merged(adapters, {"fox": 0.8, "ink": -0.6}, method), LINEAR, 2.0 * once)


def test_a_file_in_bfloat16_is_merged_in_float32(write, merged, target):
    fox, _ = kohya(target, LINEAR, 0, 4, alpha=4.0)
    half = {key: value.bfloat16() if value.ndim else value for key, value in fox.items()}
    down, up = (next(value.float() for key, value in half.items() if part in key) for part in ("_down", "_up"))
    check(merged({"fox": write("fox", half)}, {"fox": 0.3}), LINEAR, 0.3 * up @ down)
