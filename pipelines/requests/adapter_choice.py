"""AdapterChoice: one adapter of a request, how strongly it acts, and in which layers, when and where."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any

from lora_loom.pipelines.errors import RequestError
from lora_loom.pipelines.requests.checks import check_text, known_keys, show
from lora_loom.pipelines.requests.control import Curve, Region, check_blocks, check_curve
from lora_loom.pipelines.requests.fields import RequestField, request_fields

MAX_ABSOLUTE_STRENGTH = 100.0


def _no_blocks() -> Mapping[str, float]:
    return MappingProxyType({})


@dataclass(frozen=True)
class AdapterChoice:
    """An adapter by its library name and how it is to act; strength 1 is as trained, negative steers away.

    Every method keeps to the rest, which does nothing by default. `blocks` scales the strength in groups of layers
    (structure, identity, style, text, ...: pipelines/runtime/block_groups.py). `curve` scales it over the progress of
    the run: points (progress in [0, 1], factor), linear in between. `region` is where in the picture it acts. An
    `exempt` adapter takes no part in the fusion: it acts in every pass at its strength, as distilled models and sliders
    want it. With `forced` what fits of one for another base is loaded, too. Raises RequestError for values that mean
    nothing.
    """

    name: str = field(metadata=RequestField("LoRA", "A LoRA of the library; repeatable.", longest=512).metadata)
    strength: float = field(
        default=1.0,
        metadata=RequestField(
            "Strength",
            "How much of it there is: 1 is as trained, less than 0 steers away.",
            minimum=-MAX_ABSOLUTE_STRENGTH,
            maximum=MAX_ABSOLUTE_STRENGTH,
            slider=(0.0, 2.0),
            step=0.05,
        ).metadata,
    )
    blocks: Mapping[str, float] = field(
        default_factory=_no_blocks,
        metadata=RequestField(
            "In which layers",
            "Strength by groups of layers: fox:style=0.5,structure=0.",
            metavar="NAME:GROUP=FACTOR,...",
        ).metadata,
    )
    curve: Curve = field(
        default=(),
        metadata=RequestField(
            "When in the run", "Strength over the run, from 0 to 1: fox:0=0,0.3=1.", metavar="NAME:AT=FACTOR,..."
        ).metadata,
    )
    region: Region | None = field(
        default=None,
        metadata=RequestField(
            "Where in the picture",
            "Where it acts: a box (left, top, right, bottom in shares: fox:0,0,0.5,1) or a mask file.",
            metavar="NAME:PLACE[:PROMPT]",
        ).metadata,
    )
    exempt: bool = field(
        default=False,
        metadata=RequestField(
            "Exempt", "Takes no part in the fusion: acts in every pass at its strength.", metavar="NAME"
        ).metadata,
    )

    forced: bool = field(
        default=False,
        metadata=RequestField(
            "Load what fits", "Load what fits of it although it is for another base.", metavar="NAME"
        ).metadata,
    )

    def __post_init__(self) -> None:
        check_text("adapter name", self.name, maximum=512)
        if not self.name.strip():
            raise RequestError("an adapter was chosen without a name", remedy="name one that `loom library list` shows")
        for declared in choice_fields().values():
            if declared.name != "name":
                value = replace(declared, name=f"{declared.name} of {self.name}").checked(getattr(self, declared.name))
                object.__setattr__(self, declared.name, value)
        object.__setattr__(self, "blocks", check_blocks(self.name, self.blocks))
        object.__setattr__(self, "curve", check_curve(self.name, self.curve))
        if self.region is not None and not isinstance(self.region, Region):  # pyright: ignore[reportUnnecessaryIsInstance] - from JSON or a notebook
            raise RequestError(f"the region of {self.name} is not a Region", found=show(self.region))
        if self.region is not None and self.region.neutral:
            object.__setattr__(self, "region", None)
        if self.exempt and self.region is not None and self.region.prompt:
            raise RequestError(
                f"{self.name} is exempt from the fusion and has a region with a prompt of its own",
                expected="one of the two",
                remedy="An exempt adapter acts in every pass, that of each region too: leave the prompt out.",
            )

    def __hash__(self) -> int:
        return hash(json.dumps(self.to_dict()))

    def __reduce__(self) -> tuple[object, ...]:  # a mapping proxy does not pickle
        return AdapterChoice.from_dict, (self.to_dict(),)

    @property
    def controlled(self) -> bool:
        """Whether anything but the strength was asked for, when it acts."""
        return bool(self.to_dict().keys() - {"name", "strength", "forced"})

    def to_dict(self) -> dict[str, Any]:
        """The choice as JSON values; what does nothing is left out."""
        data: dict[str, Any] = {"name": self.name, "strength": self.strength}
        for declared in choice_fields().values():
            value: Any = getattr(self, declared.name)
            if declared.name not in data and value != declared.default:
                data[declared.name] = value
        if self.blocks:
            data["blocks"] = dict(self.blocks)
        if self.curve:
            data["curve"] = [list(point) for point in self.curve]
        if self.region is not None:
            data["region"] = self.region.to_dict()
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> AdapterChoice:
        known = known_keys("adapter", data, tuple(item.name for item in fields(cls)), required=("name",))
        if known.get("region") is not None:
            known["region"] = Region.from_dict(known["region"])
        return cls(**known)


def choice_fields() -> Mapping[str, RequestField]:
    """What is declared of the fields of AdapterChoice, by name."""
    return request_fields(AdapterChoice)
