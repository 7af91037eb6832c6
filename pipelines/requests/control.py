"""What a person may say of one adapter beyond its strength: where, when and in which layers it acts; plain data."""

from __future__ import annotations

import base64
import binascii
import itertools
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from lora_loom.pipelines.errors import RequestError
from lora_loom.pipelines.requests.checks import check_number, check_text, known_keys, show

if TYPE_CHECKING:
    from PIL.Image import Image

Curve: TypeAlias = tuple[tuple[float, float], ...]  # (progress, factor) with progress rising

MAX_FACTOR = 100.0  # of a block or a point of a curve, either sign
MAX_BLOCKS = 256
MAX_POINTS = 64
MAX_MASK_BYTES = 1 << 16
MAX_MASK_SIDE = 4_096  # pixels
MAX_PAINTED_SIDE = 512  # pixels that are kept of a painted mask: two for each latent of a picture of 2,048
MAX_REGION_PROMPT = 20_000  # characters
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Region:
    """A part of the picture: a box, or a painted mask; with a `prompt`, that part is drawn to its own words.

    `box` is (left, top, right, bottom) as shares of the picture, in [0, 1]. `mask` is a PNG file in base64, white where
    the adapter acts, of the picture's proportions. Without a prompt the adapter's update is masked at every layer that
    has a place for each part of the picture; the others (text tokens, time and modulation) keep the share
    `everywhere` in [0, 1] of it. With a prompt the part is predicted in passes of its own and blended in by the mask.
    """

    box: tuple[float, float, float, float] | None = None
    mask: str = ""
    prompt: str = ""
    everywhere: float = 1.0

    def __post_init__(self) -> None:
        if (self.box is None) == (not self.mask):
            raise RequestError("a region is neither a box nor a mask", expected="one of box and mask")
        if self.box is not None:
            object.__setattr__(self, "box", _check_box(self.box))
        else:
            _check_mask(self.mask)
        check_text("prompt of a region", self.prompt, maximum=MAX_REGION_PROMPT)
        object.__setattr__(self, "prompt", self.prompt.strip())
        everywhere = check_number("everywhere of a region", self.everywhere, 0.0, 1.0)
        object.__setattr__(self, "everywhere", everywhere)

    @classmethod
    def painted(cls, mask: Image, *, prompt: str = "", everywhere: float = 1.0) -> Region:
        """The region of a picture that is white where the adapter acts and black where it does not, made smaller."""
        import io

        side, file = MAX_PAINTED_SIDE, b""
        while not file or len(file) > MAX_MASK_BYTES:
            picture, buffer = mask.convert("L"), io.BytesIO()
            picture.thumbnail((side, side))
            picture.save(buffer, format="PNG", optimize=True)
            side, file = side // 2, buffer.getvalue()
        return cls(mask=base64.b64encode(file).decode("ascii"), prompt=prompt, everywhere=everywhere)

    @property
    def neutral(self) -> bool:
        """Whether it is the whole picture, without a prompt."""
        return self.box == (0.0, 0.0, 1.0, 1.0) and self.everywhere == 1.0 and not self.prompt

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of the mask in pixels; None for a box, which fits any picture."""
        return _png_size(base64.b64decode(self.mask)) if self.mask else None

    @cached_property
    def peak(self) -> float:
        """The largest value of the mask, in [0, 1]: 0 where nothing was painted."""
        return 1.0 if self.box is not None else cast("tuple[int, int]", self.image().getextrema())[1] / 255

    def image(self) -> Image:
        """The painted mask as a picture of mode L. Raises RequestError when it cannot be decoded."""
        import io

        from PIL import Image

        try:
            with Image.open(io.BytesIO(base64.b64decode(self.mask)), formats=("PNG",)) as picture:
                return picture.convert("L")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise RequestError("the mask of a region is a broken PNG", found=str(error)[:200]) from error

    def to_dict(self) -> dict[str, Any]:
        """The region as JSON values; what does nothing is left out."""
        data: dict[str, Any] = {"box": list(self.box)} if self.box is not None else {"mask": self.mask}
        if self.prompt:
            data["prompt"] = self.prompt
        if self.everywhere != 1.0:
            data["everywhere"] = self.everywhere
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Region:
        return cls(**known_keys("region", data, tuple(item.name for item in fields(cls)), required=()))


def factor_at(curve: Curve, progress: float) -> float:
    """The curve's value at a progress in [0, 1]: linear between its points, level beyond the first and the last."""
    if not curve or progress <= curve[0][0]:
        return curve[0][1] if curve else 1.0
    for (start, before), (end, after) in itertools.pairwise(curve):
        if progress < end:
            return before + (after - before) * (progress - start) / (end - start)
    return curve[-1][1]


def check_curve(adapter: str, curve: object) -> Curve:
    """The curve as floats, () where it is 1 throughout. Raises RequestError."""
    expected = "points (progress, factor) with progress rising from 0 to 1"
    points = _list(curve)
    if points is None:
        raise RequestError(f"the curve of {adapter} is not a list", expected=expected, found=show(curve))
    if len(points) > MAX_POINTS:
        raise RequestError(
            f"the curve of {adapter} is too long", expected=f"at most {MAX_POINTS} points", found=str(len(points))
        )
    checked: list[tuple[float, float]] = []
    for each in points:
        point = _list(each)
        if point is None or len(point) != 2:
            raise RequestError(f"the curve of {adapter} has no such point", expected=expected, found=show(each))
        progress, factor = point
        progress = check_number(f"a progress in the curve of {adapter}", progress, 0.0, 1.0)
        if checked and progress <= checked[-1][0]:
            raise RequestError(
                f"the curve of {adapter} does not rise in progress",
                expected=expected,
                found=f"{progress:g} after {checked[-1][0]:g}",
            )
        factor = check_number(f"a factor in the curve of {adapter}", factor, -MAX_FACTOR, MAX_FACTOR)
        checked.append((progress, factor))
    return () if all(factor == 1.0 for _, factor in checked) else tuple(checked)


def check_blocks(adapter: str, blocks: object) -> Mapping[str, float]:
    """The factors of the groups, without those of 1. Raises RequestError; which groups there are, the base says."""
    if not isinstance(blocks, Mapping):
        raise RequestError(
            f"the blocks of {adapter} are not a mapping",
            expected="names of groups with factors, such as style: 0.5",
            found=show(blocks),
        )
    entries = cast("Mapping[object, object]", blocks)
    if len(entries) > MAX_BLOCKS:
        raise RequestError(
            f"{adapter} has factors for too many blocks", expected=f"at most {MAX_BLOCKS}", found=str(len(entries))
        )
    checked: dict[str, float] = {}
    for name, value in entries.items():
        group = check_text(f"a block of {adapter}", name, maximum=200)
        factor = check_number(f"factor of block {group} of {adapter}", value, -MAX_FACTOR, MAX_FACTOR)
        if factor != 1.0:
            checked[group] = factor
    return MappingProxyType(checked)


def _check_box(box: object) -> tuple[float, float, float, float]:
    expected = "left, top, right, bottom as shares of the picture from 0 to 1, such as 0, 0, 0.5, 1 for its left half"
    sides = _list(box)
    if sides is None or len(sides) != 4:
        raise RequestError("the box of a region is not four numbers", expected=expected, found=show(box))
    names = ("left", "top", "right", "bottom")
    left, top, right, bottom = (
        check_number(f"{name} of a region", value, 0.0, 1.0) for name, value in zip(names, sides, strict=True)
    )
    if left >= right or top >= bottom:
        raise RequestError("the box of a region is empty", expected=expected, found=show(box))
    return left, top, right, bottom


def _check_mask(mask: object) -> None:
    check_text("mask of a region", mask, maximum=4 * math.ceil(MAX_MASK_BYTES / 3))
    try:
        file = base64.b64decode(cast("str", mask), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError("the mask of a region is not base64", expected="a PNG file in base64") from error
    if _png_size(file) is None:
        raise RequestError("the mask of a region is not a PNG", expected="a PNG file in base64", found=show(file[:8]))
    width, height = cast("tuple[int, int]", _png_size(file))
    if not (0 < width <= MAX_MASK_SIDE and 0 < height <= MAX_MASK_SIDE):
        raise RequestError(
            "the mask of a region has no usable size",
            expected=f"1 to {MAX_MASK_SIDE} pixels a side",
            found=f"{width} x {height}",
        )


def _list(value: object) -> Sequence[object] | None:
    return cast("Sequence[object]", value) if isinstance(value, list | tuple) else None


def _png_size(file: bytes) -> tuple[int, int] | None:
    """Width and height as the header of a PNG says, None where there is no such header."""
    if len(file) < 33 or not file.startswith(PNG_SIGNATURE) or file[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", file[16:24])
    return width, height
