"""The gallery: every picture in the output folder that says how it was made, newest first."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_loom.pipelines.errors import LoomError, OutputError
from lora_loom.pipelines.registry import methods
from lora_loom.studio.library.card import AdapterCard
from lora_loom.studio.records.record import GenerationRecord, read_record
from lora_loom.studio.ui.controls import summary
from lora_loom.studio.ui.gate_view import gate_view
from lora_loom.studio.ui.influence_view import influence_view
from lora_loom.studio.ui.markup import attributes, button, facts, file_url, text
from lora_loom.studio.ui.stage import duration
from lora_loom.studio.ui.thumbnails import thumbnail

PAGE = 24  # pictures shown before "Show more"
THUMBNAIL_SIDE = 256  # pixels


@dataclass(frozen=True)
class Picture:
    """A picture of the output folder; `name` is its file name there, by which the page speaks of it."""

    name: str
    path: Path
    record: GenerationRecord


class Gallery:
    """The recorded pictures directly in `folder`. A picture without a record is not one of ours and is left out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._records: dict[tuple[str, int, int], GenerationRecord | None] = {}

    def pictures(self, limit: int = PAGE) -> tuple[list[Picture], bool]:
        """The newest `limit` pictures, and whether there are more."""
        found: list[Picture] = []
        for path, key in self._files():
            record = self._record(path, key)
            if record is None:
                continue
            if len(found) == limit:
                return found, True
            found.append(Picture(path.name, path, record))
        return found, False

    def find(self, name: str) -> Picture:
        """The picture of that file name; raises OutputError if it is gone."""
        for path, key in self._files():
            if path.name == name and (record := self._record(path, key)):
                return Picture(name, path, record)
        raise OutputError("this picture is no longer in the output folder", found=name[:120], remedy="reload the page")

    def path_of(self, name: str) -> Path | None:
        """The file of that name in the folder, None if it is gone; a name with folders in it is no name."""
        return next((path for path, _ in self._files() if path.name == name), None)

    def _files(self) -> list[tuple[Path, tuple[str, int, int]]]:
        """The PNG files, newest first."""
        found = []
        for path in self.folder.glob("*.png") if self.folder.is_dir() else ():
            try:
                status = path.lstat()
            except OSError:
                continue
            if not path.is_symlink() and not path.name.startswith("."):
                found.append((path, (path.name, status.st_size, status.st_mtime_ns)))
        return sorted(found, key=lambda entry: (entry[1][2], entry[1][0]), reverse=True)

    def _record(self, path: Path, key: tuple[str, int, int]) -> GenerationRecord | None:
        with self._lock:
            if key not in self._records:
                try:
                    self._records[key] = read_record(path)
                except LoomError:
                    self._records[key] = None
            return self._records[key]


def gallery_view(
    gallery: Gallery, cards: Mapping[str, AdapterCard], thumbnails: Path, *, opened: str = "", limit: int = PAGE
) -> str:
    """The gallery as HTML; `opened` names the picture whose settings are shown above the others."""
    pictures, more = gallery.pictures(limit)
    if not pictures:
        return (
            '<div class="loom-empty loom-small"><strong>Nothing here yet</strong>'
            "<p>Every picture you make is kept here with its settings.</p></div>"
        )
    current = next((one for one in pictures if one.name == opened), None)
    detail = _detail(current, cards) if current else ""
    tiles = "".join(_tile(one, thumbnails, opened=one.name == opened) for one in pictures)
    further = f'<div class="loom-more">{button("Show more", "more")}</div>' if more else ""
    return f'{detail}<div class="loom-tiles">{tiles}</div>{further}'


def _tile(picture: Picture, thumbnails: Path, *, opened: bool) -> str:
    small = thumbnail(picture.path, thumbnails, THUMBNAIL_SIDE)
    image = (
        f'<img src="{text(file_url(small))}" alt="{text(picture.record.request.prompt, 200)}" loading="lazy">'
        if small
        else "?"
    )
    names = attributes(
        type="button",
        class_="loom-tile",
        data_action="open",
        data_name=picture.name,
        aria_pressed=str(opened).lower(),
        title=picture.record.request.prompt[:300],
    )
    return f"<button {names}>{image}</button>"


def _detail(picture: Picture, cards: Mapping[str, AdapterCard]) -> str:
    url = text(file_url(picture.path))
    actions = (
        button("Use these settings", "use", kind="loom-button loom-primary", name=picture.name)
        + f'<a class="loom-button" href="{url}" download="{text(picture.name)}">Download</a>'
    )
    prompt = picture.record.request.prompt
    link = attributes(class_="loom-full", target="_blank", rel="noopener", title="Open the picture alone")
    return (
        f'<section class="loom-detail" data-name="{text(picture.name)}">'
        f'<a href="{url}" {link}><img src="{url}" alt="{text(prompt, 200)}"></a>'
        f"<div><p>{text(prompt)}</p>{facts(_rows(picture.record, cards))}"
        f"{influence_view(picture.record, cards)}"
        f'<div class="loom-actions">{actions}</div></div>'
        f"{gate_view(picture.record.heat, cards)}{button('✕', 'close', kind='loom-icon', title='Close')}</section>"
    )


def _rows(record: GenerationRecord, cards: Mapping[str, AdapterCard]) -> dict[str, str]:
    request = record.request
    method = methods().get(request.method)
    settings = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in request.settings.items())
    size = f"{request.width or 'own'} × {request.height or 'own'}" if request.width or request.height else ""
    return {
        "LoRAs": _adapters(record, cards),
        "Method": text((method.title if method else request.method) + (f" ({settings})" if settings else "")),
        "Seed": text(record.seed),
        "Steps": text(f"{request.num_inference_steps}, guidance {request.guidance_scale:g}"),
        "Avoid": text(request.negative_prompt, 400),
        "Size": text(size),
        "Base": text(Path(request.base_model).name, 80),
        "Made": text(f"{record.created_at[:16].replace('T', ' ')} UTC in {duration(record.seconds)}"),
    }


def _adapters(record: GenerationRecord, cards: Mapping[str, AdapterCard]) -> str:
    return ", ".join(
        f'<span title="SHA-256 {text(record.adapter_sha256.get(choice.name, "not recorded"))}">'
        f"{text(cards[choice.name].title if choice.name in cards else f'{choice.name} (not in the library)', 60)}"
        f" × {choice.strength:g}{text(f' ({said})' if (said := summary(choice)) else '', 200)}</span>"
        for choice in record.request.adapters
    )


def restored_notice(record: GenerationRecord, differences: Sequence[LoomError]) -> tuple[str, list[str]]:
    """What to tell a person whose form was filled from a picture: a title, and why it may not come out the same."""
    if differences:
        return "Settings restored, but this picture cannot be made again as it was:", [str(one) for one in differences]
    if record.request.num_images_per_prompt > 1:
        note = f"It was one of {record.request.num_images_per_prompt}; drawn alone, last bits of it can differ."
        return "Settings restored. Generate makes this picture again.", [note]
    return "Settings restored. Generate makes the same picture again.", []
