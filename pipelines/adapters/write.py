"""Writing an adapter as a LoRA file that other tools read: PEFT or kohya names, and the three families of metadata.

The file appears in one step or not at all. Factors carry their scale, so every module is written with alpha equal to
its rank.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save
from torch import Tensor

from lora_loom.pipelines.adapters.base_family import Family
from lora_loom.pipelines.adapters.factors import Adapter, LoraFactors
from lora_loom.pipelines.adapters.scales import HEADER_KEY
from lora_loom.pipelines.atomic_file import atomic_file

Layout = Literal["peft", "kohya"]

MODELSPEC_VERSION = "1.0.1"
_ARCHITECTURES: dict[str, str] = {
    "sd15": "stable-diffusion-v1",
    "sd2": "stable-diffusion-v2-512",
    "sdxl": "stable-diffusion-xl-v1-base",
    "sd3": "stable-diffusion-3-medium",
    "flux": "flux-1-dev",
    "pocket": "loom-pocket",
}
_KOHYA_VERSIONS: dict[str, str] = {
    "sd15": "sd_v1",
    "sd2": "sd_v2",
    "sdxl": "sdxl_base_v1-0",
    "sd3": "sd3",
    "flux": "flux1",
    "pocket": "loom-pocket",
}
_TRANSFORMERS: tuple[Family, ...] = ("sd3", "flux")


def save_adapter(
    adapter: Adapter,
    path: str | Path,
    *,
    layout: Layout = "peft",
    dtype: torch.dtype | None = None,
    metadata: Mapping[str, str] | None = None,
) -> str:
    """Write the adapter and return the SHA-256 of the file.

    `peft` is what diffusers writes; `kohya` has underscored diffusers paths and alpha tensors, as A1111, ComfyUI and
    sd-scripts read them. `dtype` casts the weights, the default keeps float32. `metadata` overrides or adds header
    fields, such as `modelspec.title`, `modelspec.trigger_phrase` or `modelspec.date`. Raises OutputError if the file
    could not be written; then nothing is left of it. Raises AdapterMatchError for a DoRA.
    """
    adapter.check_additive()
    tensors = {key: value.to(dtype or value.dtype) for key, value in _tensors(adapter, layout).items()}
    header = {**standard_metadata(adapter, layout), **(metadata or {})}
    blob = _with_metadata(save(tensors), header)
    with atomic_file(path) as file:
        file.write(blob)
    return hashlib.sha256(blob).hexdigest()


def standard_metadata(adapter: Adapter, layout: Layout = "peft") -> dict[str, str]:
    """The header of every file: kohya's `ss_*`, ModelSpec's fields, and for `peft` those of diffusers' LoraConfig."""
    family = _target_family(adapter)
    ranks = Counter(factors.rank for component in adapter.components.values() for factors in component.values())
    rank = str(ranks.most_common(1)[0][0]) if len(ranks) == 1 else "Dynamic"
    fields = {
        "format": "pt",
        "ss_v2": str(family == "sd2"),
        "ss_base_model_version": _KOHYA_VERSIONS.get(family, "unknown"),
        "ss_network_module": "networks.lora",
        "ss_network_dim": rank,
        "ss_network_alpha": rank,
        "ss_output_name": adapter.name,
        "modelspec.sai_model_spec": MODELSPEC_VERSION,
        "modelspec.implementation": "diffusers",
        "modelspec.title": adapter.name,
    }
    if family in _ARCHITECTURES:
        fields["modelspec.architecture"] = f"{_ARCHITECTURES[family]}/lora"
    if layout == "peft":
        configs = {
            f"{_prefix(adapter, component)}.{field}": value
            for component, factors in adapter.components.items()
            for field, value in _lora_config(component, factors).items()
        }
        fields[HEADER_KEY] = json.dumps(configs, sort_keys=True)
    return fields


def _tensors(adapter: Adapter, layout: Layout) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for component, factors in adapter.components.items():
        for path, each in factors.items():
            up = each.up if each.down.ndim == 2 else each.up[:, :, None, None]
            name = _file_path(component, path)
            if layout == "kohya":
                module = f"{_kohya_prefix(adapter, component)}_{name.replace('.', '_')}"
                parts = {"lora_down.weight": each.down, "lora_up.weight": up, "alpha": torch.tensor(float(each.rank))}
            else:
                module = f"{_prefix(adapter, component)}.{name}"
                parts = {"lora_A.weight": each.down, "lora_B.weight": up}
            tensors |= {f"{module}.{part}": tensor.detach().cpu().clone() for part, tensor in parts.items()}
    return tensors


def _lora_config(component: str, factors: Mapping[str, LoraFactors]) -> dict[str, Any]:
    """The fields of PEFT's LoraConfig: alpha equals rank everywhere, modules of another rank than most are listed."""
    ranks = {path: each.rank for path, each in factors.items()}
    exact = "^"
    if component != "denoiser":  # PEFT compares ends of names, so these hold with an outer `text_model` and without
        ranks, exact = {path.removeprefix("text_model."): rank for path, rank in ranks.items()}, ""
    usual = Counter(ranks.values()).most_common(1)[0][0]
    others = {f"{exact}{path}": rank for path, rank in ranks.items() if rank != usual}
    return {
        "r": usual,
        "lora_alpha": usual,
        "rank_pattern": others,
        "alpha_pattern": others,
        "target_modules": sorted(ranks),
        "use_rslora": False,
        "use_dora": False,
        "lora_bias": False,
    }


def _file_path(component: str, path: str) -> str:
    """The path as files have it: with CLIP's outer `text_model`, which transformers 5 dropped from CLIPTextModel."""
    clip_inside = component != "denoiser" and path.startswith("encoder.layers.")
    return f"text_model.{path}" if clip_inside else path


def _prefix(adapter: Adapter, component: str) -> str:
    if component != "denoiser":
        return component
    return "transformer" if _target_family(adapter) in _TRANSFORMERS else "unet"


def _kohya_prefix(adapter: Adapter, component: str) -> str:
    if component == "denoiser":
        return "lora_transformer" if _target_family(adapter) in _TRANSFORMERS else "lora_unet"
    if component == "text_encoder":
        return "lora_te1" if _target_family(adapter) in ("sdxl", *_TRANSFORMERS) else "lora_te"
    is_t5 = any("SelfAttention" in path or "DenseReluDense" in path for path in adapter.text_encoders[component])
    return "lora_te3" if is_t5 else f"lora_te{component.removeprefix('text_encoder_')}"


def _target_family(adapter: Adapter) -> str:
    return adapter.receipt.target_family or adapter.receipt.base_family


def _with_metadata(blob: bytes, metadata: Mapping[str, str]) -> bytes:
    """A safetensors file given metadata in sorted order, as safetensors' own order changes from run to run.

    The hash of the tensors alone goes in too: it is what ModelSpec, kohya and A1111 keep, as no metadata changes it.
    """
    data_start = 8 + int.from_bytes(blob[:8], "little")
    data = memoryview(blob)[data_start:]
    digest = hashlib.sha256(data).hexdigest()
    whole = {"modelspec.hash_sha256": f"0x{digest}", "sshs_model_hash": digest, **metadata}
    fields = {"__metadata__": dict(sorted(whole.items())), **json.loads(blob[8:data_start])}
    header = json.dumps(fields, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return b"".join((len(header).to_bytes(8, "little"), header, data))
