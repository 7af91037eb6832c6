"""StudioHooks: the two places where other parts act on a picture, before it is drawn and before it leaves the studio.

A search that proposes LoRAs changes the request; a watermark or a signature changes the finished picture and tells so
in its record. Hooks run in their order, each on what the one before it gave. An error of a hook is an error of the
picture: nothing is drawn or saved as if it had not been there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from lora_loom.pipelines.request import GenerationRequest
from lora_loom.studio.records.record import GenerationRecord

if TYPE_CHECKING:
    from PIL import Image


class BeforeDrawing(Protocol):
    """Gets the request as it was asked for and gives the one to draw, which is what the record will hold."""

    def __call__(self, request: GenerationRequest) -> GenerationRequest: ...


class BeforeSaving(Protocol):
    """Gets a finished picture with its record and gives both as they are to be shown and saved."""

    def __call__(self, image: Image.Image, record: GenerationRecord) -> tuple[Image.Image, GenerationRecord]: ...


@dataclass(frozen=True)
class StudioHooks:
    """What acts in a studio on every picture, whether it is saved by it, by a batch, or not at all."""

    before_drawing: Sequence[BeforeDrawing] = ()
    before_saving: Sequence[BeforeSaving] = ()

    def request(self, asked: GenerationRequest) -> GenerationRequest:
        """The request to draw."""
        for hook in self.before_drawing:
            asked = hook(asked)
        return asked

    def picture(self, image: Image.Image, record: GenerationRecord) -> tuple[Image.Image, GenerationRecord]:
        """The picture and its record as they leave the studio."""
        for hook in self.before_saving:
            image, record = hook(image, record)
        return image, record
