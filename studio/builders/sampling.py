"""Pictures for many prompts from a pocket pipeline, in batches that do not matter: each has its own generator."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from numpy.typing import NDArray
from tqdm import tqdm


def best_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def batch_size() -> int:
    """Pictures drawn at once; how many does not change them."""
    return 100 if torch.cuda.is_available() else 10


def load_pipeline(folder: Path, half: bool = False) -> StableDiffusionPipeline:
    """The base as diffusers' own pipeline; `half` computes in bfloat16, which is faster on many CPUs."""
    dtype = torch.bfloat16 if half else torch.float32
    pipeline = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=dtype, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(best_device())


def draw_prompts(
    pipeline: Any, prompts: Sequence[str], *, steps: int, guidance_scale: float, first_seed: int
) -> NDArray[np.uint8]:
    """uint8 [n h w 3]: picture i belongs to prompt i and seed `first_seed + i`."""
    parts: list[NDArray[np.uint8]] = []
    for start in tqdm(range(0, len(prompts), batch_size()), desc="pictures"):
        some = list(prompts[start : start + batch_size()])
        generators = [torch.Generator().manual_seed(first_seed + start + i) for i in range(len(some))]
        out = pipeline(
            some, num_inference_steps=steps, guidance_scale=guidance_scale, generator=generators, output_type="np"
        ).images
        parts.append(np.round(out * 255).astype(np.uint8))
    return np.concatenate(parts)


def drawn_prompts_once(
    path: Path, pipeline: Any, prompts: Sequence[str], *, steps: int, guidance_scale: float, first_seed: int
) -> NDArray[np.uint8]:
    """`draw_prompts`, kept in `path`, so that the pictures can be judged again; a larger number draws the rest only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = [np.load(path)] if path.exists() else []
    done = sum(map(len, drawn))
    while done < len(prompts):
        some = prompts[done : done + 5 * batch_size()]
        drawn.append(
            draw_prompts(pipeline, some, steps=steps, guidance_scale=guidance_scale, first_seed=first_seed + done)
        )
        done += len(some)
        np.save(path, np.concatenate(drawn))
    return np.concatenate(drawn)[: len(prompts)]
