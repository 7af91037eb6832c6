"""The bounds that a LoRA file from anywhere has to keep before a byte of it is believed."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True)
class Limits:
    """Far above every LoRA seen in the wild, far below what hurts the machine that reads one."""

    file_bytes: int = 4 * GIB
    header_bytes: int = 32 * MIB  # an SDXL LoRA of 2,166 tensors has 0.4 MiB
    tensors: int = 50_000
    key_characters: int = 512
    dimensions: int = 6
    json_depth: int = 8
    rank: int = 1024
    scale: float = 256.0  # of |alpha / rank|
    magnitude: float = 1e6  # of any weight: a larger one is as bad as an infinity once it is multiplied
    expanded_bytes: int = 4 * GIB  # of all factors in float32, LoHa and LoKr written out


DEFAULT_LIMITS = Limits()
