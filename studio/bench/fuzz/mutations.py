"""Changes that keep the outer form of an input, so that fuzzing reaches what lies behind the first check of the form.

A share of the inputs is changed byte by byte by the fuzzer itself; these are the others: JSON with odd values, a
safetensors file whose offsets still tile it, a PNG whose checksums still hold. Of the changes to a file of LoRAs half
are such as real files show, so that they are read to the end: another rank, dtype or module, a module more or less.
"""

from __future__ import annotations

import json
import math
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any

SHARE = 0.5  # of inputs that keep their form
SHARES = {"reader": 0.85}  # where one changed byte mostly breaks the header
Change = Callable[[bytes, random.Random], bytes]
SIGNATURE = b"\x89PNG\r\n\x1a\n"
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1}
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3, 1e308, -1e-300, 0.5, 2**31, 2**63, 10**25, "", "x", [], {}, [[]], {"": 0}),
    *("\ud800", "\u202e", "\0", "nan", "<lora:a:1>", "../x", "A" * 300, "(a|a)*$", ".*", "1e999", "\\", "%s{}"),
)
WORDS = (
    *("lora_A.weight", "lora_B.weight", "lora_down.weight", "lora_up.weight", "lora_mid.weight", "alpha", "dora_scale"),
    *("lora_magnitude_vector", "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2", "lokr_w1"),
    *("lokr_w2", "lokr_w1_a", "lokr_w2_b", "lokr_t2", "diff", "diff_b", "scalar", "bias", "a1.weight", "oft_blocks"),
    *("mid_block.to_q", "mid_block.to_k", "mid_block.conv", "unet.mid_block.to_q", "lora_unet_mid_block_to_q"),
    *("lora_te_layers_0_q_proj", "text_encoder.layers.0.q_proj", "transformer", "base_model.model", "_orig_mod"),
)


PLACES = (
    *("unet.mid_block.to_q", "unet.mid_block.to_k", "unet.mid_block.conv", "text_encoder.layers.0.q_proj"),
    *("lora_unet_mid_block_to_q", "lora_unet_mid_block_to_k", "lora_unet_mid_block_conv", "lora_te_layers_0_q_proj"),
    *("base_model.model.unet.mid_block.to_q", "unet._orig_mod.mid_block.to_k", "lora_te1_layers_0_q_proj"),
)


def bent_json(data: bytes, rng: random.Random) -> bytes:
    """The JSON with one to three of its values, keys or items changed; what is no JSON comes back as it was."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return data
    for _ in range(rng.randint(1, 3)):
        value = _bent(value, rng)
    return json.dumps(value, ensure_ascii=rng.random() < 0.8).encode("utf-8", "surrogatepass")


def bent_file(data: bytes, rng: random.Random) -> bytes:
    """A safetensors file with tensors renamed, copied, dropped, or of another shape or dtype, its offsets made anew."""
    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        metadata = header.pop("__metadata__", None)
        entries = {str(key): (str(entry["dtype"]), list(entry["shape"])) for key, entry in header.items()}
        whole = [key for key, (dtype, shape) in entries.items() if dtype in BYTES and _size(dtype, shape) < 1 << 14]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return data
    entries = {key: entries[key] for key in whole}
    if rng.random() < 0.5:
        for _ in range(rng.randint(1, 2)):
            _sound_change(entries, rng)
    else:
        for _ in range(rng.randint(1, 3)):
            _bend_entries(entries, rng)
    if rng.random() < 0.2:
        metadata = json.loads(bent_json(json.dumps(metadata or {"ss_v2": "True"}).encode(), rng))
    body = bytearray(data[8 + length :])
    return _file(entries, metadata, body, rng)


def bent_png(data: bytes, rng: random.Random) -> bytes:
    """A PNG with the JSON of one of its texts changed, its checksum made anew."""
    chunks: list[tuple[bytes, bytes]] = []
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        chunks.append((kind, data[at + 8 : at + 8 + length]))
        at += 12 + length
    texts = [place for place, (kind, body) in enumerate(chunks) if kind == b"tEXt" and b"\0" in body]
    if not texts:
        return data
    place = rng.choice(texts)
    keyword, _, text = chunks[place][1].partition(b"\0")
    bent = bent_json(text, rng)
    chunks[place] = rng.choice(
        [(b"tEXt", keyword + b"\0" + bent), (b"zTXt", keyword + b"\0\0" + zlib.compress(bent, 1))]
    )
    framed = (struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks)
    return SIGNATURE + b"".join(framed)


def bent_prompts(data: bytes, rng: random.Random) -> bytes:
    """A file of prompts whose first byte is its kind: one line of JSON is changed, or the kind."""
    if rng.random() < 0.1:
        return bytes([rng.randrange(5)]) + data[1:]
    lines = data[1:].split(b"\n")
    place = rng.randrange(len(lines))
    lines[place] = bent_json(lines[place], rng)
    return data[:1] + b"\n".join(lines)


def bent_job(data: bytes, rng: random.Random) -> bytes:
    """A row of the list of jobs: one of its three JSON texts is changed."""
    parts = data.split(b"\0")
    place = rng.randrange(len(parts))
    parts[place] = bent_json(parts[place], rng)
    return b"\0".join(parts)


CHANGES: dict[str, Change] = {
    "reader": bent_file,
    "header": bent_file,
    "metadata": bent_json,
    "sidecars": bent_json,
    "png": bent_png,
    "prompts": bent_prompts,
    "jobs": bent_job,
}


def _bent(value: Any, rng: random.Random) -> Any:
    """The value with one change somewhere inside."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key, copy = rng.choice(list(value)), dict(value)
        if rng.random() < 0.15:
            copy[rng.choice([*value, *(str(odd) for odd in ODD if isinstance(odd, str))])] = copy.pop(key)
        elif rng.random() < 0.1:
            del copy[key]
        else:
            copy[key] = _bent(value[key], rng)
        return copy
    if isinstance(value, list) and value and rng.random() < 0.85:
        place = rng.randrange(len(value))
        return [*value[:place], _bent(value[place], rng), *value[place + (rng.random() < 0.8) :]]
    if isinstance(value, str) and value.startswith("{") and rng.random() < 0.8:
        return bent_json(value.encode("utf-8", "surrogatepass"), rng).decode("utf-8", "surrogatepass")
    return rng.choice(ODD)


def _bend_entries(entries: dict[str, tuple[str, list[Any]]], rng: random.Random) -> None:
    names = list(entries)
    if not names:
        entries[f"unet.mid_block.to_q.{rng.choice(WORDS)}"] = ("F32", [4, 4])
        return
    name, what = rng.choice(names), rng.random()
    dtype, shape = entries[name]
    if what < 0.35:  # another part or another layer
        stem, _, _ = name.rpartition(rng.choice([".", "_", ".lora_"]))
        renamed = f"{stem}.{rng.choice(WORDS)}" if rng.random() < 0.7 else f"{rng.choice(WORDS)}.{rng.choice(WORDS)}"
        if rng.random() < 0.5:
            del entries[name]
        entries[renamed] = (dtype, shape)
    elif what < 0.6 and shape:
        place = rng.randrange(len(shape))
        entries[name] = (dtype, [*shape[:place], rng.choice([0, 1, 2, 3, 4, 8, 9, 36, 64]), *shape[place + 1 :]])
    elif what < 0.75:
        entries[name] = (dtype, rng.choice([[], [1], [4], [2, 4], [4, 2], [4, 4], [2, 4, 3, 3], [4, 2, 1, 1], [1, 4]]))
    elif what < 0.9:
        entries[name] = (rng.choice(list(BYTES)), shape)
    elif len(entries) > 1:
        del entries[name]


def _sound_change(entries: dict[str, tuple[str, list[Any]]], rng: random.Random) -> None:
    """Another rank or dtype for a whole module, the module twice, elsewhere, or gone, or an alpha more or less."""
    modules = sorted({stem for key in entries for stem in [_module_of(key)] if stem})
    if not modules:
        return
    module, what = rng.choice(modules), rng.random()
    own = {key: entries[key] for key in entries if _module_of(key) == module}
    if what < 0.3:
        former, rank = rng.choice([1, 2, 4]), rng.choice([1, 2, 3, 4, 8])
        for key, (dtype, shape) in own.items():
            entries[key] = (dtype, [rank if size == former else size for size in shape])
    elif what < 0.5:
        dtype = rng.choice(["F32", "F16", "BF16", "F64"])
        entries.update({key: (dtype, shape) for key, (_, shape) in own.items()})
    elif what < 0.8:
        other = rng.choice([*PLACES, *modules])
        for key in own if rng.random() < 0.5 else ():
            del entries[key]
        entries.update({other + key[len(module) :]: entry for key, entry in own.items()})
    elif what < 0.9:
        alpha = f"{module}.alpha"
        if entries.pop(alpha, None) is None:
            entries[alpha] = ("F32", rng.choice([[], [1]]))
    elif len(modules) > 1:
        for key in own:
            del entries[key]


def _module_of(key: str) -> str:
    """The module that a key of one of the seeds' layouts names; empty for another."""
    for mark in (".lora_", ".hada_", ".lokr_", ".alpha", ".dora_scale"):
        stem, found, _ = key.partition(mark)
        if found:
            return stem
    return ""


def _file(entries: dict[str, tuple[str, list[Any]]], metadata: Any, body: bytearray, rng: random.Random) -> bytes:
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    at = 0
    for key, (dtype, shape) in entries.items():
        end = at + _size(dtype, shape)
        header[key] = {"dtype": dtype, "shape": shape, "data_offsets": [at, end]}
        at = end
    body = body[:at] + bytes(at - len(body)) if at > len(body) else body[:at]
    if at and rng.random() < 0.3:
        place = rng.randrange(at)
        odd = rng.choice([b"\0\0\x80\x3f", b"\0\0\x80\x7f", b"\xff\xff\xff\xff", b"\0\x7c", b"\x01"])
        body[place : place + len(odd)] = odd[: at - place]
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    return len(text).to_bytes(8, "little") + text + bytes(body)


def _size(dtype: str, shape: list[Any]) -> int:
    return math.prod(max(int(size), 0) for size in shape) * BYTES[dtype]
