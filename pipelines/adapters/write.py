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

from lora_loom.pipelines.adapters.factors import Adapter, LoraFactors
from lora_loom.pipelines.adapters.scales import HEADER_KEY
from lora_loom.pipelines.atomic_file import atomic_file
from lora_loom.pipelines.families import family_named
from lora_loom.pipelines.families.family import Family, FileLayout

Layout = Literal["peft", "kohya"]

MODELSPEC_VERSION = "1.0.1"


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
    says = _file_layout(adapter)
    ranks = Counter(factors.rank for component in adapter.components.values() for factors in component.values())
    rank = str(ranks.most_common(1)[0][0]) if len(ranks) == 1 else "Dynamic"
    fields = {
        "format": "pt",
        "ss_v2": str(says.v2),
        "ss_base_model_version": says.version,
        "ss_network_module": "networks.lora",
        "ss_network_dim": rank,
        "ss_network_alpha": rank,
        "ss_output_name": adapter.name,
        "modelspec.sai_model_spec": MODELSPEC_VERSION,
        "modelspec.implementation": "diffusers",
        "modelspec.title": adapter.name,
    }
    if says.architecture:
        fields["modelspec.architecture"] = f"{says.architecture}/lora"
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
    return component if component != "denoiser" else _file_layout(adapter).peft


def _kohya_prefix(adapter: Adapter, component: str) -> str:
    if component == "denoiser":
        return _file_layout(adapter).kohya
    family = _target_family(adapter)
    named = (each.kohya for each in (family.text_encoders if family else ()) if each.component == component)
    number = component.removeprefix("text_encoder").removeprefix("_")
    return next((names[0] for names in named if names), f"lora_te{number}")


def _file_layout(adapter: Adapter) -> FileLayout:
    family = _target_family(adapter)
    return FileLayout(peft="unet") if family is None else family.layout


def _target_family(adapter: Adapter) -> Family | None:
    return family_named(adapter.receipt.target_family or adapter.receipt.base_family)


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
