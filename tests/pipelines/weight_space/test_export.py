"""A fusion written to a file draws what it draws live, within the error that the file reports."""

import json

import pytest
import torch

from lora_loom.pipelines.adapters.load import load_adapter
from lora_loom.pipelines.adapters.target import BaseTarget
from lora_loom.pipelines.adapters.write import save_adapter
from lora_loom.pipelines.errors import AdapterMatchError, SettingError
from lora_loom.pipelines.registry import create
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.runtime.fused import fused
from lora_loom.pipelines.weight_space.export import exported
from lora_loom.pipelines.weight_space.norms import distance, norm
from lora_loom.pipelines.weight_space.stack import Weighted, stack

METHODS = ["merge", "svd", "ties", "dare", "lego", "lion"]
CHOICES = (AdapterChoice("fox", 0.8), AdapterChoice("ink", 0.5), AdapterChoice("fog", -1.2))


@pytest.fixture(scope="module")
def sd15(pipes):
    return pipes("sd15")


@pytest.fixture(scope="module")
def target(sd15):
    return BaseTarget.from_pipeline(sd15)


@pytest.fixture(scope="module")
def sources(three_adapters):
    return three_adapters("sd15")


def draw_with(pipe, draw, method, choices, adapters):
    with fused(pipe, method.plan(choices, 3), adapters):
        return draw(pipe)


@pytest.mark.parametrize("layout", ["peft", "kohya"])
@pytest.mark.parametrize("name", METHODS)
def test_the_file_draws_what_the_live_fusion_draws(sd15, target, sources, draw, error_of, tmp_path, name, layout):
    method = create(name)
    result = exported(method, CHOICES, sources, name="one")
    path = tmp_path / "one.safetensors"
    save_adapter(result.adapter, path, layout=layout)
    loaded = load_adapter(path, name="one", target=target)
    assert loaded.receipt.complete
    live = draw_with(sd15, draw, method, CHOICES, sources)
    assert error_of(draw_with(sd15, draw, create("merge"), (AdapterChoice("one"),), {"one": loaded}), live) < 1e-4
    assert result.error < 1e-6


def test_the_reported_error_is_that_of_the_file(target, sources, tmp_path, subtests):
    for rank, dtype in [(None, torch.float16), (None, torch.bfloat16), (3, torch.float32)]:
        with subtests.test(rank=rank, dtype=dtype):
            result = exported(create("merge"), CHOICES, sources, name="one", rank=rank, dtype=dtype)
            path = tmp_path / "one.safetensors"
            save_adapter(result.adapter, path, dtype=dtype)
            loaded = load_adapter(path, name="one", target=target)
            lost = live = 0.0
            for component, layers in loaded.components.items():
                for layer, factors in layers.items():
                    of = [(choice.strength, sources[choice.name].components.get(component, {})) for choice in CHOICES]
                    whole = stack([Weighted(strength, layers[layer]) for strength, layers in of if layer in layers])
                    lost += distance(factors, whole) ** 2
                    live += norm(whole) ** 2
                    assert rank is None or factors.rank <= rank
            assert result.error == pytest.approx((lost / live) ** 0.5, rel=1e-3)
            assert result.error > 1e-4
            assert result.change < 1e-6  # merge is the plain sum
            together = sum(group.layers for group in result.groups)
            assert together == sum(len(layers) for layers in loaded.components.values())
            assert {group.component for group in result.groups} == {"denoiser", "text_encoder"}


def test_change_is_the_way_from_the_plain_sum(sources):
    far = exported(create("lion", {"orthogonality": 1.0}), CHOICES, sources, name="one")
    near = exported(create("lion", {"orthogonality": 0.2}), CHOICES, sources, name="one")
    assert 0.0 < near.change < far.change < 1.0
    assert exported(create("lion", {"orthogonality": 0.0}), CHOICES, sources, name="one").change < 1e-9


def test_text_encoders_have_a_strength_of_their_own(sources):
    full, half, none = (
        exported(create("merge"), CHOICES[:1], sources, name="one", text_strength=strength).adapter
        for strength in (1.0, 0.5, 0.0)
    )
    path = next(iter(full.text_encoders["text_encoder"]))
    of_full, of_half = (each.text_encoders["text_encoder"][path].delta() for each in (full, half))
    assert torch.allclose(of_half, 0.5 * of_full, atol=1e-7)
    assert none.text_encoders == {}
    layer = next(iter(full.denoiser))
    assert torch.allclose(half.denoiser[layer].delta(), full.denoiser[layer].delta(), atol=1e-7)


def test_only_text_encoders_are_enough(sources, adapter):
    import dataclasses

    text_only = dataclasses.replace(sources["fox"], denoiser={})
    result = exported(create("lion"), CHOICES[:2], {"fox": text_only, "ink": sources["ink"]}, name="one")
    assert set(result.adapter.components) == {"denoiser", "text_encoder"}
    alone = exported(create("ties"), (AdapterChoice("fox"),), {"fox": text_only}, name="one")
    assert set(alone.adapter.components) == {"text_encoder"}


@pytest.mark.long
def test_twelve_adapters_go_into_one(sources, error_of):
    import dataclasses

    many = {f"fox {index}": dataclasses.replace(sources["fox"], name=f"fox {index}") for index in range(12)}
    choices = tuple(AdapterChoice(name, 0.1) for name in many)
    result = exported(create("merge"), choices, many, name="one")
    layer = next(iter(result.adapter.denoiser))
    assert result.adapter.denoiser[layer].rank == 4  # twins need no more ranks than one
    assert error_of(result.adapter.denoiser[layer].delta(), 1.2 * sources["fox"].denoiser[layer].delta()) < 1e-5
    for name in METHODS[1:]:
        assert exported(create(name), choices, many, name="one").adapter.denoiser[layer].rank <= 48


def test_the_recipe_names_every_source_by_its_hash(sources):
    recipe = exported(create("dare", {"mask_seed": 5}), CHOICES, sources, name="one", rank=4).recipe
    assert json.loads(json.dumps(dict(recipe))) == {
        "method": "dare",
        "settings": {"density": 0.9, "elect_signs": False, "mask_seed": 5},
        "adapters": [
            {"name": choice.name, "sha256": sources[choice.name].sha256, "strength": choice.strength}
            for choice in CHOICES
        ],
        "rank": 4,
    }


def test_what_happens_while_drawing_is_refused(sources, subtests):
    for name in ["switch", "composite", "delta_sum"]:
        with subtests.test(name=name), pytest.raises(SettingError, match="cannot be written into one file"):
            exported(create(name), CHOICES, sources, name="one")


def test_nothing_to_merge_is_said(sources):
    for choices in ((), (AdapterChoice("fox", 0.0),)):
        with pytest.raises(AdapterMatchError, match="nothing to merge"):
            exported(create("lion"), choices, sources, name="one")


def test_a_number_format_that_cannot_hold_it_is_refused(adapter, update):
    huge = {"fox": adapter("fox", {"a": update(0, size=1e7)})}
    with pytest.raises(AdapterMatchError, match=r"a does not fit into float16.*Write float32"):
        exported(create("merge"), (AdapterChoice("fox"),), huge, name="one", dtype=torch.float16)
