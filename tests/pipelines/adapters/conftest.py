"""Tiny bases with the true block structure of SD1.5, SDXL, SD3 and FLUX, and random factors for any of their layers."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from lora_loom.pipelines.adapters.target import BaseTarget

WIDTH = 16  # of the text that the U-Nets attend to: neither 768 nor 1024 nor 2048


@dataclass(frozen=True)
class Base:
    """Models by component, and what they offer."""

    models: Mapping[str, nn.Module]
    target: BaseTarget


@dataclass
class LoraFile:
    """Keys and tensors as some trainer would write them, and the updates that they mean by (component, module path)."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    deltas: dict[tuple[str, str], Tensor] = field(default_factory=dict)

    def save(self, path, metadata: Mapping[str, str] | None = None):
        save_file(self.tensors, path, metadata=dict(metadata) if metadata else None)
        return path


def _unet(**config: Any) -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=2, norm_num_groups=4, **config
    ).eval()


def _clip(kind: type[nn.Module] = CLIPTextModel, layers: int = 2, width: int = WIDTH) -> nn.Module:
    torch.manual_seed(1)
    config = CLIPTextConfig(
        vocab_size=64,
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=16,
        projection_dim=8,
        bos_token_id=0,
        eos_token_id=2,
    )
    return kind(config).eval()


def _t5() -> nn.Module:
    config = T5Config(
        vocab_size=64, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu"
    )
    return T5EncoderModel(config).eval()


def make_sd15() -> dict[str, nn.Module]:
    unet = _unet(
        block_out_channels=(8, 8, 16, 16),
        attention_head_dim=2,
        cross_attention_dim=WIDTH,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    )
    return {"denoiser": unet, "text_encoder": _clip()}


def make_sdxl() -> dict[str, nn.Module]:
    unet = _unet(
        block_out_channels=(8, 16, 16),
        attention_head_dim=(1, 2, 2),
        cross_attention_dim=2 * WIDTH,
        transformer_layers_per_block=(1, 2, 10),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=8 + 6 * 8,
    )
    return {"denoiser": unet, "text_encoder": _clip(), "text_encoder_2": _clip(CLIPTextModelWithProjection)}


def make_sd3() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=3,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=16,
        caption_projection_dim=16,
        pooled_projection_dim=8,
        out_channels=4,
        pos_embed_max_size=8,
        dual_attention_layers=(0, 1),
        qk_norm="rms_norm",
    ).eval()
    clips = {"text_encoder": _clip(CLIPTextModelWithProjection), "text_encoder_2": _clip(CLIPTextModelWithProjection)}
    return {"denoiser": transformer, **clips, "text_encoder_3": _t5()}


def make_flux() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=8,
        num_layers=2,
        num_single_layers=3,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=8,
        guidance_embeds=True,
        axes_dims_rope=(2, 2, 4),
    ).eval()
    return {"denoiser": transformer, "text_encoder": _clip(), "text_encoder_2": _t5()}


MAKERS: dict[str, Callable[[], dict[str, nn.Module]]] = {
    "sd15": make_sd15,
    "sdxl": make_sdxl,
    "sd3": make_sd3,
    "flux": make_flux,
}


PIPELINES = {
    "sd15": "StableDiffusionPipeline",
    "sdxl": "StableDiffusionXLPipeline",
    "sd3": "StableDiffusion3Pipeline",
    "flux": "FluxPipeline",
}


@pytest.fixture(scope="session")
def bases() -> dict[str, Base]:
    made = {name: make() for name, make in MAKERS.items()}
    return {name: Base(models, BaseTarget.from_modules(models)) for name, models in made.items()}


@pytest.fixture
def fresh() -> Callable[[str], dict[str, nn.Module]]:
    """New models of a family with the same weights as those in `bases`, to load adapters into."""
    return lambda family: MAKERS[family]()


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


@pytest.fixture
def lora(generator: torch.Generator):
    """`lora(base, names, ...)`: a file with a LoRA on each (component, path), under the stem that `names` gives it."""

    def make(
        base: Base,
        names: Mapping[tuple[str, str], str],
        *,
        parts: tuple[str, str] = ("lora_down.weight", "lora_up.weight"),
        ranks: Iterable[int] = (2,),
        alphas: Iterable[float | None] = (None,),
        into: LoraFile | None = None,
    ) -> LoraFile:
        file = into or LoraFile()
        ranks, alphas = list(ranks), list(alphas)
        for index, ((component, path), stem) in enumerate(names.items()):
            weight = base.target.components[component][path].weight
            rank, alpha = ranks[index % len(ranks)], alphas[index % len(alphas)]
            down = torch.randn(rank, *weight[1:], generator=generator)
            up = torch.randn(weight[0], rank, *[1] * (len(weight) - 2), generator=generator)
            file.tensors[f"{stem}.{parts[0]}"] = down
            file.tensors[f"{stem}.{parts[1]}"] = up
            if alpha is not None:
                file.tensors[f"{stem}.alpha"] = torch.tensor(float(alpha))
            scale = 1.0 if alpha is None else alpha / rank
            file.deltas[component, path] = scale * (up.flatten(1) @ down.flatten(1)).reshape(weight)
        return file

    return make


@pytest.fixture
def assert_same_deltas():
    """Compare an adapter with the updates that a file means: the same modules, each within 1e-5 of its largest."""

    def compare(adapter, deltas: Mapping[tuple[str, str], Tensor]) -> None:
        found = {(name, path): each.delta() for name, of in adapter.components.items() for path, each in of.items()}
        assert found.keys() == deltas.keys()
        for key, delta in deltas.items():
            assert found[key].shape == delta.shape, key
            torch.testing.assert_close(found[key], delta, atol=1e-5 * max(1.0, float(delta.abs().max())), rtol=0)

    return compare


@pytest.fixture
def diffusers_deltas(fresh):
    """The updates that PEFT applies, by (component, path), after diffusers' own loader has read the tensors."""

    def load(family: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any] | None = None):
        models = fresh(family)
        pipeline = getattr(diffusers, PIPELINES[family])
        config = {"unet_config": models["denoiser"].config} if family in ("sd15", "sdxl") else {}
        options = {"return_alphas": True} if family == "flux" else {}
        found = pipeline.lora_state_dict(dict(tensors), **config, **options)
        state, alphas = found if isinstance(found, tuple) else (found, None)
        shared = {"network_alphas": alphas, "adapter_name": "a", "metadata": metadata}
        if family in ("sd15", "sdxl"):
            pipeline.load_lora_into_unet(state, unet=models["denoiser"], **shared)
        else:
            without_alphas = {"adapter_name": "a", "metadata": metadata}
            options = shared if family == "flux" else without_alphas
            pipeline.load_lora_into_transformer(state, transformer=models["denoiser"], **options)
        for name, model in models.items():
            if any(key.startswith(f"{name}.") for key in state):
                pipeline.load_lora_into_text_encoder(state, text_encoder=model, prefix=name, **shared)
        deltas = {
            (name, path): module.get_delta_weight("a").detach()
            for name, model in models.items()
            for path, module in model.named_modules()
            if "a" in getattr(module, "lora_A", {})
        }
        return deltas, models

    return load


@pytest.fixture
def header_of():
    """The JSON header of a safetensors file, read without any of our code."""

    def read(path: Path) -> dict[str, Any]:
        blob = path.read_bytes()
        return json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])

    return read
