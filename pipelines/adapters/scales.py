"""The effective scale of each module: from its alpha in the file, else from a PEFT configuration, else 1.

A PEFT configuration is a stranger's text that diffusers would hand to LoraConfig. Here five of its fields are read
after checks of type and range. Patterns are compared as names or read by `name_pattern`, never by `re`; those of ranks
only matter to a module whose factors do not show their own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

from lora_loom.pipelines.adapters.hostile_text import display_text
from lora_loom.pipelines.adapters.name_pattern import NamePattern
from lora_loom.pipelines.checked_json import parse_json
from lora_loom.pipelines.errors import AdapterFileError

HEADER_KEY = "lora_adapter_metadata"
SIDECAR = "adapter_config.json"
_SIDECAR_BYTES = 1 << 20
_JSON_DEPTH = 8
_PREFIXES = {
    "": "",
    "unet": "denoiser",
    "transformer": "denoiser",
    "text_encoder": "text_encoder",
    "text_encoder_2": "text_encoder_2",
    "text_encoder_3": "text_encoder_3",
}
_MAX_PATTERNS = 64  # that are no plain names; of those there may be one for every layer
_PLAIN_NAME = re.compile(r"\^?[A-Za-z0-9_]+(?:\\?\.[A-Za-z0-9_]+)*\$?")


@dataclass(frozen=True)
class _Unread:
    """A pattern that is not understood: an error where something depends on it."""

    why: str


Patterns: TypeAlias = tuple[tuple["str | NamePattern | _Unread", float], ...]  # a plain name as it is


@dataclass(frozen=True)
class PeftScales:
    """What is read of a PEFT configuration; patterns give other values of `r` and `lora_alpha` to modules by name."""

    r: float | None
    alpha: float | None
    ranks: Patterns
    alphas: Patterns
    rank_stabilised: bool
    dora: bool

    def of(self, module: str, dim: int | None) -> tuple[float | None, float]:
        """(alpha, scale) of a module: alpha / rank, or alpha / sqrt(rank) where the training was rank-stabilised.

        Raises ValueError where that depends on a pattern that cannot be read or takes too long.
        """
        alpha = _matching(self.alphas, module, self.alpha)
        rank = dim or _matching(self.ranks, module, self.r)
        if alpha is None or rank is None:
            return alpha, 1.0
        return alpha, alpha / (math.sqrt(rank) if self.rank_stabilised else rank)


def peft_scales(metadata: Mapping[str, str], path: Path) -> Mapping[str, PeftScales]:
    """PEFT configurations by component, from the file's header.

    Under "" stands one that is for whatever the file holds: a header without prefixes, or PEFT's own
    `adapter_config.json` beside an `adapter_model.safetensors`. Empty if there is none. Raises AdapterFileError for a
    field of the wrong type or range.
    """
    try:
        if HEADER_KEY in metadata:
            return _by_component(_fields(metadata[HEADER_KEY].encode()))
        if path.name.startswith("adapter_model") and (sidecar := path.with_name(SIDECAR)).is_file():
            if sidecar.stat().st_size > _SIDECAR_BYTES:
                raise ValueError(f"{SIDECAR} larger than {_SIDECAR_BYTES:,} bytes")
            return {"": _scales(_fields(sidecar.read_bytes()))}
    except (ValueError, OSError) as error:
        raise unusable(path, error) from error
    return {}


def unusable(path: Path, error: Exception) -> AdapterFileError:
    """The error of a file whose configuration cannot be used."""
    return AdapterFileError(
        f"{display_text(path.name)} has a PEFT configuration that cannot be used",
        path=path,
        expected="numbers for r and lora_alpha, and patterns that are module names or simple expressions",
        found=display_text(str(error)),
        remedy="Without it the strength of this LoRA is unknown: ask its author for a file with alpha tensors",
    )


def trained_as_dora(metadata: Mapping[str, str]) -> bool:
    """Whether kohya's header says that weights were decomposed, such as LyCORIS' `dora_wd`."""
    try:
        arguments = _fields(metadata.get("ss_network_args", "{}").encode())
    except ValueError:  # a stranger's text, which nothing but this depends on
        return False
    return any(str(arguments.get(name, "")).lower() == "true" for name in ("dora_wd", "use_dora"))


def _by_component(fields: dict[str, Any]) -> dict[str, PeftScales]:
    grouped: dict[str, dict[str, Any]] = {}
    for key, value in fields.items():
        prefix, _, field = key.rpartition(".")  # a model saved alone has no prefix
        grouped.setdefault(prefix, {})[field] = value
    return {_PREFIXES[prefix]: _scales(of) for prefix, of in grouped.items() if prefix in _PREFIXES}


def _scales(fields: Mapping[str, Any]) -> PeftScales:
    return PeftScales(
        r=_number(fields.get("r"), "r", positive=True),
        alpha=_number(fields.get("lora_alpha", fields.get("alpha")), "lora_alpha"),
        ranks=_pattern(fields.get("rank_pattern"), "rank_pattern", positive=True),
        alphas=_pattern(fields.get("alpha_pattern"), "alpha_pattern"),
        rank_stabilised=_boolean(fields, "use_rslora"),
        dora=_boolean(fields, "use_dora"),
    )


def _fields(text: bytes) -> dict[str, Any]:
    value = parse_json(text, depth=_JSON_DEPTH)
    if not isinstance(value, dict):
        raise ValueError("JSON that is not an object")
    return cast("dict[str, Any]", value)


def _number(value: Any, name: str, *, positive: bool = False) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} is {value!r:.40}")
    if positive and value <= 0:
        raise ValueError(f"{name} is {value!r:.40}, not above zero")
    return float(value)


def _boolean(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name) or False
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r:.40}")
    return value


def _pattern(value: Any, name: str, *, positive: bool = False) -> Patterns:
    if value is None:
        return ()
    if not isinstance(value, dict):
        raise ValueError(f"{name} is not an object")
    pairs = cast("dict[str, Any]", value)
    numbers = {key: _number(number, f"{name} of {key[:80]}", positive=positive) for key, number in pairs.items()}
    involved = 0
    patterns: list[tuple[str | NamePattern | _Unread, float]] = []
    for key, number in numbers.items():
        plain = _PLAIN_NAME.fullmatch(key) is not None
        involved += not plain
        if number is not None:
            patterns.append((key.replace("\\.", ".") if plain else _read(key, name, involved), number))
    return tuple(patterns)


def _read(key: str, name: str, count: int) -> NamePattern | _Unread:
    try:
        if count > _MAX_PATTERNS:
            raise ValueError(f"there are more than {_MAX_PATTERNS} patterns")
        return NamePattern(key)
    except ValueError as error:
        return _Unread(f"{name} has {key[:80]!r}, which is not a module name or a pattern that is safe to run: {error}")


def _matching(patterns: Patterns, module: str, default: float | None) -> float | None:
    """The number of the first pattern that `module` is or ends in, as PEFT's `(.*\\.)?pattern$` finds."""
    for pattern, number in patterns:
        if isinstance(pattern, _Unread):
            raise ValueError(pattern.why)
        if isinstance(pattern, NamePattern):
            if pattern.matches(module) or pattern.matches(_inner(module)):
                return number
            continue
        name = pattern.removeprefix("^").removesuffix("$")
        if _inner(name) == _inner(module) or (not pattern.startswith("^") and module.endswith(f".{name}")):
            return number
    return default


def _inner(name: str) -> str:
    # transformers 5 dropped the outer `text_model` that files and their configurations may still have, or not.
    return name.removeprefix("text_model.")
