"""Every set of text-encoder gates has its own encoding of the prompt, and each pass reads its own."""

from dataclasses import replace

import pytest
import torch

from lora_loom.pipelines.errors import BaseModelError
from lora_loom.pipelines.methods.composite import Composite
from lora_loom.pipelines.methods.merge import Merge
from lora_loom.pipelines.methods.switch import Switch
from lora_loom.pipelines.plan import FusionPlan, Pass, RegionPrompt
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.runtime.fused import fused

FOX_AND_INK = [AdapterChoice("fox", 0.9), AdapterChoice("ink", 0.5)]


WITH_TEXT_PARTS = ("sd15", "sdxl", "sd3", "flux")  # families whose LoRAs have parts on text encoders


@pytest.fixture
def encodings(monkeypatch):
    """Counts how often a pipeline's own `encode_prompt` runs."""

    def count(pipe):
        calls = []
        encode = type(pipe).encode_prompt

        def counting(self, *args, **kwargs):
            calls.append(1)
            return encode(self, *args, **kwargs)

        monkeypatch.setattr(type(pipe), "encode_prompt", counting)
        return calls

    return count


@pytest.mark.parametrize("family", WITH_TEXT_PARTS)
@pytest.mark.parametrize(("method", "expected"), [(Merge(), 1), (Switch(), 2), (Composite(), 2)])
def test_the_prompt_is_encoded_once_per_set_of_gates(pipe, adapters, draw, encodings, method, expected):
    calls = encodings(pipe)
    with fused(pipe, method.plan(FOX_AND_INK, 3), adapters):
        draw(pipe)
    assert len(calls) == expected


def test_adapters_without_a_text_part_share_the_plain_encoding(pipe, adapters, draw, encodings):
    bare = {name: replace(adapters[name], text_encoders={}) for name in ("fox", "ink")}
    calls = encodings(pipe)
    with fused(pipe, Composite().plan(FOX_AND_INK, 3), bare):
        draw(pipe)
    assert len(calls) == 1


@pytest.mark.parametrize("family", WITH_TEXT_PARTS)
def test_text_parts_act_for_their_own_adapter_only(pipe, adapters, draw, error_of):
    """With text parts alone, Composite's first step is the mean of the steps with either encoding."""
    text_only = {name: replace(adapters[name], denoiser={}) for name in ("fox", "ink")}

    def step(plan):
        with fused(pipe, plan, text_only):
            return draw(pipe, num_inference_steps=1)

    alone = [step(Merge().plan([choice], 1)) for choice in FOX_AND_INK]
    assert error_of(alone[0], alone[1]) > 1e-4
    assert error_of(step(Composite().plan(FOX_AND_INK, 1)), (alone[0] + alone[1]) / 2) <= 1e-5


@pytest.mark.parametrize(
    "call", [{"guidance_scale": 1.0}, {"num_images_per_prompt": 2}, {"prompt": ["a cat", "a dog"]}]
)
def test_rows_find_their_counterparts_in_any_layout(pipe, adapters, draw, error_of, call):
    """A second pass of the same adapter, whose encoding is found by its rows, predicts what the first one does."""
    gates = {"ink": 0.5}
    turns = (Pass(gates={}, weight=1e-9, text_gates={"fox": 1.0}), Pass(gates=gates, text_gates=gates))
    plan = FusionPlan(("fox", "ink"), lambda state: turns, ({"fox": 1.0}, gates))
    with fused(pipe, plan, adapters):
        found = draw(pipe, **call)
    with fused(pipe, Merge().plan(FOX_AND_INK[1:], 3), adapters):
        expected = draw(pipe, **call)
    assert error_of(found, expected) <= 1e-5


def test_flux_finds_the_negative_prompt_of_true_guidance(pipes, three_adapters, draw, error_of):
    pipe, call = pipes("flux"), {"true_cfg_scale": 2.0, "negative_prompt": "a dog"}
    plan = Switch(switch_every=1).plan(FOX_AND_INK, 3)
    with fused(pipe, replace(plan, text_passes=plan.text_passes[::-1]), three_adapters("flux")):
        backwards = draw(pipe, **call)  # now fox reads the second encoding, and ink the first
    with fused(pipe, plan, three_adapters("flux")):
        assert error_of(draw(pipe, **call), backwards) <= 1e-6


def test_an_encoding_that_was_not_announced_is_an_error(pipes, three_adapters, draw):
    plan = FusionPlan(("fox",), lambda state: (Pass({"fox": 1.0}),), ({"fox": 0.5},))
    with (
        fused(pipes("sd15"), plan, three_adapters("sd15")),
        pytest.raises(BaseModelError, match="did not announce"),
    ):
        draw(pipes("sd15"))


def test_an_encoding_changed_on_its_way_is_an_error(pipes, three_adapters, draw):
    pipe = pipes("sd15")

    def change(pipe, step, timestep, tensors):
        return {"prompt_embeds": tensors["prompt_embeds"] + 1}

    with (
        fused(pipe, Switch(switch_every=1).plan(FOX_AND_INK, 3), three_adapters("sd15")),
        pytest.raises(BaseModelError, match="changed its prompt encoding"),
    ):
        draw(pipe, callback_on_step_end=change, callback_on_step_end_tensor_inputs=["latents", "prompt_embeds"])


def test_embeddings_of_a_persons_own_pass_through(pipes, three_adapters, draw, error_of):
    pipe, choice = pipes("sd15"), FOX_AND_INK[:1]
    embeds = pipe.encode_prompt("a red cat", "cpu", 1, True)
    call = {"prompt": None, "prompt_embeds": embeds[0], "negative_prompt_embeds": embeds[1]}
    bare = {"fox": replace(three_adapters("sd15")["fox"], text_encoders={})}
    with fused(pipe, Merge().plan(choice, 3), bare):
        expected = draw(pipe)
    with fused(pipe, Composite().plan(FOX_AND_INK, 3), three_adapters("sd15")):
        draw(pipe, **call)
    with fused(pipe, Merge().plan(choice, 3), three_adapters("sd15")):
        assert torch.equal(draw(pipe, **call), expected)


@pytest.mark.parametrize("family", ["sd15", "sdxl", "flux"])
def test_a_region_has_its_own_words_and_the_runs_negative_ones(pipes, draw, error_of, family):
    """Also where the prompt says the same as the negative one, and in a second picture of other words."""
    pipe, region = pipes(family), (RegionPrompt("a blue dog", ({},)),)
    plan = FusionPlan((), lambda state: (Pass({}, region=1),), ({},), regions=region)
    call = {"negative_prompt": "a house", **({"true_cfg_scale": 3.0} if family == "flux" else {})}
    expected = draw(pipe, prompt="a blue dog", **call)
    with fused(pipe, plan, {}):
        for prompt in ("a house", "a red cat"):
            assert error_of(draw(pipe, prompt=prompt, **call), expected) <= 1e-5
