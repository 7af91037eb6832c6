"""PicturesOnly: of the files on this machine the page gets pictures, as pictures, and nothing else.

Gradio serves whatever lies in the folders it was given, as what its name says, to whoever asks. Here a file is served
if its content is a picture that Loom made (a PNG with a record, a thumbnail) or one that was dropped on the page, with
the type that its content says. Every answer forbids the browser to guess types and others to frame the page.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from lora_loom.pipelines.errors import RecordError
from lora_loom.studio.records.png_text import read_text
from lora_loom.studio.records.record import KEYWORD
from lora_loom.studio.sidecars import is_file_inside
from lora_loom.studio.ui.doors.asgi import App, Receive, Scope, Send, refuse, with_headers

FILE = "/file="
CLOSED = ("/file/", "/proxy=")  # Gradio's other ways to files and to other hosts
# Gradio's page needs its own inline scripts and styles; nothing may come from or go to another host.
PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' blob:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
FILE_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"
_REPLACED = (b"x-content-type-options", b"x-frame-options", b"content-security-policy", b"referrer-policy")


class PicturesOnly:
    """ASGI middleware; `made` are folders of PNG files with records, `thumbnails` and `uploads` of any picture."""

    def __init__(self, app: App, made: Sequence[Path], thumbnails: Path, uploads: Path) -> None:
        self.app = app
        self.made, self.loose = tuple(made), (thumbnails, uploads)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path: str = scope["path"]
        before, asked, name = path.partition(FILE)
        kind = self._kind(name) if asked else None
        if (asked and kind is None) or any(closed in before for closed in CLOSED):
            await refuse(
                scope, with_headers(send, lambda fields: _guarded(fields, FILE_POLICY)), "no such picture", 404
            )
        elif kind is not None:
            await self.app(scope, receive, with_headers(send, lambda fields: _as_picture(fields, kind)))
        else:
            await self.app(scope, receive, with_headers(send, lambda fields: _guarded(fields, PAGE_POLICY)))

    def _kind(self, name: str) -> str | None:
        """The type of the picture at `name`, None for what is not to be served."""
        path = Path(name)
        if not path.is_absolute():
            return None
        if any(is_file_inside(folder, path) for folder in self.loose):
            return picture_type(path)
        if any(is_file_inside(folder, path) for folder in self.made) and picture_type(path) == "image/png":
            status = path.stat()
            return "image/png" if _has_record(path, status.st_size, status.st_mtime_ns) else None
        return None


def picture_type(path: Path) -> str | None:
    """What kind of picture a file is by its content, None for any other file."""
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError:
        return None
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if start.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    return "image/webp" if start[:4] == b"RIFF" and start[8:] == b"WEBP" else None


@functools.lru_cache(maxsize=4096)
def _has_record(path: Path, size: int, changed: int) -> bool:
    """Whether Loom made the PNG; `size` and `changed` tell one state of the file from the next."""
    try:
        return read_text(path, KEYWORD) is not None
    except RecordError:
        return False


def _as_picture(fields: list[tuple[bytes, bytes]], kind: str) -> list[tuple[bytes, bytes]]:
    kept = [field for field in fields if field[0] not in (b"content-type", b"content-disposition")]
    return _guarded([*kept, (b"content-type", kind.encode())], FILE_POLICY)


def _guarded(fields: list[tuple[bytes, bytes]], policy: str) -> list[tuple[bytes, bytes]]:
    kept = [each for each in fields if each[0] not in _REPLACED and not each[0].startswith(b"access-control-")]
    return [
        *kept,
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"DENY"),
        (b"referrer-policy", b"no-referrer"),
        (b"content-security-policy", policy.encode()),
    ]
