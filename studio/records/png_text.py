"""The text chunks of a PNG, read with a limit on everything that a hostile file could inflate.

Only chunk headers are walked, picture data is skipped unread, and compressed text is inflated up to the limit only.
PNG: Portable Network Graphics (W3C, third edition), sections 5.3 and 11.3.3.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import BinaryIO

from lora_loom.pipelines.errors import RecordError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_TEXT_BYTES = 1 << 20  # of one text, inflated
MAX_CHUNKS = 200_000


def read_text(path: str | Path, keyword: str) -> str | None:
    """The text stored under `keyword`, None if there is none; raises RecordError for a file that is not sound."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            return _search(file, path.name, keyword.encode("latin-1"))
    except OSError as error:
        raise RecordError(f"{path} cannot be read", found=error.strerror or str(error)) from error


def _search(file: BinaryIO, name: str, keyword: bytes) -> str | None:
    if file.read(len(SIGNATURE)) != SIGNATURE:
        raise RecordError(f"{name} is not a PNG", expected="a PNG that Loom saved", remedy="Give the original file")
    found: str | None = None
    for _ in range(MAX_CHUNKS):
        header = file.read(8)
        if len(header) < 8:
            raise RecordError(f"{name} ends before its picture does", remedy="Copy the file again, it was cut off")
        length, kind = struct.unpack(">I4s", header)
        if kind == b"IEND":
            return found
        if kind not in (b"tEXt", b"zTXt", b"iTXt") or length > MAX_TEXT_BYTES + 1024:
            file.seek(length + 4, 1)
            continue
        data, crc = file.read(length), file.read(4)
        if not data.startswith(keyword + b"\0"):
            continue
        if len(data) < length or crc != struct.pack(">I", zlib.crc32(kind + data)):
            raise RecordError(f"{name} is damaged", found=f"a wrong checksum of its {keyword.decode('latin-1')} text")
        if found is not None:
            raise RecordError(f"{name} has two {keyword.decode('latin-1')} texts", expected="one")
        found = _decode(kind, data[len(keyword) + 1 :], name)
    raise RecordError(f"{name} has too many chunks", expected=f"at most {MAX_CHUNKS}")


def _decode(kind: bytes, body: bytes, name: str) -> str:
    """The text of a chunk without its keyword: latin-1 in tEXt, the same deflated in zTXt, either in UTF-8 in iTXt."""
    try:
        if kind == b"tEXt":
            return _limited(body, name).decode("latin-1")
        if kind == b"zTXt":
            return _inflate(body[1:], name).decode("latin-1")
        compressed, rest = body[0], body[2:]
        _language, _translated, text = rest.split(b"\0", 2)
        return (_inflate(text, name) if compressed else _limited(text, name)).decode("utf-8")
    except (IndexError, ValueError, zlib.error) as error:
        raise RecordError(f"{name} holds a text that cannot be decoded", found=str(error)) from error


def _inflate(data: bytes, name: str) -> bytes:
    stream = zlib.decompressobj()
    return _limited(stream.decompress(data, MAX_TEXT_BYTES + 1), name)


def _limited(data: bytes, name: str) -> bytes:
    if len(data) > MAX_TEXT_BYTES:
        raise RecordError(f"{name} holds a text that is too long", expected=f"at most {MAX_TEXT_BYTES} bytes")
    return data
