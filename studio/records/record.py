"""GenerationRecord: how one picture was made, kept inside its PNG so that the picture can be made again.

Two text chunks: `parameters` for other programs (see a1111.py) and `loom`, the record as JSON, which is read back.
What is read is a stranger's text: capped in size, checked field by field, never a path.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO

from lora_loom.pipelines.atomic_file import atomic_file
from lora_loom.pipelines.checked_json import parse_json
from lora_loom.pipelines.errors import LoomError, RecordError
from lora_loom.pipelines.gating.heat_map import HeatMap
from lora_loom.pipelines.registry import methods
from lora_loom.pipelines.request import GenerationRequest
from lora_loom.studio.records.a1111 import parameters
from lora_loom.studio.records.extensions import checked_extensions, put_back, set_apart
from lora_loom.studio.records.png_text import read_text

if TYPE_CHECKING:
    from PIL.Image import Image

KEYWORD = "loom"
FORMAT = 1  # grows when an older Loom could misread a record


@dataclass(frozen=True)
class GenerationRecord:
    """All that was known about one picture when it was drawn.

    `image_index` is its place in the run, counted from 0: it was drawn from `request.seed + image_index`.
    `adapter_sha256` is that of each LoRA's file, `passes` counts denoiser passes by kind, `attention` names what
    computed attention and `created_at` is an ISO 8601 time in UTC. `influence` has for each LoRA the share of the
    prediction that it changed, `overall` and as pairs of step and share; `cost` what a step cost in forwards of the
    base, as predicted and as spent; `gates` is the pooled map of a learned gate, as `HeatMap.to_dict` writes it.
    `extensions` are what other parts add, and what a newer Loom wrote (see extensions.py). Raises RecordError for
    values of another type.
    """

    request: GenerationRequest
    adapter_sha256: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    base_model_revision: str = ""
    package_versions: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    device: str = ""
    dtype: str = ""
    attention: str = "default"
    seconds: float = 0.0
    passes: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    peak_memory_bytes: int = 0
    influence: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    cost: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    gates: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    created_at: str = ""
    image_index: int = 0
    extensions: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        for name in ("base_model_revision", "device", "dtype", "attention", "created_at"):
            _require(isinstance(getattr(self, name), str), name, "text", getattr(self, name))
        for name in ("peak_memory_bytes", "image_index"):
            _require(_is_count(getattr(self, name)), name, "a whole number from 0", getattr(self, name))
        seconds = self.seconds
        _require(_is_number(seconds) and math.isfinite(seconds) and seconds >= 0, "seconds", "a number from 0", seconds)
        _require(
            self.image_index < self.request.num_images_per_prompt,
            "image_index",
            "a picture of the run",
            self.image_index,
        )
        for name, value_holds, expected in (
            ("adapter_sha256", _is_sha256, "a SHA-256 in hexadecimal for each LoRA"),
            ("package_versions", lambda value: isinstance(value, str), "a version text for each package"),
            ("passes", _is_count, "a whole number for each kind of pass"),
            ("influence", _is_influence, "for each LoRA the overall share of the prediction it changed, and by step"),
            ("cost", _is_number, "a number for each kind of cost"),
        ):
            mapping = getattr(self, name)
            sound = isinstance(mapping, Mapping) and all(
                isinstance(key, str) and value_holds(value) for key, value in mapping.items()
            )
            _require(sound, name, expected, mapping)
            object.__setattr__(self, name, MappingProxyType(dict(mapping)))
        _require(_is_heat(self.gates), "gates", "a map of gates by layer, step and LoRA", self.gates)
        object.__setattr__(self, "gates", MappingProxyType(dict(self.gates)))
        object.__setattr__(self, "extensions", checked_extensions(self.extensions))

    @property
    def heat(self) -> HeatMap | None:
        """The map of `gates`; None for a picture that was drawn without a learned gate."""
        return HeatMap.from_dict(self.gates) if self.gates else None

    @property
    def seed(self) -> int:
        """The seed this one picture was drawn from."""
        return self.request.seed + self.image_index

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON values, in the order of the fields; extensions only where there are some."""
        data: dict[str, Any] = {item.name: getattr(self, item.name) for item in fields(self)}
        mappings = {name: dict(value) for name, value in data.items() if isinstance(value, Mapping)}
        del data["extensions"], mappings["extensions"]
        return put_back(data | mappings | {"request": self.request.to_dict()}, self.extensions)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> GenerationRecord:
        """The record that `to_dict` gave, of this Loom or a newer one, whose further fields become extensions."""
        if not isinstance(data.get("request"), Mapping):
            raise RecordError("the record has no request", expected="what was asked for, as an object")
        known, extensions = set_apart(data, [item.name for item in fields(cls)])
        request = GenerationRequest.from_dict(known["request"])
        if (method := methods().get(request.method)) is not None:  # a record has all settings that there were
            request = replace(request, settings={**method.former_settings(), **request.settings})
        return cls(**{**known, "request": request, "extensions": extensions})


def save_png(image: Image, record: GenerationRecord, path: str | Path) -> Path:
    """Write `image` with its record to `path`, whole or not at all, and return the path; raises OutputError."""
    with atomic_file(path) as file:
        write_png(file, image, record)
    return Path(path)


def write_png(
    file: BinaryIO, image: Image, record: GenerationRecord, texts: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Write `image` as a PNG with its record, and with further `texts` by keyword."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    version = record.package_versions.get("lora-loom", "")
    width, height = image.size
    text = parameters(
        record.request, record.adapter_sha256, seed=record.seed, width=width, height=height, version=version
    )
    info.add_text("parameters", text)
    info.add_text(KEYWORD, json.dumps({"format": FORMAT, **record.to_dict()}, allow_nan=False))
    for keyword, each in texts.items():
        info.add_text(keyword, each)
    image.save(file, format="PNG", pnginfo=info)


def pixels_sha256(image: Image) -> str:
    """SHA-256 over the RGB pixels, row by row: equal for equal pixels, whatever the file."""
    return hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()


def read_record(path: str | Path) -> GenerationRecord:
    """The record inside the PNG at `path`; raises RecordError if there is none or it cannot be trusted."""
    name = Path(path).name
    text = read_text(path, KEYWORD)
    if text is None:
        raise RecordError(
            f"{name} does not say how it was made",
            expected=f"a PNG with a {KEYWORD} text, as Loom saves it",
            remedy="Give the file that Loom saved: editors, chats and web pages strip such texts",
        )
    try:
        data = parse_json(text)
    except ValueError as error:
        raise RecordError(f"the record in {name} is not JSON", found=str(error)[:200]) from error
    if not isinstance(data, dict) or data.pop("format", None) != FORMAT:
        raise RecordError(
            f"the record in {name} has another format", expected=f"format {FORMAT}", remedy="Update Loom to read it"
        )
    try:
        return GenerationRecord.from_dict(data)
    except RecordError:
        raise
    except LoomError as error:  # the request inside is not sound
        raise RecordError(f"the record in {name} asks for something impossible", found=str(error)) from error


def _require(holds: bool, name: str, expected: str, found: object) -> None:
    if not holds:
        raise RecordError(f"{name} of the record is not sound", expected=expected, found=repr(found)[:80])


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_influence(value: object) -> bool:
    if not isinstance(value, Mapping) or set(value) != {"overall", "steps"} or not _is_number(value["overall"]):
        return False
    pairs = value["steps"]
    return isinstance(pairs, list) and all(
        isinstance(pair, list) and len(pair) == 2 and _is_count(pair[0]) and _is_number(pair[1]) for pair in pairs
    )


def _is_heat(value: object) -> bool:
    if not isinstance(value, Mapping):
        return False
    try:
        return not value or bool(HeatMap.from_dict(value))
    except ValueError:
        return False


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None
