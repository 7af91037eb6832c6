"""PictureSet: the pictures to measure, each a file or a part of a shard, decoded only when it is needed."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lora_loom.pipelines.errors import EvaluationError
from lora_loom.pipelines.training.items import listed
from lora_loom.pipelines.training.pictures import UNREADABLE, as_rgb
from lora_loom.studio.evaluation.metric import Sample


@dataclass(frozen=True)
class Picture:
    """One picture: a file, or `size` bytes at `offset` of a shard."""

    sample: Sample
    path: Path
    offset: int = 0
    size: int = -1

    def open(self) -> Image.Image:
        """The picture, not yet decoded; raises one of UNREADABLE."""
        if self.size < 0:
            return Image.open(self.path)
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return Image.open(io.BytesIO(file.read(self.size)))

    def pixels(self) -> NDArray[np.uint8]:
        """uint8 [h w 3]; raises EvaluationError that names a picture that cannot be decoded."""
        try:
            with self.open() as picture:
                return np.asarray(as_rgb(picture))
        except UNREADABLE as error:
            raise EvaluationError(
                f"{self.sample.name} cannot be read as a picture",
                found=str(error),
                remedy="Make it anew, or remove it and its row",
            ) from error


@dataclass(frozen=True)
class PictureSet:
    """Pictures in the order of their names; `remarks` are what a report has to say about how they were found."""

    path: Path
    pictures: tuple[Picture, ...]
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pictures)

    def where(self, chosen: Callable[[Sample], bool]) -> PictureSet:
        return replace(self, pictures=tuple(picture for picture in self.pictures if chosen(picture.sample)))

    def check(self, *, any_size: bool = False) -> tuple[tuple[int, int], ...]:
        """Open the header of every picture and return the sizes (width, height) that occur.

        Raises EvaluationError that names all unreadable pictures, or for several sizes unless `any_size`.
        """
        sizes: Counter[tuple[int, int]] = Counter()
        unreadable: list[str] = []
        for picture in self.pictures:
            try:
                with picture.open() as opened:
                    sizes[opened.size] += 1
            except UNREADABLE:
                unreadable.append(picture.sample.name)
        if unreadable:
            raise EvaluationError(
                f"{len(unreadable)} of {len(self)} pictures in {self.path} cannot be read",
                found=listed(unreadable),
                remedy="Make them anew, or remove them and their rows",
            )
        if len(sizes) > 1 and not any_size:
            raise EvaluationError(
                f"the pictures in {self.path} have {len(sizes)} sizes",
                expected="one size, since scaling some of them changes every measure",
                found=listed([f"{n} of {width}x{height}" for (width, height), n in sizes.most_common()]),
                remedy="Evaluate each size on its own, or allow it with --any-size",
            )
        return tuple(sorted(sizes))
