"""The header of a safetensors file, believed only after every number in it has been checked against the file.

Format: 8 bytes little-endian length n, n bytes of JSON, then the tensors, which must tile the rest without gap or
overlap. No tensor is touched here and no torch is imported, so a library can look at thousands of files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from lora_loom.pipelines.adapters.content import foreign_content
from lora_loom.pipelines.adapters.hostile_text import display_names, display_text
from lora_loom.pipelines.adapters.limits import Limits
from lora_loom.pipelines.checked_json import parse_json
from lora_loom.pipelines.errors import AdapterFileError

FLOATING_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}
_OTHER_BYTES = {"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1}
_LENGTH_BYTES = 8
_SAFE_SOURCE = "Get the .safetensors version of this LoRA from its author"
_AGAIN = "Download the file again"


@dataclass(frozen=True)
class Entry:
    """One tensor: its dtype as the format spells it, its shape, and its place [start, end) in the data."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Header:
    """What a file says it holds. `metadata` is hostile text: show it through `hostile_text.display_text`."""

    metadata: Mapping[str, str]
    entries: Mapping[str, Entry]
    data_start: int
    file_bytes: int

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {key: entry.shape for key, entry in self.entries.items()}


def header_length(start: bytes, file_bytes: int, path: Path, limits: Limits) -> int:
    """Bytes of JSON that follow the first 8; raises AdapterFileError if this cannot be a safetensors file."""
    name = display_text(path.name)
    if file_bytes > limits.file_bytes:
        raise AdapterFileError(
            f"{name} is too large for a LoRA",
            path=path,
            expected=f"at most {limits.file_bytes:,} bytes",
            found=f"{file_bytes:,} bytes",
            remedy="This may be a full checkpoint: use it as a base model instead",
        )
    if kind := foreign_content(start):
        raise AdapterFileError(
            f"{name} is not a safetensors file",
            path=path,
            expected="the safetensors format, whatever the extension",
            found=kind,
            remedy=_SAFE_SOURCE if "pickle" in kind or "torch" in kind else _AGAIN,
        )
    if len(start) < _LENGTH_BYTES + 2:
        raise AdapterFileError(
            f"{name} is {'empty' if not start else 'too short to be a safetensors file'}",
            path=path,
            expected="a header and tensors",
            found=f"{file_bytes} bytes",
            remedy=_AGAIN,
        )
    length = int.from_bytes(start[:_LENGTH_BYTES], "little")
    if length < 2 or start[_LENGTH_BYTES : _LENGTH_BYTES + 1] != b"{":
        raise AdapterFileError(
            f"{name} is not a safetensors file",
            path=path,
            expected="a length of 8 bytes and a JSON object",
            found=f"the bytes {start[:12].hex(' ')}",
            remedy=_SAFE_SOURCE,
        )
    if length > limits.header_bytes:
        raise AdapterFileError(
            f"{name} claims a header beyond the limit",
            path=path,
            expected=f"at most {limits.header_bytes:,} bytes of header",
            found=f"{length:,} bytes claimed in a file of {file_bytes:,}",
            remedy="This is no LoRA that Loom will open",
        )
    if _LENGTH_BYTES + length > file_bytes:
        raise AdapterFileError(
            f"{name} is truncated",
            path=path,
            expected=f"{_LENGTH_BYTES + length:,} bytes of header alone",
            found=f"{file_bytes:,} bytes",
            remedy=_AGAIN,
        )
    return length


def parse_header(text: bytes, file_bytes: int, path: Path, limits: Limits) -> Header:
    """The checked header from its JSON. Raises AdapterFileError for whatever the format or `limits` forbid."""
    data_bytes = file_bytes - _LENGTH_BYTES - len(text)
    try:
        fields = parse_json(text, depth=limits.json_depth)
        if not isinstance(fields, dict):
            raise ValueError("JSON that is not an object")
        fields = cast("dict[str, Any]", fields)
        metadata = _metadata(fields.pop("__metadata__", {}))
        if len(fields) > limits.tensors:
            raise ValueError(f"{len(fields):,} tensors, where at most {limits.tensors:,} are allowed")
        entries = {key: _entry(key, value, limits) for key, value in fields.items()}
    except ValueError as error:
        raise AdapterFileError(
            f"{display_text(path.name)} has a header that cannot be trusted",
            path=path,
            expected="a JSON object that gives dtype, shape and place of every tensor",
            found=display_text(str(error)),
            remedy=_AGAIN,
        ) from error
    _check_tiling(entries, data_bytes, path)
    _check_dtypes(entries, path)
    return Header(metadata, entries, _LENGTH_BYTES + len(text), file_bytes)


def _metadata(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError("metadata that is not an object")
    pairs = cast("dict[str, Any]", value)
    if not all(isinstance(entry, str) for entry in pairs.values()):
        raise ValueError("metadata whose values are not all text")
    return pairs


def _entry(key: str, value: Any, limits: Limits) -> Entry:
    shown = display_text(key, 120)
    if len(key) > limits.key_characters:
        raise ValueError(f"a tensor name of {len(key):,} characters")
    if not isinstance(value, dict) or cast("dict[str, Any]", value).keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"no dtype, shape and data_offsets for {shown}")
    fields = cast("dict[str, Any]", value)
    dtype, shape, place = fields["dtype"], _sizes(fields["shape"]), _sizes(fields["data_offsets"])
    item_bytes = FLOATING_BYTES.get(dtype) or _OTHER_BYTES.get(dtype) if isinstance(dtype, str) else None
    if item_bytes is None:
        raise ValueError(f"the dtype {display_text(str(dtype), 20)} of {shown}")
    if shape is None or len(shape) > limits.dimensions:
        raise ValueError(f"the shape of {shown}")
    if place is None or len(place) != 2 or place[0] > place[1]:
        raise ValueError(f"the data_offsets of {shown}")
    if math.prod(shape) * item_bytes != place[1] - place[0]:
        raise ValueError(
            f"{place[1] - place[0]:,} bytes for {shown}, whose shape {list(shape)} in {dtype} needs another number"
        )
    return Entry(dtype, shape, place[0], place[1])


def _sizes(value: Any) -> tuple[int, ...] | None:
    """A list of non-negative integers that fit 63 bits, None for anything else; True is not an integer here."""
    if not isinstance(value, list):
        return None
    numbers = cast("list[Any]", value)
    return tuple(numbers) if all(type(each) is int and 0 <= each < 1 << 63 for each in numbers) else None


def _check_tiling(entries: Mapping[str, Entry], data_bytes: int, path: Path) -> None:
    name, end = display_text(path.name), 0
    for key, entry in sorted(entries.items(), key=lambda pair: (pair[1].start, pair[1].end)):
        if entry.start != end:
            raise AdapterFileError(
                f"{name} has {'overlapping tensors' if entry.start < end else 'a hole between its tensors'}",
                path=path,
                expected=f"{display_text(key, 120)} to start at byte {end:,} of the data",
                found=f"byte {entry.start:,}",
                remedy="The file was damaged or made to deceive; do not use it",
            )
        end = entry.end
    if end > data_bytes:
        raise AdapterFileError(
            f"{name} is truncated",
            path=path,
            expected=f"{end:,} bytes of tensors",
            found=f"{data_bytes:,} bytes",
            remedy=_AGAIN,
        )
    if end < data_bytes:
        raise AdapterFileError(
            f"{name} carries bytes that belong to no tensor",
            path=path,
            expected=f"{end:,} bytes of tensors",
            found=f"{data_bytes:,} bytes",
            remedy="The file was damaged or made to deceive; do not use it",
        )


def _check_dtypes(entries: Mapping[str, Entry], path: Path) -> None:
    # kohya keeps alpha as the integer that the person typed, so single numbers may be integers.
    wrong = [key for key, entry in entries.items() if entry.dtype not in FLOATING_BYTES and math.prod(entry.shape) != 1]
    if wrong:
        raise AdapterFileError(
            f"{display_text(path.name)} holds tensors that are not floating-point",
            path=path,
            expected=f"one of {', '.join(FLOATING_BYTES)}",
            found=f"{entries[wrong[0]].dtype} in {display_names(wrong)}",
            remedy="Quantised or packed LoRAs are not supported: get the original file",
        )
