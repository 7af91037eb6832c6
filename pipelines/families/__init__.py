"""The families of base models, one file each, found by scanning this folder; and their fusion pipelines by name.

A file here holds FAMILY. Nothing heavy is imported until a pipeline is asked for: `StableDiffusionFusionPipeline`,
`FluxFusionPipeline` and so on are made from the descriptors when they are looked up.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from lora_loom.pipelines.errors import BaseModelError
from lora_loom.pipelines.families.family import Family
from lora_loom.pipelines.plugins import Registry, instances

if TYPE_CHECKING:
    from lora_loom.pipelines.bases import resolve_base as resolve_base
    from lora_loom.pipelines.fusion_pipeline import FusionPipeline as FusionPipeline

_ELSEWHERE = {"FusionPipeline": "fusion_pipeline", "resolve_base": "bases"}
_FUSION = "FusionPipeline"


FAMILIES: Registry[Family] = Registry("base family", folder=__name__, group="loom.families", offered=instances(Family))


@cache
def families() -> dict[str, Family]:
    """Every family by name, those that Loom runs first."""
    found = FAMILIES.parts
    return {name: found[name] for name in sorted(found, key=lambda name: (not found[name].runs, name))}


def running() -> tuple[Family, ...]:
    """The families that Loom runs."""
    return tuple(family for family in families().values() if family.runs)


def titles() -> str:
    """What Loom runs, in words, for messages."""
    return ", ".join(dict.fromkeys(family.title for family in running()))


def family_named(name: str) -> Family | None:
    return families().get(name)


def of_pipeline(class_name: str) -> tuple[Family, ...]:
    """The families that a diffusers pipeline of that class draws with."""
    return tuple(family for family in families().values() if class_name in family.pipelines)


def refused(what: str, found: str, known: Iterable[Family] = ()) -> BaseModelError:
    """The error for a base that Loom does not run; `known` are the families that it is recognised as."""
    names = ", ".join(family.title for family in known)
    return BaseModelError(
        f"{what} is {f'a {names} base' if names else 'of no family'} that Loom {'does not run' if names else 'knows'}",
        expected=f"a base of {titles()}",
        found=found,
        remedy="A family is one file in pipelines/families; CONTRIBUTING.md says how to add one.",
    )


def fusion_class_name(diffusers_class: str) -> str:
    """FluxPipeline -> FluxFusionPipeline."""
    return diffusers_class.removesuffix("Pipeline") + _FUSION


def __getattr__(name: str) -> Any:
    """The fusion pipeline of that name, and what else this module exports, loaded when it is asked for."""
    if name in _ELSEWHERE:
        return getattr(importlib.import_module(f"lora_loom.pipelines.{_ELSEWHERE[name]}"), name)
    if name.endswith(_FUSION):
        for family in running():
            if fusion_class_name(family.pipelines.text) == name:
                making = cast("Any", importlib.import_module("lora_loom.pipelines.fusion_pipeline"))
                return making.fusion_class(family)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
