"""Drawing batches that may fail: memory that runs out halves them, a picture that cannot be drawn is found and told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lora_loom.pipelines.errors import (
    BaseModelError,
    BatchError,
    CancelledError,
    ChangedAdapterError,
    LoomError,
    OutputError,
    UnknownAdapterError,
)
from lora_loom.studio.batch.picture import Picture

if TYPE_CHECKING:
    from lora_loom.studio.session import Generation, Studio

ATTEMPTS = 3  # at a picture alone, for what may go away by itself
# These are about the machine or the files, not about one picture: the run stops and can be resumed.
STOPPING = (BaseModelError, BatchError, CancelledError, ChangedAdapterError, OutputError, UnknownAdapterError)


@dataclass(frozen=True)
class Failure:
    """Why a picture could not be drawn, as the parts of an error."""

    error: dict[str, str]
    attempts: int


@dataclass(frozen=True)
class Drawn:
    """A picture that was drawn, and how many were in its batch."""

    generation: Generation
    batch_size: int


class Drawer:
    """Draws with a studio; after memory ran out once, smaller batches than it was asked for."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._most: int | None = None

    def draw(self, pictures: Sequence[Picture]) -> list[Drawn | Failure]:
        """One result for each picture, all of one draw key. Raises the errors of STOPPING and broken devices."""
        for name, sha256 in pictures[0].adapter_sha256.items():
            _check_same("LoRA", name, sha256, self._studio.library.find(name).sha256)
        return self._draw(pictures)

    def _draw(self, pictures: Sequence[Picture]) -> list[Drawn | Failure]:
        if self._most is not None and len(pictures) > self._most:
            return self._in_parts(pictures, self._most)
        attempts = 0
        while True:
            attempts += 1
            try:
                return self._draw_once(pictures)
            except STOPPING:
                raise
            except Exception as error:
                if device_is_broken(error):
                    raise
                if _memory_ran_out(error):
                    _free_memory()
                    if len(pictures) > 1:
                        self._most = (len(pictures) + 1) // 2
                        return self._in_parts(pictures, self._most)
                elif len(pictures) > 1:
                    return self._in_parts(pictures, (len(pictures) + 1) // 2)
                if attempts == ATTEMPTS or isinstance(error, LoomError):
                    return [Failure(_parts_of(error), attempts)]

    def _in_parts(self, pictures: Sequence[Picture], size: int) -> list[Drawn | Failure]:
        return [
            result for first in range(0, len(pictures), size) for result in self._draw(pictures[first : first + size])
        ]

    def _draw_once(self, pictures: Sequence[Picture]) -> list[Drawn | Failure]:
        made = self._studio.generate_batch([picture.request for picture in pictures])
        for picture, each in zip(pictures, made, strict=True):
            _check_same("base model", "", picture.base_model_revision, each.record.base_model_revision)
            for name, sha256 in picture.adapter_sha256.items():
                _check_same("LoRA", name, sha256, each.record.adapter_sha256[name])
        return [Drawn(each, len(pictures)) for each in made]


def _check_same(what: str, name: str, planned: str, found: str) -> None:
    if planned and planned != found:
        kind = ChangedAdapterError if name else BaseModelError
        raise kind(
            f"the {what} {name} has changed since the plan".replace("  ", " "),
            expected=planned[:12],
            found=found[:12] or "one that is not on this machine",
            remedy="Put the file back that was planned with, or plan into another folder",
        )


def _parts_of(error: Exception) -> dict[str, str]:
    if isinstance(error, LoomError):
        return error.to_dict()
    return {"type": type(error).__name__, "what": str(error)[:1000], "message": str(error)[:1000]}


def _memory_ran_out(error: Exception) -> bool:
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)  # as the CPU's allocator puts it


def device_is_broken(error: Exception) -> bool:
    """Whether the accelerator's context is lost: nothing can be drawn by this process any more."""
    import torch

    broken: Any = getattr(torch, "AcceleratorError", ())
    return isinstance(error, broken) and not isinstance(error, torch.OutOfMemoryError)


def _free_memory() -> None:
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
