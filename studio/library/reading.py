"""Reading a library folder: which files are LoRAs, whether one has changed, and the card of each."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lora_loom.pipelines.errors import AdapterFileError
from lora_loom.studio.library.card import MAX_NAME, AdapterCard, FileKey
from lora_loom.studio.sidecars import (
    PREVIEW_SUFFIXES,
    SIDECAR_SUFFIXES,
    clean_text,
    find_preview,
    is_file_inside,
    read_notes,
)


def adapter_files(root: Path) -> Iterator[Path]:
    """The .safetensors files under `root`, sorted; links that lead out of it and hidden folders are left out."""
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(files):
            path = Path(folder, name)
            if path.suffix.lower() == ".safetensors" and not name.startswith(".") and is_file_inside(root, path):
                yield path


def state_of(path: Path) -> tuple[FileKey, ...]:
    """What tells whether the LoRA or anything beside it changed; empty if the file went away meanwhile."""
    keys: list[FileKey] = []
    for file in (path, *(path.with_suffix(suffix) for suffix in (*SIDECAR_SUFFIXES, *PREVIEW_SUFFIXES))):
        try:
            status = file.stat()
            keys.append((file, status.st_size, status.st_mtime_ns))
        except OSError:
            if file is path:
                return ()
    return tuple(keys)


def read_card(root: Path, path: Path, *, size_bytes: int) -> AdapterCard:
    from lora_loom.pipelines.adapters.base_family import detect_base_family
    from lora_loom.pipelines.adapters.safetensors_file import read_header

    problem, metadata, family, rank = "", {}, "unknown", None
    try:
        header = read_header(path)
        metadata = dict(header.metadata)
        family = detect_base_family(list(header.shapes), header.shapes, metadata).name
        rank = _largest_rank(header.shapes.items())
    except AdapterFileError as error:
        problem = clean_text(str(error), 400)
    notes = read_notes(path, metadata, root)
    folder = path.parent.name if path.parent != root else ""
    return AdapterCard(
        id=f"a_{hashlib.sha256(str(path).encode('utf-8', 'surrogateescape')).hexdigest()[:12]}",
        name=path.stem,
        title=notes.title or clean_text(path.stem.replace("_", " "), MAX_NAME),
        category=(notes.category or clean_text(folder, 48) or "other").lower(),
        triggers=notes.triggers,
        description=notes.description,
        tags=notes.tags,
        preview_path=find_preview(path, root),
        base_family=family,
        rank=rank,
        strength=notes.strength if notes.strength is not None else 1.0,
        path=path,
        size_bytes=size_bytes,
        problem=problem,
        remarks=notes.unreadable,
    )


def _largest_rank(shapes: Iterable[tuple[str, Sequence[int]]]) -> int | None:
    """The largest rank among the down matrices [r in ...] of the file, None where it has none."""
    endings = (
        ".lora_A.weight",
        ".lora_down.weight",
        ".lora.down.weight",
        "_lora.down.weight",
        ".lora_A.default.weight",
    )
    ranks = [shape[0] for key, shape in shapes if key.endswith(endings) and len(shape) >= 2]
    return max(ranks, default=None)
