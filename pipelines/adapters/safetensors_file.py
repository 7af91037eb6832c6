"""The hardened reader of LoRA files: decided by content, bounded in every direction, each weight scanned once.

Nothing else in Loom opens a model file of someone else's. The bytes are read once; what is hashed is what is used.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING

from lora_loom.pipelines.adapters.content import SAMPLE_BYTES
from lora_loom.pipelines.adapters.header import Entry, Header, header_length, parse_header
from lora_loom.pipelines.adapters.hostile_text import display_names, display_text
from lora_loom.pipelines.adapters.limits import DEFAULT_LIMITS, Limits
from lora_loom.pipelines.errors import AdapterFileError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class SafetensorsFile:
    """A file that was read whole. `tensors` share one buffer; `non_finite` names those with a NaN or infinity."""

    path: Path
    header: Header
    tensors: Mapping[str, Tensor]
    sha256: str
    non_finite: tuple[str, ...] = ()

    @property
    def metadata(self) -> Mapping[str, str]:
        return self.header.metadata


def read_header(path: str | Path, limits: Limits = DEFAULT_LIMITS) -> Header:
    """Metadata, names, dtypes and shapes, without reading a tensor. Raises AdapterFileError."""
    path = Path(path)
    with _opened(path) as file:
        return _header_of(file, path, limits)[1]


def read(path: str | Path, limits: Limits = DEFAULT_LIMITS, *, allow_non_finite: bool = False) -> SafetensorsFile:
    """The file with its tensors and the SHA-256 of its bytes.

    Raises AdapterFileError for everything that is not a sound safetensors file within `limits`, and for a NaN or
    infinity unless `allow_non_finite`, which only lists them (for a receipt).
    """
    import torch

    path = Path(path)
    with _opened(path) as file:
        start, header = _header_of(file, path, limits)
        data = torch.empty(header.file_bytes - header.data_start, dtype=torch.uint8)
        view = memoryview(data.numpy())  # pyright: ignore[reportArgumentType]
        if file.readinto(view) != len(view):
            raise AdapterFileError(
                f"{display_text(path.name)} changed while it was read", path=path, remedy="Wait until the download ends"
            )
    digest = hashlib.sha256(start)
    digest.update(view)
    return _checked(path, header, data, digest.hexdigest(), limits, allow_non_finite)


def read_tensors(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None, limits: Limits = DEFAULT_LIMITS
) -> SafetensorsFile:
    """Tensors from memory, checked as if they came from a file; the hash is that of the file they would be saved as."""
    import torch
    from safetensors.torch import save

    path = Path("tensors-in-memory")
    copies = {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in tensors.items()}
    blob = save(copies, metadata=dict(metadata) if metadata else None)
    start = blob[:SAMPLE_BYTES]
    data_start = 8 + header_length(start, len(blob), path, limits)
    header = parse_header(blob[8:data_start], len(blob), path, limits)
    data = torch.frombuffer(bytearray(blob[data_start:]) or bytearray(1), dtype=torch.uint8)
    return _checked(path, header, data, hashlib.sha256(blob).hexdigest(), limits, allow_non_finite=False)


def _checked(
    path: Path, header: Header, data: Tensor, sha256: str, limits: Limits, allow_non_finite: bool
) -> SafetensorsFile:
    from lora_loom.pipelines.adapters.finite import unsound_tensors

    non_finite, absurd = unsound_tensors(data, header.entries, limits.magnitude)
    if absurd:
        raise AdapterFileError(
            f"{display_text(path.name)} holds absurdly large weights",
            path=path,
            expected=f"weights up to {limits.magnitude:g}",
            found=f"larger ones in {display_names(absurd)}",
            remedy="The training has diverged: get another version of this LoRA",
        )
    if non_finite and not allow_non_finite:
        raise AdapterFileError(
            f"{display_text(path.name)} holds numbers that are not finite and would turn the picture black",
            path=path,
            expected="finite weights",
            found=f"NaN or infinity in {len(non_finite)} of {len(header.entries)} tensors: {display_names(non_finite)}",
            remedy="The training has diverged: get another version of this LoRA",
        )
    dtypes = _dtypes()
    tensors = {key: _tensor(data, entry, dtypes[entry.dtype]) for key, entry in header.entries.items()}
    return SafetensorsFile(path, header, tensors, sha256, tuple(non_finite))


def _tensor(data: Tensor, entry: Entry, dtype: torch.dtype) -> Tensor:
    part = data[entry.start : entry.end]
    if entry.start % dtype.itemsize:
        part = part.clone()  # the format does not align tensors, a view in another dtype has to be
    return part.view(dtype).view(entry.shape)


def _dtypes() -> dict[str, torch.dtype]:
    import torch

    return {
        "F64": torch.float64,
        "F32": torch.float32,
        "F16": torch.float16,
        "BF16": torch.bfloat16,
        "F8_E4M3": torch.float8_e4m3fn,
        "F8_E5M2": torch.float8_e5m2,
        "I64": torch.int64,
        "I32": torch.int32,
        "I16": torch.int16,
        "I8": torch.int8,
        "U64": torch.uint64,
        "U32": torch.uint32,
        "U16": torch.uint16,
        "U8": torch.uint8,
        "BOOL": torch.bool,
    }


def _opened(path: Path) -> BufferedReader:
    """The file, opened; a directory, device or pipe is refused before it is opened."""
    name = display_text(str(path), 300)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise AdapterFileError(
                f"{name} is not a file",
                path=path,
                expected="a .safetensors file",
                found="a folder" if path.is_dir() else "a device or pipe",
                remedy="Name the file inside it" if path.is_dir() else "Name a file",
            )
        return path.open("rb")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise AdapterFileError(
            f"{name} cannot be opened", path=path, expected="a readable file", found=reason, remedy="Check the path"
        ) from error


def _header_of(file: BufferedReader, path: Path, limits: Limits) -> tuple[bytes, Header]:
    """The bytes up to the data, and what they say; the file stands at the start of the data afterwards."""
    file_bytes = os.fstat(file.fileno()).st_size
    start = file.read(SAMPLE_BYTES)
    length = header_length(start, file_bytes, path, limits)
    whole = (start + file.read(max(0, 8 + length - len(start))))[: 8 + length]
    file.seek(len(whole))
    return whole, parse_header(whole[8:], file_bytes, path, limits)
