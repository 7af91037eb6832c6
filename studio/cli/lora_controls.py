"""What `loom generate` says of single LoRAs: blocks, curve, region ...; texts that begin with the LoRA's name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lora_loom.pipelines.errors import RequestError
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.requests.control import Region
from lora_loom.studio.cli.request_flags import OF_LORAS, lora_flags

_NUMBER = r"\s*[-+.\deE]+\s*"
_BOX = re.compile(rf"({_NUMBER}(?:,{_NUMBER}){{3}})(?::(.*))?", re.DOTALL)
_FILE = re.compile(r"(.+?\.(?:png|jpe?g|webp|bmp))(?::(.*))?", re.DOTALL | re.IGNORECASE)


def with_controls(choices: Sequence[AdapterChoice], given: Mapping[str, Iterable[str]]) -> tuple[AdapterChoice, ...]:
    """The choices with the controls in `given`, texts by the names of `lora_flags`.

    Raises RequestError for a text that cannot be read, or that names a LoRA which was not chosen.
    """
    changes: dict[str, dict[str, Any]] = {choice.name: {} for choice in choices}
    for option, texts in given.items():
        for text in texts:
            name, rest = _named(option, text, changes)
            field = option.removeprefix(OF_LORAS)
            if field in changes[name]:
                raise RequestError(f"{_flag(option)} was given twice for {name}", remedy="Give it once")
            changes[name][field] = _READ[option](rest) if option in _READ else _plain(option, rest)
    return tuple(replace(choice, **changes[choice.name]) for choice in choices)


def parse_blocks(text: str) -> dict[str, float]:
    """Factors by group from a text such as style=0.5,structure=0."""
    return {group.strip(): factor for group, factor in _pairs("--lora-blocks", "fox:style=0.5,structure=0", text)}


def parse_curve(text: str) -> tuple[tuple[float, float], ...]:
    """Points from a text such as 0=0,0.3=1: nothing at the start, all of it from 0.3 of the progress on."""
    option, example = "--lora-curve", "fox:0=0,0.3=1"
    return tuple((_number(option, example, at), factor) for at, factor in _pairs(option, example, text))


def parse_region(text: str) -> Region:
    """A box or a mask file, and a prompt after it: 0,0,0.5,1:a fox or mask.png:a fox."""
    if found := _BOX.fullmatch(text.strip()):
        left, top, right, bottom = (_number("--lora-region", "fox:0,0,0.5,1", part) for part in found[1].split(","))
        return Region(box=(left, top, right, bottom), prompt=found[2] or "")
    if found := _FILE.fullmatch(text.strip()):
        return Region.painted(_picture(Path(found[1])), prompt=found[2] or "")
    raise _unreadable("--lora-region", "fox:0,0,0.5,1 or fox:mask.png, and :a prompt after it", text)


def _exempt(text: str) -> bool:
    if text:
        raise _unreadable("--lora-exempt", "the name of a LoRA", text)
    return True


def _plain(option: str, text: str) -> Any:
    """The value of a field of AdapterChoice that has no form of its own; a switch is on without a value."""
    declared = lora_flags()[option]
    if declared.kind == "switch" and not text:
        return True
    if declared.kind == "text":
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text  # a choice, or what the field refuses in words of its own


_READ = {
    "lora_blocks": parse_blocks,
    "lora_curve": parse_curve,
    "lora_region": parse_region,
    "lora_exempt": _exempt,
}


def _named(option: str, text: str, known: Mapping[str, object]) -> tuple[str, str]:
    """The LoRA a text is for, and the rest of the text."""
    name, _, rest = text.partition(":")
    if name.strip() not in known:
        raise RequestError(
            f"{_flag(option)} is for {name.strip()!r}, which was not chosen",
            expected=f"one of {', '.join(known)}" if known else "a LoRA that --lora chooses",
            found=repr(text),
        )
    return name.strip(), rest


def _pairs(option: str, example: str, text: str) -> list[tuple[str, float]]:
    pairs: list[tuple[str, float]] = []
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise _unreadable(option, example, text)
        pairs.append((key, _number(option, example, value)))
    return pairs


def _number(option: str, example: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise _unreadable(option, example, text) from None


def _picture(path: Path) -> Any:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return picture.convert("L")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise RequestError(
            f"the mask {path.name} cannot be read",
            expected="a picture that is white where the LoRA acts",
            found=str(error)[:200],
        ) from error


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def _unreadable(option: str, example: str, found: str) -> RequestError:
    return RequestError(f"{option} cannot be read", expected=example, found=repr(found))
