"""Thumbnails: pictures from outside decoded under limits and encoded anew, so that none reaches the page as it is."""

from __future__ import annotations

import hashlib
import logging
import warnings
from pathlib import Path

from lora_loom.pipelines.atomic_file import atomic_file

MAX_FILE_BYTES = 64 * 2**20
MAX_PIXELS = 64_000_000
FORMATS = ("PNG", "JPEG", "WEBP")
logger = logging.getLogger(__name__)


def thumbnail(path: Path, folder: Path, side: int) -> Path | None:
    """A WebP of `path` that fits in side x side pixels, made once and kept in `folder`; None for what is no sound
    picture.

    A picture that is smaller is kept as large as it is. Metadata does not survive.
    """
    try:
        status = path.stat()
    except OSError:
        return None
    key = hashlib.sha256(
        f"{path}|{status.st_size}|{status.st_mtime_ns}|{side}".encode("utf-8", "surrogateescape")
    ).hexdigest()
    kept = folder / f"{key[:32]}.webp"
    if kept.is_file():
        return kept
    if status.st_size > MAX_FILE_BYTES:
        return None
    try:
        return _make(path, kept, side)
    except Exception as error:  # decoders raise many kinds of errors on broken pictures; a card without one is fine
        logger.info("no thumbnail of %s: %s", path, error)
        return None


def _make(path: Path, kept: Path, side: int) -> Path | None:
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                return None
            image.draft("RGB", (side, side))
            small = image.convert("RGBA" if "A" in image.getbands() or "transparency" in image.info else "RGB")
    small.thumbnail((side, side))
    small.info.clear()
    with atomic_file(kept) as file:
        small.save(file, "WEBP", quality=90, method=4, lossless=max(small.size) <= 128)
    return kept
