"""Every weight of a file looked at once for NaN, infinity and absurd size, without converting a byte.

A floating-point number without its sign bit orders like an integer, with infinity above all numbers and NaN above
infinity. So one masked integer maximum per run of tensors answers all three questions, at memory speed.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from lora_loom.pipelines.adapters.header import FLOATING_BYTES, Entry

_INTEGER = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.uint8}
_SIGN_MASK = {8: (1 << 63) - 1, 4: (1 << 31) - 1, 2: (1 << 15) - 1, 1: (1 << 7) - 1}
_INFINITY = {
    "F64": 0x7FF << 52,
    "F32": 0xFF << 23,
    "F16": 0x1F << 10,
    "BF16": 0xFF << 7,
    "F8_E5M2": 0x1F << 2,
    "F8_E4M3": 0x7F,
}
_FRACTION_BITS = {"F64": 52, "F32": 23, "F16": 10, "BF16": 7, "F8_E5M2": 2, "F8_E4M3": 3}
_EXPONENT_BIAS = {"F64": 1023, "F32": 127, "F16": 15, "BF16": 127, "F8_E5M2": 15, "F8_E4M3": 7}
_CHUNK_BYTES = 1 << 18  # stays in the cache of one core


def unsound_tensors(data: Tensor, entries: Mapping[str, Entry], magnitude: float) -> tuple[list[str], list[str]]:
    """Names of the tensors with a NaN or infinity, and of those with a finite weight beyond `magnitude`.

    `data` is the data part of the file, [bytes] uint8. Single numbers such as alpha are only looked at for NaN and
    infinity: their size has a limit of its own.
    """
    floating = {
        key: entry for key, entry in entries.items() if entry.dtype in FLOATING_BYTES and entry.end > entry.start
    }
    bounds = {dtype: _bits(magnitude, dtype) for dtype in FLOATING_BYTES}
    if all(_largest(data, run) <= bounds[run.dtype] for run in _runs(floating)):
        return [], []
    largest = {key: _largest(data, entry) for key, entry in floating.items()}
    not_finite = [key for key, bits in largest.items() if bits >= _INFINITY[floating[key].dtype]]
    absurd = [
        key
        for key, bits in largest.items()
        if bounds[floating[key].dtype] < bits < _INFINITY[floating[key].dtype] and math.prod(floating[key].shape) > 1
    ]
    return not_finite, absurd


def _runs(entries: Mapping[str, Entry]) -> Iterator[Entry]:
    """Neighbouring tensors of one dtype joined into one long one."""
    run: Entry | None = None
    for entry in sorted(entries.values(), key=lambda entry: entry.start):
        if run is not None and run.dtype == entry.dtype and run.end == entry.start:
            run = Entry(run.dtype, (), run.start, entry.end)
            continue
        if run is not None:
            yield run
        run = entry
    if run is not None:
        yield run


def _largest(data: Tensor, entry: Entry) -> int:
    """The largest bit pattern without its sign among the numbers of `entry`."""
    size = FLOATING_BYTES[entry.dtype]
    part = data[entry.start : entry.end]
    integers = (part if part.storage_offset() % size == 0 else part.clone()).view(_INTEGER[size])
    step = _CHUNK_BYTES // size
    return max(int((integers[at : at + step] & _SIGN_MASK[size]).amax()) for at in range(0, len(integers), step))


def _bits(value: float, dtype: str) -> int:
    """The bit pattern of a positive `value` in `dtype`, cut off below; infinity's predecessor where it does not fit."""
    pattern = struct.unpack("<Q", struct.pack("<d", value))[0]
    exponent, fraction = (pattern >> 52) - _EXPONENT_BIAS["F64"] + _EXPONENT_BIAS[dtype], pattern & ((1 << 52) - 1)
    width = _FRACTION_BITS[dtype]
    return min((exponent << width) | (fraction >> (52 - width)), _INFINITY[dtype] - 1)
