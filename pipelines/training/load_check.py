"""Does the file do what the training did? It is loaded the way a stranger would, and the predictions are compared."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.loaders.lora_pipeline import StableDiffusionLoraLoaderMixin, StableDiffusionXLLoraLoaderMixin
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from torch import Tensor
from transformers.utils import logging as transformers_logging

from lora_loom.pipelines.errors import TrainingError
from lora_loom.pipelines.training.attach import detach
from lora_loom.pipelines.training.base_model import text_encoders
from lora_loom.pipelines.training.captions import TextStates, encode_captions
from lora_loom.pipelines.training.draws import generator_for

TOLERANCE = 0.02  # of the update's own effect; half-precision files are within 0.002
ROUNDING = 2.0  # units in the last place of the base's dtype: below it, a half-precision base rounds updates away


def added_conditions(pipe: Any, text: TextStates, size: int) -> dict[str, Tensor] | None:
    """SDXL's second conditioning for n pictures of the side `size`, uncropped; None for the other families."""
    if text.pooled is None:
        return None
    numbers = torch.tensor([size, size, 0, 0, size, size], device=text.pooled.device, dtype=text.pooled.dtype)
    return {"text_embeds": text.pooled, "time_ids": numbers.expand(len(text.pooled), 6)}


@torch.no_grad()
def probe(pipe: Any, caption: str, size: int) -> Tensor:
    """What the denoiser predicts for one caption and fixed noise in mid-schedule, [1 c h w] in float32."""
    unet = pipe.unet
    side = size // int(pipe.vae_scale_factor)
    noise = torch.randn((1, int(unet.config.in_channels), side, side), generator=generator_for(0, "probe", 0))
    text = encode_captions(pipe, [caption])
    modes = {module: module.training for module in (unet, *text_encoders(pipe).values())}
    for module in modes:
        module.eval()
    prediction = unet(
        noise.to(unet.device, unet.dtype),
        torch.tensor([500], device=unet.device),
        encoder_hidden_states=text.tokens.to(unet.dtype),
        added_cond_kwargs=added_conditions(pipe, text, size),
        return_dict=False,
    )[0]
    for module, mode in modes.items():
        module.train(mode)
    return cast("Tensor", prediction).float().cpu()


def check_file(pipe: Any, path: Path, caption: str, size: int, trained: Tensor) -> None:
    """TrainingError unless the file, loaded by diffusers into the bare base, does what the training did.

    `trained` is the probe of the base with the LoRA as it was trained. The pipeline must carry no adapter, and carries
    none afterwards.
    """
    bare = probe(pipe, caption, size)
    with _loaded(pipe, path):
        loaded = probe(pipe, caption, size)
    change = float((trained - bare).square().sum().sqrt())
    error = float((loaded - trained).square().sum().sqrt())
    rounding = ROUNDING * torch.finfo(pipe.unet.dtype).eps * float(bare.square().sum().sqrt())
    if change == 0.0:
        raise TrainingError(
            "the LoRA does not change what the base draws",
            expected="a different prediction",
            found="the same one, bit for bit",
            remedy="train longer or with a higher learning rate",
        )
    if error > TOLERANCE * change + rounding:
        raise TrainingError(
            f"{path} does not do in the pipeline what it did in training",
            expected=f"a difference of at most {TOLERANCE:.0%} of its effect",
            found=f"{error / change:.1%}",
        )


@contextmanager
def _loaded(pipe: Any, path: Path) -> Generator[None]:
    xl = isinstance(pipe, StableDiffusionXLPipeline)
    mixin: Any = StableDiffusionXLLoraLoaderMixin if xl else StableDiffusionLoraLoaderMixin
    config = {"unet_config": pipe.unet.config} if xl else {}
    state, alphas, metadata = mixin.lora_state_dict(path, return_lora_metadata=True, **config)
    encoders = {
        name: it for name, it in text_encoders(pipe).items() if any(key.startswith(f"{name}.") for key in state)
    }
    shows_progress = transformers_logging.is_progress_bar_enabled()
    try:
        transformers_logging.disable_progress_bar()
        mixin.load_lora_into_unet(state, network_alphas=alphas, unet=pipe.unet, adapter_name="check", metadata=metadata)
        for name, encoder in encoders.items():
            mixin.load_lora_into_text_encoder(
                state,
                network_alphas=alphas,
                text_encoder=encoder,
                prefix=name,
                adapter_name="check",
                metadata=metadata,
            )
        yield
    finally:
        if shows_progress:
            transformers_logging.enable_progress_bar()
        for module in (pipe.unet, *encoders.values()):
            detach(module)
