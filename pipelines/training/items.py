"""The training pictures: a folder with captions, or pairs in memory, as one list that is checked at once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lora_loom.pipelines.checked_json import parse_json
from lora_loom.pipelines.errors import TrainingError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
CAPTION_SUFFIXES = (".txt", ".caption")
SHOWN = 5  # names an error message lists before it only counts


@dataclass(frozen=True)
class TrainingItem:
    """One picture, in memory or still a file, and its captions; `name` is what error messages call it."""

    picture: Path | Image.Image | np.ndarray[Any, np.dtype[np.uint8]]
    captions: tuple[str, ...]
    name: str


def as_items(pairs: Iterable[TrainingItem | tuple[Any, Any]]) -> tuple[TrainingItem, ...]:
    """Accept items as they are and (picture, caption or captions) pairs; TrainingError if there is none."""
    items = tuple(_as_item(index, pair) for index, pair in enumerate(pairs))
    if not items:
        raise TrainingError("there is nothing to train on", expected="at least one picture", found="an empty data set")
    return items


def read_folder(folder: Path, *, default_caption: str = "") -> tuple[TrainingItem, ...]:
    """The pictures of a folder with the captions of `metadata.jsonl` (file_name, text) or of the .txt beside each.

    A row of metadata.jsonl wins over a text file. A picture without either gets `default_caption`; if that is empty,
    all such pictures are named in a TrainingError. Hidden files are skipped, sub-folders too unless a row names a file
    there.
    """
    if not folder.is_dir():
        raise TrainingError(f"{folder} is not a folder", expected="a folder of pictures with captions")
    folder = Path(os.path.normpath(folder))
    caption_by_path = _read_rows(folder)
    entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
    paths = {path for path in entries if path.suffix.lower() in SUFFIXES and path.is_file()}
    ordered = sorted(paths | set(caption_by_path))
    if not ordered:
        raise TrainingError(
            f"{folder} holds no picture",
            expected=f"files ending in {', '.join(SUFFIXES)}",
            found=f"{len(entries)} other entries",
        )
    items: list[TrainingItem] = []
    missing: list[str] = []
    for path in ordered:
        caption = caption_by_path.get(path) or _text_beside(path) or default_caption.strip()
        if not caption:
            missing.append(path.name)
        items.append(TrainingItem(picture=path, captions=(caption,), name=path.relative_to(folder).as_posix()))
    if missing:
        raise TrainingError(
            f"{len(missing)} of {len(ordered)} pictures in {folder} have no caption",
            found=listed(missing),
            remedy="write a .txt file of the same name beside each, a metadata.jsonl with file_name and text, "
            "or give one caption for all",
        )
    return tuple(items)


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _as_item(index: int, pair: TrainingItem | tuple[Any, Any]) -> TrainingItem:
    if isinstance(pair, TrainingItem):
        return pair
    picture, caption = pair
    captions = (caption,) if isinstance(caption, str) else tuple(cast("Iterable[str]", caption))
    if not captions or not all(caption.strip() for caption in captions):
        raise TrainingError(f"picture {index} has no caption", expected="a text that says what it shows")
    return TrainingItem(picture=picture, captions=captions, name=f"picture {index}")


def _text_beside(path: Path) -> str:
    """The caption in the text file of the same name: its lines joined by blanks, or nothing."""
    for suffix in CAPTION_SUFFIXES:
        beside = path.with_suffix(suffix)
        if beside.is_file():
            return " ".join(_read_text(beside).split())
    return ""


def _read_rows(folder: Path) -> dict[Path, str]:
    """Captions by path from metadata.jsonl; every complaint names the row, counted from 1."""
    source = folder / "metadata.jsonl"
    if not source.is_file():
        return {}
    captions: dict[Path, str] = {}
    for number, line in enumerate(_read_text(source).splitlines(), start=1):
        if not line.strip():
            continue
        where = f"row {number} of {source}"
        try:
            row: Any = parse_json(line)
        except (ValueError, RecursionError) as error:
            raise TrainingError(f"{where} is not JSON", found=str(error)) from error
        if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("file_name", "text")):  # pyright: ignore[reportUnknownMemberType]
            raise TrainingError(f"{where} is incomplete", expected='{"file_name": ..., "text": ...}', found=line[:80])
        entry = cast("dict[str, str]", row)
        path = _inside(folder, entry["file_name"], where)
        if path in captions:
            raise TrainingError(f"{where} names {entry['file_name']} a second time", remedy="keep one row per picture")
        captions[path] = " ".join(entry["text"].split())
    return captions


def _inside(folder: Path, name: str, where: str) -> Path:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise TrainingError(f"{where} points outside the folder", found=name, remedy="keep the pictures in the folder")
    if not path.is_file():
        raise TrainingError(f"{where} names a file that is not there", found=name)
    return Path(os.path.normpath(path))


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise TrainingError(f"{path} is not UTF-8 text", found=str(error), remedy="save it as UTF-8") from error
