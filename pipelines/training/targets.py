"""Which layers of a base get a LoRA: the full names of its own modules, found by walking it, never guessed."""

from __future__ import annotations

from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.upsampling import Upsample2D
from torch import nn
from transformers.models.clip.modeling_clip import CLIPMLP, CLIPAttention

from lora_loom.pipelines.errors import BaseModelError
from lora_loom.pipelines.training.settings import Targets

CONVOLUTIONAL = (ResnetBlock2D, Downsample2D, Upsample2D)


def denoiser_targets(denoiser: nn.Module, targets: Targets) -> list[str]:
    """Names of the layers for `targets`.

    attention: the projections of self- and cross-attention. conv: and the convolutions of residual blocks, down- and
    upsamplers. full: and the feed-forward layers and the projections into and out of each transformer.
    """
    names = _inside(denoiser, (Attention,), nn.Linear)
    if targets in ("conv", "full"):
        names |= _inside(denoiser, CONVOLUTIONAL, nn.Conv2d)
    if targets == "full":
        names |= _inside(denoiser, (FeedForward,), nn.Linear)
        transformers = [name for name, module in _modules(denoiser) if isinstance(module, Transformer2DModel)]
        names |= {f"{name}.{projection}" for name in transformers for projection in ("proj_in", "proj_out")}
    return _some(names, denoiser)


def text_encoder_targets(text_encoder: nn.Module, targets: Targets) -> list[str]:
    """Names of the attention projections of a CLIP text encoder, and of its feed-forward layers for `full`."""
    kinds = (CLIPAttention, CLIPMLP) if targets == "full" else (CLIPAttention,)
    return _some(_inside(text_encoder, kinds, nn.Linear), text_encoder)


def _inside(model: nn.Module, owners: tuple[type[nn.Module], ...], kind: type[nn.Module]) -> set[str]:
    """Full names of the layers of one kind that sit inside a module of one of the owner classes."""
    return {
        f"{owner_name}.{name}" if owner_name else name
        for owner_name, owner in _modules(model)
        if isinstance(owner, owners)
        for name, layer in _modules(owner)
        if isinstance(layer, kind)
    }


def _modules(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return list(model.named_modules())  # pyright: ignore[reportUnknownArgumentType]


def _some(names: set[str], model: nn.Module) -> list[str]:
    if not names:
        raise BaseModelError(
            f"{type(model).__name__} has no layer that a LoRA could be put on", expected="attention layers"
        )
    return sorted(names)
