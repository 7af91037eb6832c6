"""Adapters layer by layer: what is missing in one, what does not fit, and the hash of what comes out."""

import json

import pytest

from lora_loom.pipelines.errors import AdapterMatchError
from lora_loom.pipelines.weight_space.layers import adapter_of, layers_of, recipe_of


@pytest.fixture
def two(update, adapter):
    fox = {"a": update(0, 4), "b": update(1, 4), "encoder.c": update(2, 2)}
    ink = {"a": update(3, 6), "d": update(4, 1, inputs=(5, 3, 3))}
    return {"fox": adapter("fox", fox), "ink": adapter("ink", ink)}


def test_every_layer_of_any_adapter_comes_once_with_those_that_have_it(two):
    layers = {(layer.component, layer.path): layer for layer in layers_of(two, {"fox": 0.8, "ink": -0.5})}
    assert {key: layer.names for key, layer in layers.items()} == {
        ("denoiser", "a"): ("fox", "ink"),
        ("denoiser", "b"): ("fox",),
        ("denoiser", "d"): ("ink",),
        ("text_encoder", "encoder.c"): ("fox",),
    }
    shared = layers["denoiser", "a"]
    assert [weight for weight, _ in shared.updates] == [0.8, -0.5]
    assert shared.largest_rank == 6


def test_an_adapter_of_no_strength_is_left_out(two):
    assert {layer.names for layer in layers_of(two, {"fox": 0.0, "ink": 1.0})} == {("ink",)}


def test_other_shapes_are_refused_by_name(update, adapter):
    set_of = {"fox": adapter("fox", {"a": update(0)}), "ink": adapter("ink", {"a": update(1, inputs=(32,))})}
    with pytest.raises(AdapterMatchError, match=r"different bases.*fox \[24, 20\], ink \[24, 32\]"):
        list(layers_of(set_of, {"fox": 1.0, "ink": 1.0}))


def test_a_fused_adapter_says_what_it_is_made_of(two):
    recipe = recipe_of("svd", {"rank": 3}, {"fox": 0.8, "ink": -0.5}, two)
    made = adapter_of("both", {"denoiser": dict(two["fox"].denoiser)}, two, recipe)
    assert json.loads(made.metadata["loom.recipe"]) == recipe
    assert [entry["sha256"] for entry in recipe["adapters"]] == ["sha of fox", "sha of ink"]
    assert made.receipt.target_family == "pocket"
    assert made.receipt.complete
    assert made.receipt.components["denoiser"].matched == ("a", "b")
    other = adapter_of("both", {}, two, recipe_of("svd", {"rank": 4}, {"fox": 0.8, "ink": -0.5}, two))
    assert len(made.sha256) == 64
    assert made.sha256 != other.sha256
