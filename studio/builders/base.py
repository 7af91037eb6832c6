"""Train the pocket base (U-Net and text encoder): `python -m lora_loom.studio.builders.base --work DIR`.

v-prediction on a zero-terminal-SNR schedule, no weighting over time: min-SNR weights would switch off exactly the noisy
steps in which layout is decided. The learning rate is warm, then constant, then falls linearly over the last third, so
that a run can be prolonged by a larger `--steps` as long as it has not begun to fall; `--seconds` ends it by the clock.
Latents and captions lie on the device. Needs the folder of `lora_loom.studio.builders.autoencoder`.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.training_utils import EMAModel
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm
from transformers import CLIPTextConfig, CLIPTextModel

from lora_loom.pipelines.training.loop_settings import plateau
from lora_loom.pipelines.training.objective import Objective, ParameterGroup, Passes, Reached
from lora_loom.studio.builders.pictures import BASE_SEED, SIZE, captions, drawn_once
from lora_loom.studio.builders.training import built, learning, settings_for, write_log
from lora_loom.studio.pocket.tokenizer import new_tokenizer

CAPTIONS = 6  # of each picture
WIDTHS = (64, 128, 192)
TEXT_WIDTH = 128


class Denoiser(nn.Module):
    """U-Net and text encoder as one module, so that one optimizer, average and checkpoint hold both."""

    def __init__(self, latent_channels: int, sample_size: int, tokenizer: Any) -> None:
        super().__init__()
        self.unet = UNet2DConditionModel(
            sample_size=sample_size,
            in_channels=latent_channels,
            out_channels=latent_channels,
            block_out_channels=WIDTHS,
            down_block_types=("CrossAttnDownBlock2D",) * 3,
            up_block_types=("CrossAttnUpBlock2D",) * 3,
            layers_per_block=1,
            cross_attention_dim=TEXT_WIDTH,
            norm_num_groups=16,
            attention_head_dim=4,
        )
        self.text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=TEXT_WIDTH,
                intermediate_size=4 * TEXT_WIDTH,
                num_hidden_layers=4,
                num_attention_heads=4,
                max_position_embeddings=tokenizer.model_max_length,
                projection_dim=TEXT_WIDTH,
                hidden_act="quick_gelu",
                pad_token_id=tokenizer.pad_token_id,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )
        )

    def forward(self, noisy: Tensor, timesteps: Tensor, token_ids: Tensor) -> Tensor:
        states = self.text_encoder(token_ids).last_hidden_state  # [b t d]
        return self.unet(noisy, timesteps, states).sample


def new_scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
    )


def encoded_once(path: Path, vae: Any, pictures: NDArray[np.uint8], device: torch.device) -> NDArray[np.float16]:
    """Scaled latents float16 [n c h w] of the pictures, kept in `path`."""
    if path.exists():
        return np.load(path, mmap_mode="r")
    parts = []
    vae = vae.to(device, torch.float16 if device.type == "cuda" else torch.float32)
    with torch.no_grad():
        for start in tqdm(range(0, len(pictures), 200), desc="encoding"):
            x = torch.from_numpy(pictures[start : start + 200]).to(device).permute(0, 3, 1, 2)
            latents = vae.encode((x.float() / 127.5 - 1).to(vae.dtype)).latents
            parts.append((latents * vae.config.scaling_factor).half().cpu().numpy())
    latents = np.concatenate(parts)
    np.save(path, latents)
    return latents


def captioned_once(path: Path, tokenizer: Any, count: int, workers: int) -> NDArray[np.int16]:
    """Token ids int16 [n CAPTIONS tokens] of the training captions, kept in `path`."""
    if path.exists():
        return np.load(path)
    texts = [text for of_one in captions(count, BASE_SEED, CAPTIONS, workers) for text in of_one]
    ids = tokenizer(texts, padding="max_length", truncation=True, return_tensors="np").input_ids
    found = ids.reshape(count, CAPTIONS, -1).astype(np.int16)
    np.save(path, found)
    return found


def central_weight(size: int, gain: float = 3.0, radius: float = 0.65) -> Tensor:
    """Loss weight [size size] of mean 1: more in the middle, where the subject is and its shape is learnt last."""
    axis = (torch.arange(size) + 0.5) * 2 / size - 1
    weight = 1 + gain * torch.exp(-(axis[:, None] ** 2 + axis[None] ** 2) / radius**2)
    return weight / weight.mean()


def save_pipeline(model: Denoiser, average: EMAModel, vae: Any, tokenizer: Any, out: Path) -> None:
    """The averaged weights as a Stable Diffusion folder in float16."""
    average.store(model.parameters())
    average.copy_to(model.parameters())
    build: Any = StableDiffusionPipeline
    pipeline = build(
        vae=vae,
        text_encoder=model.text_encoder,
        tokenizer=tokenizer,
        unet=model.unet,
        scheduler=new_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    dtypes = {
        name: next(module.parameters()).dtype
        for name, module in pipeline.components.items()
        if isinstance(module, nn.Module)
    }
    pipeline.to(torch.float16)
    pipeline.save_pretrained(out, max_shard_size="14MB")
    for name, dtype in dtypes.items():
        pipeline.components[name].to(dtype)
    average.restore(model.parameters())


class BaseObjective(Objective[tuple[Tensor, Tensor]]):
    """U-Net and text encoder learn the velocity of latents with their captions; what is kept is their moving average.

    `latents` float16 [n c h w] and `ids` int16 [n CAPTIONS tokens] lie on the device.
    """

    def __init__(
        self,
        model: Denoiser,
        latents: Tensor,
        ids: Tensor,
        vae: Any,
        tokenizer: Any,
        *,
        batch: int,
        peak: float,
        accelerator: Accelerator,
    ) -> None:
        device = latents.device
        self._model, self._latents, self._ids, self._vae, self._tokenizer = model, latents, ids, vae, tokenizer
        self._batch, self._peak, self._accelerator = batch, peak, accelerator
        self._average = EMAModel(
            model.parameters(),
            decay=0.999,
            use_ema_warmup=True,
            inv_gamma=1.0,
            power=0.75,
            foreach=device.type == "cuda",
        )
        self._average.to(device)
        self._alphas = new_scheduler().alphas_cumprod.to(device)
        self._central = central_weight(latents.shape[-1]).to(device)

    def groups(self) -> Sequence[ParameterGroup]:
        return [learning(self._model, self._peak)]

    def batches(self, passes: Passes) -> Iterator[tuple[Tensor, Tensor]]:
        """Clean latents [b c h w] and one caption of each as token ids [b t]."""
        device = self._latents.device
        for _ in passes.own:
            rows = torch.randint(len(self._latents), (self._batch,), device=device)
            clean = self._latents[rows].float()
            yield clean, self._ids[rows, torch.randint(CAPTIONS, (self._batch,), device=device)].long()

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        clean, tokens = batch
        noise = torch.randn_like(clean)
        timesteps = torch.randint(0, len(self._alphas), (len(clean),), device=clean.device)
        a, s = (x.sqrt()[timesteps, None, None, None] for x in (self._alphas, 1 - self._alphas))
        with self._accelerator.autocast():
            prediction = self._model(a * clean + s * noise, timesteps, tokens).float()
        return (self._central * (prediction - (a * noise - s * clean)).square()).mean()

    def updated(self) -> None:
        self._average.step(self._model.parameters())

    def numbers(self, step: int) -> Mapping[str, float | str]:
        return {"pictures": step * self._batch}

    def state(self) -> Mapping[str, Tensor]:
        shadows = {f"average {index}": value for index, value in enumerate(self._average.shadow_params)}
        return {**shadows, "averaged": torch.tensor(self._average.optimization_step)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        for index, value in enumerate(self._average.shadow_params):
            value.copy_(state[f"average {index}"])
        self._average.optimization_step = int(state["averaged"])

    def snapshot_name(self, step: int) -> str:
        return "pipeline"

    def export(self, path: Path, at: Reached) -> None:
        save_pipeline(self._model, self._average, self._vae, self._tokenizer, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of the autoencoder run; all files go there")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seconds", type=float, help="end by the clock instead of after --steps")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--pictures", type=int, default=72000)
    parser.add_argument("--size", type=int, default=SIZE)
    parser.add_argument("--workers", type=int, default=1, help="processes that draw the pictures")
    parser.add_argument("--peak", type=float, default=6e-4, help="peak learning rate")
    parser.add_argument("--start", type=Path, help="pipeline folder to begin with instead of random weights")
    parser.add_argument("--precision", default="bf16", choices=("no", "bf16", "fp16"))
    parser.add_argument("--save-every", type=int, default=250, help="steps between checkpoints and pipeline folders")
    parser.add_argument("--prepare-only", action="store_true", help="write captions and encode, train nothing")
    arguments = parser.parse_args()
    work: Path = arguments.work
    accelerator = Accelerator(mixed_precision=arguments.precision)
    device = accelerator.device
    tokenizer = new_tokenizer()
    held_ids = captioned_once(work / "base_captions.npy", tokenizer, arguments.pictures, arguments.workers)
    if arguments.prepare_only:
        return
    vae = AutoencoderTiny.from_pretrained(work / "vae")
    pictures = drawn_once(
        work / "base_pictures.npy", arguments.pictures, arguments.size, BASE_SEED, workers=arguments.workers
    )
    latents = torch.from_numpy(np.array(encoded_once(work / "base_latents.npy", vae, pictures, device))).to(device)
    ids = torch.from_numpy(held_ids).to(device)
    vae = AutoencoderTiny.from_pretrained(work / "vae")

    torch.manual_seed(1)
    torch.backends.cudnn.benchmark = True
    model = begun(latents.shape[1], latents.shape[-1], tokenizer, arguments.start).to(device)
    cast("Any", model.unet).to(memory_format=torch.channels_last)
    objective = BaseObjective(
        model, latents, ids, vae, tokenizer, batch=arguments.batch, peak=arguments.peak, accelerator=accelerator
    )
    settings = settings_for(
        plateau(warm_up=300, falling=0.35),
        arguments.steps,
        arguments.seconds,
        {"pictures": len(latents), "batch": arguments.batch, "peak": arguments.peak},
        betas=(0.9, 0.99),
        weight_decay=0.01,
        fused=True,
        max_grad_norm=1.0,
        log_every=50,
        save_every=arguments.save_every,
    )
    done = built(objective, settings, accelerator, work / "base.training")
    objective.export(work / "base", done.reached)
    write_log(work / "base_log.jsonl", work / "base.training")
    parameters = {name: sum(p.numel() for p in module.parameters()) for name, module in model.named_children()}
    (work / "base.json").write_text(
        json.dumps({"steps": done.reached.step, "batch": arguments.batch, "parameters": parameters})
    )


def begun(latent_channels: int, sample_size: int, tokenizer: Any, start: Path | None) -> Denoiser:
    """A new denoiser, or one with the weights of the pipeline in `start`."""
    model = Denoiser(latent_channels, sample_size, tokenizer)
    if start is not None:
        unet: Any = UNet2DConditionModel.from_pretrained(start / "unet", torch_dtype=torch.float32)
        text: Any = CLIPTextModel.from_pretrained(start / "text_encoder", dtype=torch.float32)
        model.unet.load_state_dict(unet.state_dict())
        model.text_encoder.load_state_dict(text.state_dict())
    return model


if __name__ == "__main__":
    main()
