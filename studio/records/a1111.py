"""The `parameters` text that A1111, Forge, Civitai and most viewers read from a PNG, written for a record of ours.

Form: prompt with `<lora:name:strength>` tags, `Negative prompt: ...`, then one line of at least three `Key: value`
pairs, where a value with a comma, colon or quote is JSON-quoted. LoRA hashes are AutoV2, the first ten digits of the
file's SHA-256, under `Lora hashes` (A1111) and `Hashes` (Civitai).
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping

from lora_loom.pipelines.request import GenerationRequest

AUTOV2_DIGITS = 10
SAMPLERS = {
    "ddim": "DDIM",
    "dpm++": "DPM++ 2M",
    "euler": "Euler",
    "euler_a": "Euler a",
    "heun": "Heun",
    "lms": "LMS",
    "unipc": "UniPC",
}


def parameters(
    request: GenerationRequest, adapter_sha256: Mapping[str, str], *, seed: int, width: int, height: int, version: str
) -> str:
    """The text for one picture of `request`, drawn from `seed` at `width` x `height` pixels.

    LoRAs of strength 0 had no part in the picture and are left out. Names are reduced to what those programs' patterns
    accept; the hashes tell the files apart.
    """
    applied = [choice for choice in request.adapters if choice.strength != 0]
    names = {
        choice.name: _plain_name(choice.name) or f"lora_{adapter_sha256.get(choice.name, '')[:AUTOV2_DIGITS]}"
        for choice in applied
    }
    hashes = {
        names[choice.name]: adapter_sha256[choice.name][:AUTOV2_DIGITS]
        for choice in applied
        if choice.name in adapter_sha256
    }
    tags = [f"<lora:{names[choice.name]}:{choice.strength:g}>" for choice in applied]
    lines = [" ".join([request.prompt, *tags])]
    if request.negative_prompt:
        lines.append(f"Negative prompt: {request.negative_prompt}")
    pairs = {
        "Steps": request.num_inference_steps,
        "Sampler": SAMPLERS.get(request.scheduler, request.scheduler),
        "CFG scale": f"{request.guidance_scale:g}",
        "Seed": seed,
        "Size": f"{width}x{height}",
        "Model": request.base_model,
        "LoRA fusion": request.method,
    }
    if hashes:
        pairs["Lora hashes"] = ", ".join(f"{name}: {digits}" for name, digits in hashes.items())
        pairs["Hashes"] = json.dumps({f"lora:{name}": digits for name, digits in hashes.items()})
    pairs["Version"] = f"Loom {version}"
    lines.append(", ".join(f"{key}: {value if key == 'Hashes' else _quoted(value)}" for key, value in pairs.items()))
    return "\n".join(lines)


def _plain_name(name: str) -> str:
    ascii_only = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._-]+", "_", ascii_only).strip("_")


def _quoted(value: object) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(sign in text for sign in ',:"\n') else text
