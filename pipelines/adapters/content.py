"""What a file really is, told from its first bytes and never from its name."""

from __future__ import annotations

import re

SAMPLE_BYTES = 64

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a ZIP archive, as torch.save writes"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"GGUF", "a GGUF file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"version https://git-lfs", "a Git LFS pointer, so the file itself was never downloaded"),
    (b"\x89HDF\r\n", "an HDF5 file"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"RIFF", "a RIFF file, such as a WebP picture"),
    (b"%PDF", "a PDF document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"MZ", "a Windows program"),
    (b"\x7fELF", "a Linux program"),
)
_PICKLE_START = re.compile(rb"\x80[\x02-\x05]|[(\]}]{0,4}c[A-Za-z_][\w.]*\n[A-Za-z_][\w.]*\n|\(dp\d|\(lp\d")
_PAGE_START = re.compile(rb"\s*<(!doctype|html|\?xml|head|script)", re.IGNORECASE)


def foreign_content(start: bytes) -> str:
    """What the first bytes of a file say it is when it is something else than safetensors; empty if they say nothing.

    A signature counts only where a safetensors header cannot be: those have a `{` at byte 8.
    """
    if start[8:9] == b"{":
        return ""
    if _PICKLE_START.match(start):
        return "a Python pickle, which runs code when it is loaded"
    if _PAGE_START.match(start):
        return "a web page, as a failed download leaves behind"
    if start.lstrip()[:1] == b"{":
        return "a JSON text"
    return next((name for signature, name in _SIGNATURES if start.startswith(signature)), "")
