"""Response curves beside the LoRAs of the library: NAME.response.json, valid for the very file that was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lora_loom.pipelines.atomic_file import atomic_file
from lora_loom.pipelines.errors import AdapterFileError, RequestError
from lora_loom.pipelines.measured.response import ResponseCurve
from lora_loom.studio.sidecars import is_file_inside

if TYPE_CHECKING:
    from lora_loom.pipelines.request import AdapterChoice
    from lora_loom.studio.library.adapter_library import AdapterLibrary
    from lora_loom.studio.library.card import AdapterCard

SUFFIX = ".response.json"
MAX_BYTES = 1 << 16


def curve_path(adapter: Path) -> Path:
    """Where the curve of a LoRA file is."""
    return adapter.with_suffix(SUFFIX)


def save_curve(curve: ResponseCurve, adapter: Path) -> Path:
    """Write the curve beside the LoRA file; raises OutputError."""
    path = curve_path(adapter)
    with atomic_file(path) as file:
        file.write((curve.to_json() + "\n").encode())
    return path


def curve_of(card: AdapterCard) -> ResponseCurve | None:
    """The curve of a LoRA, None where it was never measured.

    Raises AdapterFileError for a curve that cannot be read or that belongs to another file than this one.
    """
    path = curve_path(card.path)
    if not is_file_inside(card.path.parent, path):
        return None
    if path.stat().st_size > MAX_BYTES:
        raise AdapterFileError(f"{path.name} is too large", path=path, expected=f"at most {MAX_BYTES} bytes")
    curve = ResponseCurve.from_json(path.read_text(encoding="utf-8", errors="replace"))
    if curve.adapter_sha256 != card.sha256:
        raise AdapterFileError(
            f"the LoRA {card.name} has changed since its response was measured",
            path=path,
            expected=f"SHA-256 {curve.adapter_sha256[:12]}",
            found=card.sha256[:12],
            remedy=f"Measure it again with `loom calibrate {card.name}`.",
        )
    return curve


def by_effect(choices: Sequence[AdapterChoice], library: AdapterLibrary) -> tuple[AdapterChoice, ...]:
    """The choices with the strengths that have the effects they ask for: 0.5 is half of what strength 1 does.

    Raises RequestError for a LoRA without a curve.
    """
    made: list[AdapterChoice] = []
    for choice in choices:
        curve = curve_of(library.find(choice.name))
        if curve is None:
            raise RequestError(
                f"the response of {choice.name} was never measured",
                expected=f"{choice.name}{SUFFIX} beside the LoRA",
                remedy=f"Measure it with `loom calibrate {choice.name}`, or give strengths instead of effects.",
            )
        made.append(replace(choice, strength=curve.strength(choice.strength)))
    return tuple(made)
