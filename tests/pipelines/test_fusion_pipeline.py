"""The families are diffusers pipelines with diffusers' verbs, and convert to and from plain ones."""

import json

import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusionImg2ImgPipeline

from lora_loom import pipelines
from lora_loom.pipelines.errors import BaseModelError, LoomWarning, RequestError, UnknownMethodError
from lora_loom.pipelines.families import (
    ChromaFusionPipeline,
    FluxFusionPipeline,
    FusionPipeline,
    StableDiffusion3FusionPipeline,
    StableDiffusionFusionPipeline,
    StableDiffusionXLFusionPipeline,
    ZImageFusionPipeline,
)
from lora_loom.pipelines.methods.switch import Switch
from lora_loom.pipelines.requests.control import Region
from lora_loom.pipelines.runtime.fused import fused

CLASSES = {
    "sd15": StableDiffusionFusionPipeline,
    "sdxl": StableDiffusionXLFusionPipeline,
    "sd3": StableDiffusion3FusionPipeline,
    "flux": FluxFusionPipeline,
    "chroma": ChromaFusionPipeline,
    "zimage": ZImageFusionPipeline,
}


def with_loras(pipe, loras):
    made = FusionPipeline.from_pipe(pipe)
    made.set_progress_bar_config(disable=True)
    for name, tensors in loras.items():
        made.load_lora_weights(tensors, adapter_name=name)
    made.set_adapters(["fox", "ink"], [0.9, 0.5])
    return made


@pytest.fixture
def fusion(pipe, family, three_loras):
    return with_loras(pipe, three_loras(family))


def test_the_family_is_a_diffusers_pipeline(pipe, family, draw):
    made = FusionPipeline.from_pipe(pipe)
    assert type(made) is CLASSES[family]
    assert isinstance(made, type(pipe))
    assert made.components.keys() == pipe.components.keys()
    made.set_progress_bar_config(disable=True)
    assert torch.equal(draw(made), draw(pipe))


def test_the_active_loras_draw_as_diffusers_would(fusion, family, draw, peft_pipes, error_of):
    expected = draw(peft_pipes(family, {"fox": 0.9, "ink": 0.5}))
    assert error_of(draw(fusion), expected) <= 1e-5
    assert error_of(draw(fusion, fusion="switch", fusion_settings={"switch_every": 1}), expected) > 1e-4


def test_a_plain_pipeline_takes_the_models_without_loras(pipe, fusion, draw):
    with pytest.warns(LoomWarning, match="without fox, ink"):
        plain = type(pipe).from_pipe(fusion)
    plain.set_progress_bar_config(disable=True)
    assert type(plain) is type(pipe)
    assert torch.equal(draw(plain), draw(pipe))


def test_a_fusion_pipeline_brings_its_loras_along(fusion, draw):
    other = FusionPipeline.from_pipe(fusion)
    other.set_progress_bar_config(disable=True)
    assert torch.equal(draw(other), draw(fusion))


def test_a_saved_folder_opens_with_and_without_loom(fusion, family, pipe, tmp_path, draw, error_of):
    with pytest.warns(LoomWarning, match="the base without fox, ink, fog"):
        fusion.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "model_index.json").read_text())["_class_name"] == type(pipe).__name__
    plain, again = DiffusionPipeline.from_pretrained(tmp_path), FusionPipeline.from_pretrained(tmp_path)
    assert type(plain) is type(pipe)
    assert type(again) is type(CLASSES[family].from_pretrained(tmp_path)) is CLASSES[family]
    again.set_progress_bar_config(disable=True)
    assert error_of(draw(again), draw(pipe)) <= 1e-5


class TestOnOneFamily:
    """What does not depend on the family."""

    @pytest.fixture
    def fusion(self, pipes, three_loras):
        return with_loras(pipes("sd15"), three_loras("sd15"))

    def test_the_package_exports_it(self):
        assert pipelines.FusionPipeline is FusionPipeline
        with pytest.raises(AttributeError, match="nothing"):
            pipelines.nothing  # noqa: B018

    def test_a_method_may_be_given_ready_made(self, fusion, draw):
        by_name = draw(fusion, fusion="switch", fusion_settings={"switch_every": 2})
        assert torch.equal(draw(fusion, fusion=Switch(switch_every=2)), by_name)

    def test_an_unknown_method_is_named(self, fusion, draw):
        with pytest.raises(UnknownMethodError, match="'blend'"):
            draw(fusion, fusion="blend")

    def test_a_plan_and_the_loras_serve_another_pipeline_of_the_models(self, fusion, draw):
        with pytest.warns(LoomWarning, match="without fox, ink"):
            other = StableDiffusionImg2ImgPipeline.from_pipe(fusion)
        other.set_progress_bar_config(disable=True)
        call = {"image": torch.rand(1, 3, 64, 64), "strength": 0.8}
        base = draw(other, **call)
        with fused(other, fusion.plan("composite"), fusion.adapters, fusion.bank) as run:
            assert not torch.equal(draw(other, **call), base)
        assert run.passes == {"full": 4}

    def test_inside_fused_the_picture_follows_the_plan(self, fusion, draw):
        alone = Switch().plan(fusion.loaded.choices[:1], 3)
        with fused(fusion, alone, fusion.adapters) as run:
            draw(fusion, fusion="composite")
        assert run.passes == {"full": 3}

    def test_a_region_with_words_of_its_own_draws(self, fusion, draw):
        before = draw(fusion)
        region = Region(box=(0.0, 0.0, 0.5, 1.0), prompt="a blue dog")
        fusion.set_adapters(["fox", "ink"], [0.9, 0.5], controls={"fox": {"region": region}})
        assert not torch.equal(draw(fusion), before)

    def test_inside_fused_a_scale_is_refused(self, fusion, draw):
        with (
            fused(fusion, fusion.plan(), fusion.adapters),
            pytest.raises(RequestError, match="the plan has the strengths"),
        ):
            draw(fusion, cross_attention_kwargs={"scale": 0.5})

    @pytest.mark.parametrize("family", ["sdxl", "flux"])
    def test_another_family_is_refused_by_name(self, pipes, family):
        with pytest.raises(BaseModelError, match="expected StableDiffusionPipeline"):
            StableDiffusionFusionPipeline.from_pipe(pipes(family))

    def test_a_tiny_autoencoder_is_as_good_as_any(self, tiny_pocket, caplog):
        with caplog.at_level("WARNING"):
            pipe = FusionPipeline.from_pretrained(tiny_pocket)
        assert "Expected types for vae" not in caplog.text
        assert FusionPipeline.from_pipe(pipe).vae is pipe.vae

    def test_another_kind_of_pipeline_is_refused(self, pipes):
        other = StableDiffusionImg2ImgPipeline.from_pipe(pipes("sd15"))
        with pytest.raises(BaseModelError, match=r"StableDiffusionImg2ImgPipeline.*fused"):
            FusionPipeline.from_pipe(other)

    def test_a_folder_with_parts_missing_is_refused(self, fusion, tmp_path):
        fusion.unload_lora_weights()
        fusion.save_pretrained(tmp_path)
        for weights in (tmp_path / "unet").glob("*.safetensors"):
            weights.unlink()
        with pytest.raises(BaseModelError, match="could not be loaded"):
            FusionPipeline.from_pretrained(tmp_path)
