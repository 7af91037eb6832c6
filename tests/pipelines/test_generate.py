"""A request becomes pictures: each from its own seed, with progress and previews, stoppable at every step."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lora_loom.pipelines import generate as generate_module
from lora_loom.pipelines.errors import CancelledError, RequestError, UnknownAdapterError
from lora_loom.pipelines.families import FusionPipeline
from lora_loom.pipelines.generate import generate, generate_batch, preview
from lora_loom.pipelines.request import AdapterChoice, GenerationRequest

REQUEST = GenerationRequest(
    "a red cat",
    adapters=(AdapterChoice("fox", 0.9), AdapterChoice("ink", 0.5)),
    method="composite",
    num_inference_steps=2,
    width=64,
    height=48,
    seed=5,
)


@pytest.fixture
def fusion(pipe):
    made = FusionPipeline.from_pipe(pipe)
    made.set_progress_bar_config(disable=True)
    return made


def pixels(generated):
    return [np.asarray(image) for image in generated.images]


def test_pictures_are_drawn_from_seed_plus_index(fusion, adapters, per_call):
    two = generate(fusion, replace(REQUEST, num_images_per_prompt=2), adapters)
    second = generate(fusion, replace(REQUEST, seed=6), adapters)
    assert [image.size for image in two.images] == [(64, 48)] * 2
    assert np.array_equal(pixels(two)[1], pixels(second)[0])
    assert not np.array_equal(*pixels(two))
    assert per_call(two.passes) == {"full": 2 * 2 * 2}  # pictures, steps, adapters
    assert two.seconds > 0
    assert two.peak_memory_bytes > 2**20


def test_a_batch_of_different_prompts_and_seeds_draws_each_as_alone(fusion, adapters, per_call):
    requests = [replace(REQUEST, prompt=prompt, seed=seed) for prompt, seed in (("a red cat", 5), ("blue dog", 2**60))]
    if fusion.diffusers_class.__name__ != "FluxPipeline":
        requests = [replace(request, negative_prompt="an old house") for request in requests]
    made = generate_batch(fusion, requests, adapters)
    alone = [pixels(generate(fusion, request, adapters))[0] for request in requests]
    assert all(np.abs(a.astype(int) - b).max() <= 1 for a, b in zip(pixels(made), alone, strict=True))
    assert per_call(made.passes) == {"full": 2 * 2}  # steps, adapters: those of each picture
    assert not np.array_equal(*pixels(made))


def test_progress_tells_steps_and_shows_the_picture(fusion, adapters):
    heard = []

    def listen(progress):
        picture = preview(fusion, progress.latents)
        heard.append((progress.index, progress.num_inference_steps, picture.size, progress.seconds))

    generate(fusion, replace(REQUEST, num_images_per_prompt=2), adapters, on_step=listen)
    assert [each[:3] for each in heard] == [(index, 4, (64, 48)) for index in range(4)]
    assert [each[3] for each in heard] == sorted(each[3] for each in heard)


class TestOnOneFamily:
    """What does not depend on the family."""

    @pytest.fixture
    def pipe(self, pipes):
        return pipes("sd15")

    @pytest.fixture
    def adapters(self, three_adapters):
        return three_adapters("sd15")

    def test_a_plain_pipeline_draws_the_same(self, pipe, fusion, adapters):
        assert np.array_equal(*pixels(generate(pipe, REQUEST, adapters)), *pixels(generate(fusion, REQUEST, adapters)))

    def test_a_batch_on_an_accelerator_draws_the_same(self, pipe, adapters, monkeypatch):
        request = replace(REQUEST, num_images_per_prompt=3)
        one_by_one = pixels(generate(pipe, request, adapters))

        class Accelerator:
            type = "accelerator"

        monkeypatch.setattr(generate_module, "AT_ONCE_ON_ACCELERATOR", 2)
        monkeypatch.setattr(generate_module, "_device_of", lambda pipe: Accelerator())
        batched = pixels(generate(pipe, request, adapters))
        assert len(batched) == 3
        assert all(np.abs(a.astype(int) - b).max() <= 1 for a, b in zip(one_by_one, batched, strict=True))

    def test_a_batch_of_one_is_the_picture_itself(self, fusion, adapters):
        alone, batch = generate(fusion, REQUEST, adapters), generate_batch(fusion, [REQUEST], adapters)
        assert np.array_equal(*pixels(alone), *pixels(batch))

    def test_requests_that_cannot_share_a_batch_are_refused(self, fusion, adapters, subtests):
        cases = [{"guidance_scale": 1.0}, {"num_images_per_prompt": 2}, {"negative_prompt": "x"}]
        for other in cases:
            with subtests.test(other=other), pytest.raises(RequestError, match="batch"):
                generate_batch(fusion, [REQUEST, replace(REQUEST, **other)], adapters)

    def test_loras_of_the_pipelines_own_take_no_part(self, fusion, adapters, three_loras):
        before = pixels(generate(fusion, REQUEST, adapters))
        fusion.load_lora_weights(three_loras("sd15")["fog"], adapter_name="fog")
        assert np.array_equal(*pixels(generate(fusion, REQUEST, adapters)), *before)

    def test_no_adapter_draws_the_base(self, fusion, draw):
        found = generate(fusion, replace(REQUEST, adapters=(), height=64), {})
        expected = draw(fusion, seed=5, num_inference_steps=2, guidance_scale=3.0, output_type="np")
        assert np.array_equal(pixels(found)[0], (expected[0] * 255).round().astype("uint8"))

    def test_the_scheduler_of_the_request_is_used_and_taken_back(self, fusion, adapters):
        own = fusion.scheduler
        default = pixels(generate(fusion, REQUEST, adapters))
        second_order = generate(fusion, replace(REQUEST, scheduler="heun"), adapters)
        assert fusion.scheduler is own
        assert not np.array_equal(*pixels(second_order), *default)
        assert second_order.passes == {"full": 3 * 2}  # the last step is of first order

    def test_a_cancelled_run_stops_within_a_step_and_leaves_nothing(self, fusion, adapters, draw):
        base, asked = draw(fusion), []

        def cancelled():
            asked.append(1)
            return len(asked) == 2  # once before the first step, once after it

        with pytest.raises(CancelledError):
            generate(fusion, replace(REQUEST, num_inference_steps=50), adapters, cancelled=cancelled)
        assert len(asked) == 2
        assert torch.equal(draw(fusion), base)

    def test_a_size_between_latents_is_refused_with_its_neighbours(self, fusion, adapters):
        with pytest.raises(RequestError, match=r"width of 65.*multiple of 8.*64 or 72"):
            generate(fusion, replace(REQUEST, width=65), adapters)

    def test_the_bases_own_size_is_the_default(self, fusion):
        found = generate(fusion, replace(REQUEST, adapters=(), width=None, height=None), {})
        assert found.images[0].size == (64, 64)

    def test_an_adapter_that_was_not_given_is_named(self, fusion, adapters):
        with pytest.raises(UnknownAdapterError, match="ink"):
            generate(fusion, REQUEST, {"fox": adapters["fox"]})

    def test_a_large_preview_is_decoded_small(self, fusion):
        assert preview(fusion, torch.randn(1, 4, 32, 64)).size == (128, 64)


def test_a_distilled_base_takes_no_negative_prompt(pipes):
    with pytest.raises(RequestError, match="negative prompt"):
        generate(pipes("flux"), replace(REQUEST, adapters=(), negative_prompt="a dog"), {})
