"""The pocket encoder: pictures and captions of the pocket world as unit vectors, by an `open_clip` model of our own.

Right for pictures of this world and its words; elsewhere its distances mean little. `open_clip` is
imported only when an encoder is loaded.
"""

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file

from lora_loom.pipelines.errors import LoomError

FOLDER = Path(__file__).parent / "encoder"
WEIGHTS, CONFIG = "open_clip_model.safetensors", "open_clip_config.json"
BATCH = 32


def new_model(config: dict[str, Any]) -> Any:
    """An untrained `open_clip.model.CLIP` of this configuration (open_clip's `model_cfg`).

    Raises LoomError when open_clip cannot be imported.
    """
    try:
        from open_clip.model import CLIP
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision that does not fit torch
        raise LoomError(
            "the pocket encoder needs open_clip, which cannot be imported",
            found=str(error).splitlines()[0],
            remedy="install open-clip-torch beside a torchvision that fits the installed torch",
        ) from error
    return CLIP(**config)


def encoder_tokens(texts: Sequence[str], context_length: int) -> torch.Tensor:
    """Word numbers int64 [n context_length] by the pocket world's own tokenizer, padded, cut at the end."""
    tokenizer = _tokenizer()
    return tokenizer(
        list(texts), padding="max_length", truncation=True, max_length=context_length, return_tensors="pt"
    ).input_ids


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    from lora_loom.studio.pocket.tokenizer import new_tokenizer

    return new_tokenizer()


class PocketEncoder:
    """A trained model with its preprocessing. `id` names it, `version` is a hash of its weights, `dim` the width."""

    id = "pocket-encoder"

    def __init__(self, model: Any, config: dict[str, Any], version: str, device: str = "cpu") -> None:
        self.model, self.config, self.version = model.to(device).eval(), config, version
        self.dim: int = config["embed_dim"]
        self.image_size: int = config["vision_cfg"]["image_size"]
        self.context_length: int = config["text_cfg"]["context_length"]
        self.device = torch.device(device)

    @torch.no_grad()
    def embed_images(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 [n h w 3] of any one size -> unit vectors [n dim]; resized bilinearly with antialiasing."""
        parts = [np.empty((0, self.dim), np.float32)]
        for start in range(0, len(pictures), BATCH):
            x = torch.from_numpy(np.array(pictures[start : start + BATCH])).to(self.device).permute(0, 3, 1, 2)
            x = x.float() / 127.5 - 1
            if x.shape[-1] != self.image_size or x.shape[-2] != self.image_size:
                x = F.interpolate(x, (self.image_size, self.image_size), mode="bilinear", antialias=True)
            parts.append(self.model.encode_image(x, normalize=True).float().cpu().numpy())
        return np.concatenate(parts)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Captions -> unit vectors [n dim]; words outside the world's vocabulary count as unknown."""
        parts = [np.empty((0, self.dim), np.float32)]
        for start in range(0, len(texts), 8 * BATCH):
            tokens = encoder_tokens(texts[start : start + 8 * BATCH], self.context_length).to(self.device)
            parts.append(self.model.encode_text(tokens, normalize=True).float().cpu().numpy())
        return np.concatenate(parts)


def load_encoder(folder: Path = FOLDER, device: str = "cpu") -> PocketEncoder:
    """The shipped encoder, or the one in `folder` (open_clip's file names). Raises LoomError when it cannot be had."""
    weights, about = folder / WEIGHTS, folder / CONFIG
    if not weights.exists() or not about.exists():
        raise LoomError(
            f"no pocket encoder in {folder.name}",
            expected=f"{WEIGHTS} and {CONFIG}",
            remedy="train one: python -m lora_loom.studio.builders.encoder --work DIR",
        )
    config = json.loads(about.read_text())["model_cfg"]
    model = new_model(config)
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load_file(weights).items()})
    version = hashlib.sha256(weights.read_bytes() + about.read_bytes()).hexdigest()[:12]
    return PocketEncoder(model, config, version, device)


@lru_cache(maxsize=1)
def shipped_encoder() -> PocketEncoder:
    return load_encoder()
