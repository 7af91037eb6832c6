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

from lora_loom.pipelines.request import ALWAYS_WRITTEN, GenerationRequest, declared_fields

AUTOV2_DIGITS = 10
TOOL = "a1111"  # whose names of the fields are written, by their declarations
FIRST = ("Steps", "Sampler", "CFG scale", "Seed", "Size", "Model", "LoRA fusion")  # in A1111's own order
APART = ("Prompt", "Negative prompt", "Lora hashes")  # lines or pairs with a form of their own
SAMPLERS = {
    "ddim": "DDIM",
    "ddpm": "DDPM",
    "dpm++": "DPM++ 2M",
    "dpm++ karras": "DPM++ 2M Karras",
    "euler": "Euler",
    "euler a": "Euler a",
    "heun": "Heun",
    "lcm": "LCM",
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
    pairs = _pairs(request, {"seed": seed, "width": width, "height": height})
    if hashes:
        pairs["Lora hashes"] = ", ".join(f"{name}: {digits}" for name, digits in hashes.items())
        pairs["Hashes"] = json.dumps({f"lora:{name}": digits for name, digits in hashes.items()})
    pairs["Version"] = f"Loom {version}"
    lines.append(", ".join(f"{key}: {value if key == 'Hashes' else _quoted(value)}" for key, value in pairs.items()))
    return "\n".join(lines)


def _pairs(request: GenerationRequest, of_picture: Mapping[str, int]) -> dict[str, str]:
    """The fields that A1111 has a name for, as the picture was drawn; two of one name as AxB.

    What came after version 0.1 is left out where it does nothing, as those programs do.
    """
    found: dict[str, str] = {}
    for name, declared in declared_fields().items():
        key, value = declared.names.get(TOOL), of_picture.get(name, getattr(request, name))
        if not key or key in APART or (value == declared.default and name not in ALWAYS_WRITTEN):
            continue
        text = _shown(SAMPLERS.get(request.scheduler, value) if name == "scheduler" else value)
        found[key] = f"{found[key]}x{text}" if key in found else text
    first = {key: found.pop(key) for key in FIRST}
    return first | found


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _plain_name(name: str) -> str:
    ascii_only = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._-]+", "_", ascii_only).strip("_")


def _quoted(value: object) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(sign in text for sign in ',:"\n') else text
