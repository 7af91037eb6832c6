"""The gallery: every picture in the output folder that says how it was made, newest first."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_loom.pipelines.errors import LoomError, OutputError
from lora_loom.pipelines.registry import methods
from lora_loom.pipelines.request import AdapterChoice, declared_fields
from lora_loom.studio.library.card import AdapterCard
from lora_loom.studio.records.extensions import OF_RECORD, not_understood
from lora_loom.studio.records.record import GenerationRecord, read_record
from lora_loom.studio.templates import cut, render
from lora_loom.studio.ui.controls import summary
from lora_loom.studio.ui.gate_view import gate_view
from lora_loom.studio.ui.influence_view import influence_view
from lora_loom.studio.ui.markup import file_url
from lora_loom.studio.ui.stage import duration
from lora_loom.studio.ui.thumbnails import thumbnail

PAGE = 24  # pictures shown before "Show more"
THUMBNAIL_SIDE = 256  # pixels
IN_ROWS = frozenset(  # fields of a request that are told in a form of their own; any other has a row by its label
    "prompt negative_prompt adapters method settings base_model num_inference_steps guidance_scale width height"
    " seed".split()
)


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
    current = next((one for one in pictures if one.name == opened), None)
    tiles = [
        (one.name, one.record.request.prompt, file_url(small) if small else "", one.name == opened)
        for one in pictures
        for small in [thumbnail(one.path, thumbnails, THUMBNAIL_SIDE)]
    ]
    return render(
        "ui/gallery.html.j2",
        tiles=tiles,
        more=more,
        opened=current,
        url=file_url(current.path) if current else "",
        facts=_rows(current.record, cards) if current else {},
        influence=influence_view(current.record, cards) if current else "",
        gates=gate_view(current.record.heat, cards) if current else "",
    )


def _rows(record: GenerationRecord, cards: Mapping[str, AdapterCard]) -> dict[str, str]:
    request = record.request
    method = methods().get(request.method)
    settings = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in request.settings.items())
    size = f"{request.width or 'own'} × {request.height or 'own'}" if request.width or request.height else ""
    rows = {
        "LoRAs": _adapters(record, cards),
        "Method": (method.title if method else request.method) + (f" ({settings})" if settings else ""),
        "Seed": str(record.seed),
        "Steps": f"{request.num_inference_steps}, guidance {request.guidance_scale:g}",
        "Avoid": cut(request.negative_prompt, 400),
        "Size": size,
        "Base": cut(Path(request.base_model).name, 80),
    }
    for name, declared in declared_fields().items():
        value = getattr(request, name)
        if name not in IN_ROWS and declared.shows("gallery") and value != declared.default:
            rows[declared.label] = cut(f"{value:g}" if isinstance(value, float) else value, 400)
    return {
        **rows,
        "Of a newer Loom": cut(", ".join(not_understood(record.extensions)), 400),
        "Made": f"{record.created_at[:16].replace('T', ' ')} UTC in {duration(record.seconds)}",
    }


def _adapters(record: GenerationRecord, cards: Mapping[str, AdapterCard]) -> str:
    def one(choice: AdapterChoice) -> tuple[str, str, float, str]:
        title = cards[choice.name].title if choice.name in cards else f"{choice.name} (not in the library)"
        return record.adapter_sha256.get(choice.name, "not recorded"), title, choice.strength, summary(choice)

    return render("ui/gallery_loras.html.j2", loras=[one(choice) for choice in record.request.adapters])


def restored_notice(
    record: GenerationRecord, differences: Sequence[LoomError], lost: Sequence[str] = ()
) -> tuple[str, list[str]]:
    """What to tell a person whose form was filled from a picture: a title, and why it may not come out the same.

    `lost` are the fields that the form cannot hold as they were. The same picture is promised only if nothing is.
    """
    said = [str(one) for one in differences]
    said += [f"The form cannot hold this as it was: {', '.join(lost)}."] if lost else []
    strange = not_understood(record.extensions, OF_RECORD)
    said += [f"A newer Loom recorded more than this one knows: {', '.join(strange)}."] if strange else []
    if differences or lost:
        return "Settings restored, but this picture cannot be made again as it was:", said
    if strange:
        return "Settings restored, but this picture may not come out the same:", said
    if record.request.num_images_per_prompt > 1:
        note = f"It was one of {record.request.num_images_per_prompt}; drawn alone, last bits of it can differ."
        return "Settings restored. Generate makes this picture again.", [note]
    return "Settings restored. Generate makes the same picture again.", []
