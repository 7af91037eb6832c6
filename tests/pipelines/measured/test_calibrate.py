"""Measured effects: 0 and 1 where they must be, the very pictures of the pipeline, an attribute's mean."""

import pytest
import torch

from lora_loom.pipelines.measured.calibrate import STRENGTHS, Response, measured_response
from lora_loom.pipelines.measured.response import fitted
from lora_loom.pipelines.methods.merge import Merge
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.runtime.fused import fused

PROMPTS = ["a red cat", "a blue dog", "a house"]


@pytest.fixture(scope="module")
def measure(pipes, three_adapters):
    def run(strengths=STRENGTHS, **how):
        adapter = three_adapters("sd15")["fox"]
        return measured_response(pipes("sd15"), adapter, PROMPTS, strengths, num_inference_steps=2, **how).effects()

    return run


def test_no_strength_is_no_effect_and_full_strength_the_whole(measure):
    heard = []
    effects = measure(on_strength=heard.append)
    assert effects[0] == 0.0
    assert effects[STRENGTHS.index(1.0)] == pytest.approx(1.0)
    assert tuple(heard) == STRENGTHS
    assert 0.1 < effects[2] < 0.9
    assert fitted(STRENGTHS, effects).effect(1.0) == pytest.approx(1.0)


def test_the_effect_is_the_way_gone_from_the_base_to_the_whole(measure, pipes, three_adapters, draw):
    pipe, adapter = pipes("sd15"), three_adapters("sd15")["fox"]

    def latents(strength):
        generators = [torch.Generator().manual_seed(40 + k) for k in range(len(PROMPTS))]
        with fused(pipe, Merge().plan([AdapterChoice("fox", strength)], 2), {"fox": adapter}):
            return pipe(
                PROMPTS, num_inference_steps=2, guidance_scale=3.0, generator=generators, output_type="latent"
            ).images

    start = latents(0.0)
    way = latents(1.0) - start
    expected = float(((latents(0.5) - start) * way).sum() / way.square().sum())
    assert measure([0.5], first_seed=40) == [pytest.approx(expected, rel=1e-4)]


def test_an_attribute_sees_every_picture(measure):
    def brightness(pictures):
        assert pictures.dtype == "uint8"
        assert len(pictures) == len(PROMPTS)
        assert pictures.shape[3] == 3
        return [float(picture.mean()) for picture in pictures]

    first, again = measure([0.0, 1.0], attribute=brightness), measure([0.0, 1.0], attribute=brightness)
    assert first == again
    assert first[0] != first[1]


def test_some_pictures_alone_have_their_own_effect():
    response = Response((0.0, 1.0), ((0.0, 0.0), (1.0, 9.0)), (2.0, 10.0))
    assert response.effects() == [0.0, 10 / 12]
    assert response.effects([0, 0, 1]) == [0.0, 11 / 14]
    assert Response((0.0,), ((0.0,),), (0.0,)).effects() == [0.0]
