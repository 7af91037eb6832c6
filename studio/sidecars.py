"""What people wrote about a LoRA: the files beside it and the texts in its header, read as untrusted text.

Known beside `x.safetensors`: `x.json` (A1111), `x.civitai.info` (Civitai-Helper), `x.metadata.json` (Lora-Manager),
and the pictures `x.preview.png` or `x.png` (also jpg, jpeg, webp). Known in the header: ModelSpec and kohya texts.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_loom.pipelines.adapters.hostile_text import display_text
from lora_loom.pipelines.checked_json import parse_object

MAX_SIDECAR_BYTES = 4 * 2**20
MAX_TITLE, MAX_DESCRIPTION, MAX_TRIGGER, MAX_TAG = 120, 4_000, 500, 48  # characters
MAX_TRIGGERS, MAX_TAGS = 24, 24
MAX_ABSOLUTE_STRENGTH = 10.0  # a preferred strength beyond this is taken for a mistake
SIDECAR_SUFFIXES = (".json", ".metadata.json", ".civitai.info")
PREVIEW_SUFFIXES = tuple(f"{middle}.{kind}" for middle in (".preview", "") for kind in ("png", "jpg", "jpeg", "webp"))


@dataclass(frozen=True)
class AdapterNotes:
    """The texts about one LoRA; empty where nobody wrote any. `strength` is None where nobody recommends one."""

    title: str = ""
    category: str = ""
    triggers: tuple[str, ...] = ()
    description: str = ""
    tags: tuple[str, ...] = ()
    strength: float | None = None
    base_model: str = ""  # what the author says it is for; a hint, never trusted
    unreadable: tuple[str, ...] = ()  # sidecars that are there and could not be read, each with the reason


def read_notes(path: Path, metadata: Mapping[str, str], root: Path | None = None) -> AdapterNotes:
    """The notes about the LoRA at `path`; a sidecar goes before the header, field by field.

    A sidecar that is a link is followed inside `root` only, by default the folder of the LoRA.
    """
    sources: list[AdapterNotes] = []
    unreadable: list[str] = []
    for suffix, reader in zip(SIDECAR_SUFFIXES, (_from_a1111, _from_lora_manager, _from_civitai), strict=True):
        sidecar = path.with_suffix(suffix)
        if not is_file_inside(root or path.parent, sidecar):
            if sidecar.is_symlink():
                unreadable.append(clean_text(f"{sidecar.name}: a link that leads out of the library", 200))
            continue
        try:
            sources.append(reader(_read_object(sidecar)))
        except (OSError, ValueError, RecursionError) as error:
            unreadable.append(clean_text(f"{sidecar.name}: {error}", 200))
    sources.append(_from_header(metadata))
    return AdapterNotes(
        title=next((notes.title for notes in sources if notes.title), ""),
        category=next((notes.category for notes in sources if notes.category), ""),
        triggers=next((notes.triggers for notes in sources if notes.triggers), ()),
        description=next((notes.description for notes in sources if notes.description), ""),
        tags=next((notes.tags for notes in sources if notes.tags), ()),
        strength=next((notes.strength for notes in sources if notes.strength is not None), None),
        base_model=next((notes.base_model for notes in sources if notes.base_model), ""),
        unreadable=tuple(unreadable),
    )


def find_preview(path: Path, root: Path | None = None) -> Path | None:
    """The picture beside the LoRA at `path`, if there is one; a link is followed inside `root` only."""
    candidates = (path.with_suffix(suffix) for suffix in PREVIEW_SUFFIXES)
    return next((candidate for candidate in candidates if is_file_inside(root or path.parent, candidate)), None)


def is_file_inside(root: Path, path: Path) -> bool:
    """Whether `path` is a plain file that lies below `root`, links followed; False for one that leads nowhere."""
    try:
        return path.is_file() and path.resolve(strict=True).is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # a link to itself, a folder that may not be looked into
        return False


def clean_text(value: object, maximum: int) -> str:
    """`value` as one line of at most `maximum` visible characters; empty for what is neither text nor a number."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return ""
    return display_text(str(value), maximum)


def _read_object(path: Path) -> Mapping[str, Any]:
    if path.stat().st_size > MAX_SIDECAR_BYTES:
        raise ValueError(f"larger than {MAX_SIDECAR_BYTES} bytes")
    return parse_object(path.read_bytes())


def _from_a1111(data: Mapping[str, Any]) -> AdapterNotes:
    return AdapterNotes(
        title=clean_text(data.get("title"), MAX_TITLE),
        category=clean_text(data.get("category"), MAX_TAG),
        triggers=_triggers(data.get("activation text")),
        description=clean_text(data.get("description"), MAX_DESCRIPTION),
        tags=_tags(data.get("tags")),
        strength=_strength(data.get("preferred weight")),
        base_model=clean_text(data.get("sd version"), MAX_TAG),
    )


def _from_civitai(data: Mapping[str, Any]) -> AdapterNotes:
    model = _object(data.get("model"))
    return AdapterNotes(
        title=clean_text(model.get("name"), MAX_TITLE),
        triggers=_triggers(data.get("trainedWords")),
        description=_without_markup(data.get("description") or model.get("description")),
        tags=_tags(model.get("tags") or data.get("tags")),
        base_model=clean_text(data.get("baseModel"), MAX_TAG),
    )


def _from_lora_manager(data: Mapping[str, Any]) -> AdapterNotes:
    civitai = _from_civitai(_object(data.get("civitai")))
    tips = data.get("usage_tips")
    if isinstance(tips, str):  # Lora-Manager stores this object as JSON text
        try:
            tips = parse_object(tips)
        except ValueError:
            tips = {}
    return AdapterNotes(
        title=clean_text(data.get("model_name"), MAX_TITLE) or civitai.title,
        triggers=civitai.triggers,
        description=_without_markup(data.get("modelDescription")) or civitai.description,
        tags=_tags(data.get("tags")) or civitai.tags,
        strength=_strength(_object(tips).get("strength")),
        base_model=clean_text(data.get("base_model"), MAX_TAG) or civitai.base_model,
    )


def _from_header(metadata: Mapping[str, str]) -> AdapterNotes:
    return AdapterNotes(
        title=clean_text(metadata.get("modelspec.title") or metadata.get("ss_output_name"), MAX_TITLE),
        triggers=_triggers(metadata.get("modelspec.trigger_phrase")),
        description=clean_text(metadata.get("modelspec.description"), MAX_DESCRIPTION),
        tags=_tags(metadata.get("modelspec.tags")),
        base_model=clean_text(metadata.get("modelspec.architecture") or metadata.get("ss_base_model_version"), MAX_TAG),
    )


def _without_markup(value: object) -> str:
    """The text of a description that was written as HTML; for reading only, what is shown is escaped all the same."""
    text = str(value)[: 4 * MAX_DESCRIPTION] if isinstance(value, str) else ""
    return clean_text(html.unescape(re.sub(r"<[^<>]*>", " ", text)), MAX_DESCRIPTION)


def _triggers(value: object) -> tuple[str, ...]:
    entries: Iterable[object] = value if isinstance(value, list) else (value,)
    words = (word for entry in entries for word in clean_text(entry, MAX_TRIGGER).split(","))
    return _unique((word.strip() for word in words), MAX_TRIGGERS)


def _tags(value: object) -> tuple[str, ...]:
    entries: Iterable[object] = value if isinstance(value, list) else str(value or "").split(",")
    return _unique((clean_text(entry, MAX_TAG) for entry in entries), MAX_TAGS)


def _unique(words: Iterable[str], maximum: int) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for word in words if word))[:maximum]


def _strength(value: object) -> float | None:
    """A recommended strength; 0 is what A1111 writes for 'none given'."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        strength = float(value)
    except (ValueError, OverflowError):
        return None
    return strength if math.isfinite(strength) and 0 < abs(strength) <= MAX_ABSOLUTE_STRENGTH else None


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
