"""A family is one descriptor: each is complete, nothing else names one, and what is of no family is refused by name."""

import re
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType

import diffusers
import pytest
import torch
from torch import nn

from lora_loom.pipelines import bases, generate
from lora_loom.pipelines.adapters import base_family, target, write
from lora_loom.pipelines.adapters.load import load_adapter
from lora_loom.pipelines.adapters.naming import index
from lora_loom.pipelines.adapters.target import BaseTarget
from lora_loom.pipelines.errors import AdapterMatchError, BaseModelError
from lora_loom.pipelines.families import FusionPipeline, families, running
from lora_loom.pipelines.families.family import FileLayout
from lora_loom.pipelines.forecast import layer_place
from lora_loom.pipelines.plan import FusionPlan, Pass, base_plan
from lora_loom.pipelines.registry import create
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.requests.control import Region
from lora_loom.pipelines.runtime import block_groups, controls, targets
from lora_loom.pipelines.runtime.fused import fused
from tests.pipelines.conftest import FAMILIES

READERS = (target, base_family, index, write, targets, block_groups, controls, layer_place, bases, generate)


def test_those_that_read_the_descriptors_name_no_family():
    names = {re.escape(each) for family in families().values() for each in (family.name, family.denoiser) if each}
    pattern = re.compile(
        "|".join((*names - {"pocket"}, "flux", "stable.?diffusion", "sd_?xl", "sd_?3", "kolors")), re.I
    )
    for module in READERS:
        text = Path(module.__file__).read_text(encoding="utf-8")
        code = text.replace("(arXiv:2601.02211, on FLUX and SD3.5)", "")  # what a paper looked at
        assert not pattern.findall(code), module.__name__


def test_the_registry_needs_nothing_heavy():
    code = "import sys; from lora_loom.pipelines.families import families; families(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_a_family_that_runs_says_all_that_is_needed():
    for family in running():
        for name in family.pipelines:
            assert hasattr(diffusers, name), name
        assert hasattr(diffusers, family.denoiser)
        assert family.pipelines.text
        assert family.pipelines.image
        assert family.pipelines.inpaint
        assert family.evidence
        assert family.claims
        assert family.build
        assert family.naming
        assert family.blocks.roles
        assert family.blocks.stacks
        assert family.text_encoders
        assert family.layout != FileLayout()
        assert re.search(family.claims, family.layout.version)
        assert re.search(family.claims, family.layout.architecture)


def test_what_one_family_writes_no_other_claims():
    for family in running():
        for said in (family.layout.version, family.layout.architecture):
            found = base_family.detect_base_family(["x"], {"x": ()}, {"modelspec.architecture": said})
            assert found.name == family.name


def test_every_family_under_test_is_found_by_its_pipeline(pipe, family):
    known = "pocket" if family == "sd15" else family  # tiny, so of another width
    assert targets.denoiser_of(pipe).family.name == BaseTarget.from_pipeline(pipe).family == known


def test_progress_is_what_the_scheduler_says(pipe, family, draw):
    """The share of noise that is left, read from the scheduler's own list and not from the denoiser's argument."""
    states = []
    plan = FusionPlan((), lambda state: states.append(state) or (Pass({}),), ({},))
    with fused(pipe, plan, {}):
        draw(pipe, num_inference_steps=4)
    times = {state.index: state for state in states}
    for at, state in times.items():
        assert state.timestep == pytest.approx(float(pipe.scheduler.timesteps[at]), abs=0.01)
        if not hasattr(pipe.scheduler, "alphas_cumprod"):
            assert state.progress == pytest.approx(1 - float(pipe.scheduler.sigmas[at]), abs=1e-5)
    assert len({state.progress for state in times.values()}) == 4


def test_both_layouts_are_read_back_as_they_were(pipe, family, adapters, tmp_path):
    for layout in ("peft", "kohya"):
        path = tmp_path / f"{layout}.safetensors"
        write.save_adapter(adapters["ink"], path, layout=layout)
        read = load_adapter(path, name="ink", target=BaseTarget.from_pipeline(pipe))
        assert read.receipt.complete
        assert read.components.keys() == adapters["ink"].components.keys()
        for component, factors in adapters["ink"].components.items():
            for place, each in factors.items():
                torch.testing.assert_close(read.components[component][place].delta(), each.delta())


def test_a_prompt_of_a_region_brings_its_own_mask_and_length(pipes, three_adapters, draw, error_of):
    """Over the whole picture it is the prompt of the picture, whatever the pipeline makes of its padding."""
    long = "a blue dog in the house with a photo of the cat on a house with a dog in a house of the red dog"
    for family in ("chroma", "zimage"):
        pictures = []
        for prompt, region in (("a red cat", Region(box=(0, 0, 1, 1), prompt=long)), (long, None)):
            plan = create("merge").plan([AdapterChoice("fox", 0.8, region=region)], 3)
            with fused(pipes(family), plan, three_adapters(family)):
                pictures.append(draw(pipes(family), prompt=prompt, max_sequence_length=48))
        assert error_of(*pictures) <= 1e-5


class SeventhKind(nn.Module):
    config = MappingProxyType({})

    def __init__(self):
        super().__init__()
        self.transformer_blocks = nn.ModuleList([nn.Linear(4, 4)])


class Pipeline:
    def __init__(self, transformer):
        self.transformer = transformer


class Flux2Pipeline(Pipeline):
    pass


def test_a_pipeline_of_another_kind_is_refused_by_name():
    for kind, said in (
        (Pipeline, "of no family that Loom knows"),
        (Flux2Pipeline, r"a FLUX\.2 base that Loom does not"),
    ):
        pipe = kind(SeventhKind())
        for refuse in (BaseTarget.from_pipeline, targets.denoiser_of, FusionPipeline.from_pipe):
            with pytest.raises(BaseModelError, match=rf"{said}.*Chroma, FLUX.*Z-Image.*{kind.__name__}"):
                refuse(pipe)
        with pytest.raises(BaseModelError, match=said), fused(pipe, base_plan(), {}):
            pass
    with pytest.raises(BaseModelError, match="without a unet or a transformer"):
        targets.denoiser_of(object())


def test_a_folder_of_another_kind_is_refused_by_name(tmp_path):
    for name, said in (
        ("Flux2Pipeline", r"a FLUX\.2 base"),
        ("PixArtSigmaPipeline", "a PixArt base"),
        ("SeventhPipeline", "of no family"),
    ):
        (tmp_path / "model_index.json").write_text(f'{{"_class_name": "{name}"}}')
        with pytest.raises(BaseModelError, match=rf"{said}.*{name}"):
            FusionPipeline.from_pretrained(tmp_path)


def test_a_file_of_a_family_that_is_only_recognised_is_refused_by_name(pipes):
    key = "diffusion_model.double_stream_modulation_img.lin"
    tensors = {f"{key}.lora_A.weight": torch.zeros(2, 8), f"{key}.lora_B.weight": torch.zeros(8, 2)}
    with pytest.raises(AdapterMatchError, match=r"is for FLUX\.2, which Loom does not run.*Chroma, FLUX"):
        load_adapter(tensors, name="a", target=BaseTarget.from_pipeline(pipes("flux")))


def test_the_network_of_another_base_with_the_same_class_is_refused():
    """Kolors has SDXL's U-Net behind one more layer, for a text encoder of its own."""
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=4,
        cross_attention_dim=8,
        encoder_hid_dim=12,
        encoder_hid_dim_type="text_proj",
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=56,
    )
    assert targets.family_of_model(unet) is None


def test_original_names_point_where_diffusers_keeps_the_layers(pipes):
    zimage, chroma = (BaseTarget.from_pipeline(pipes(name)) for name in ("zimage", "chroma"))
    for name, paths in (
        ("layers.0.attention.qkv", ["layers.0.attention.to_q", "layers.0.attention.to_k", "layers.0.attention.to_v"]),
        ("context_refiner.0.attention.out", ["context_refiner.0.attention.to_out.0"]),
        ("x_embedder", ["all_x_embedder.2-1"]),
        ("final_layer.linear", ["all_final_layer.2-1.linear"]),
    ):
        for underscored in (False, True):
            said = name.replace(".", "_") if underscored else name
            assert [place.path for place in zimage.find("denoiser", said, underscored=underscored)] == paths
    for name, path in (
        ("distilled_guidance_layer.layers.0.in_layer", "distilled_guidance_layer.layers.0.linear_1"),
        ("distilled_guidance_layer.out_proj", "distilled_guidance_layer.out_proj"),
        ("double_blocks.1.img_mlp.0", "transformer_blocks.1.ff.net.0.proj"),
        ("single_blocks.0.linear2", "single_transformer_blocks.0.proj_out"),
    ):
        assert [place.path for place in chroma.find("denoiser", name, underscored=False)] == [path]


def test_six_families_are_under_contract():
    assert set(FAMILIES) == {family.name for family in running()} - {"pocket", "sd2"}
