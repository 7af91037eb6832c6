"""Whether a LoRA file is for this base: refused by the name of its family, its blocks or its shapes, unless forced."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_loom.pipelines.adapters.base_family import BaseFamily
from lora_loom.pipelines.adapters.hostile_text import display_names, display_text
from lora_loom.pipelines.errors import AdapterMatchError
from lora_loom.pipelines.families import families, family_named, titles

if TYPE_CHECKING:
    from lora_loom.pipelines.adapters.examine import Examined
    from lora_loom.pipelines.adapters.file_keys import ParsedKeys
    from lora_loom.pipelines.adapters.receipt import Receipt, WrongShape
    from lora_loom.pipelines.adapters.safetensors_file import SafetensorsFile
    from lora_loom.pipelines.adapters.target import BaseTarget

LARGE_SHARE = 0.25  # of other shapes, above which a file is for another network, whatever its names are
_DORA_REMEDY = "Without its magnitudes it would act as another LoRA than the one trained: ask for the whole file"
BY_FORCE = "or load what fits by force (--force, in Python force=True)"
_NUMBER = re.compile(r"(?<=[._])\d+(?=[._]|$)")


@dataclass(frozen=True)
class Understood:
    """A file that was read and held against a base."""

    file: SafetensorsFile
    parsed: ParsedKeys
    family: BaseFamily
    examined: Examined
    receipt: Receipt


def check_match(found: Understood, target: BaseTarget, *, force: bool) -> None:
    """Raise AdapterMatchError unless the file is for this base; with `force` unless something of it fits."""
    _check_kind(found)
    _check_inputs(found, target)
    if not force:
        _check_runs(found, target)
        _check_depth(found, target)
    wrong = _wrong(found)
    stranger = found.family.rules_out(target.family) or (
        bool(wrong) and found.family.name not in ("unknown", target.family) and target.family != "unknown"
    )
    if found.receipt.num_matched and (force or not (stranger or _share(found) > LARGE_SHARE)):
        return
    raise AdapterMatchError(
        f"{display_text(found.file.path.name)} does not fit this base model",
        path=found.file.path,
        expected=_expectation(found, target),
        found=_finding(found, wrong),
        remedy=_remedy(found, target),
    )


def in_part(found: Understood, target: BaseTarget) -> str:
    """What a person is to be told of a file that was loaded: that it acts only in part, or is for another base."""
    name, summary = display_text(found.file.path.name), found.receipt.summary()
    made_for = family_named(found.family.name)
    if made_for and (not made_for.runs or found.family.rules_out(target.family)):
        return f"{name} was made for {made_for.title} and is loaded by force, so it acts only in part: {summary}"
    return f"{name} acts only in part: {summary}" if found.receipt.partial else ""


def _check_kind(found: Understood) -> None:
    if not found.examined.dora:
        return
    raise AdapterMatchError(
        f"{display_text(found.file.path.name)} is a DoRA without its magnitudes",
        path=found.file.path,
        expected="a dora_scale or lora_magnitude_vector for every module",
        found=f"none that fits for {len(found.examined.dora)} modules: {display_names(found.examined.dora)}",
        remedy=_DORA_REMEDY,
    )


def _check_runs(found: Understood, target: BaseTarget) -> None:
    made_for = family_named(found.family.name)
    if made_for is None or made_for.runs:
        return
    raise AdapterMatchError(
        f"{display_text(found.file.path.name)} is for {made_for.title}, which Loom does not run",
        path=found.file.path,
        expected=f"a LoRA for a base of {titles()}",
        found=f"one for {made_for.title} ({found.family.why})",
        remedy=_or_by_force(found, f"Choose a LoRA for {_named(target.family)}"),
    )


def _check_inputs(found: Understood, target: BaseTarget) -> None:
    widened = next((each for each in _wrong(found) if _widens_input(each, target)), None)
    if widened is None:
        return
    raise AdapterMatchError(
        f"{display_text(found.file.path.name)} wants to widen the input of the base, as a control LoRA does",
        path=found.file.path,
        expected=f"a weight of {_size(widened.base_shape)} in {widened.path}",
        found=_size(widened.file_shape),
        remedy="Loom never changes a base to fit a file: use a LoRA without a control input",
    )


def _check_depth(found: Understood, target: BaseTarget) -> None:
    beyond = _beyond_depth(found, target)
    if not beyond or found.family.rules_out(target.family):  # by its name is clearer
        return
    deepest, count = max(beyond.items(), key=lambda each: int(each[0].rpartition(".")[2]))
    raise AdapterMatchError(
        f"{display_text(found.file.path.name)} has blocks that this base model lacks",
        path=found.file.path,
        expected=f"{_expectation(found, target)}, of {count} {deepest.rpartition('.')[0]}",
        found=f"one for {_named(found.family.name)} ({found.family.why}) with {display_text(deepest)}",
        remedy=_remedy(found, target),
    )


def _beyond_depth(found: Understood, target: BaseTarget) -> dict[str, int]:
    """Blocks of the file, as `single_blocks.47`, in stacks that the base has with fewer blocks, and with how many."""
    strange = [each.name for each in found.parsed.modules if each.component == "denoiser" and not each.places]
    index = target.indices.get("denoiser")
    if not strange or index is None:
        return {}
    last: dict[str, list[int]] = {}
    for name in (*index.dotted, *index.underscored):
        numbers = [int(each) for each in _NUMBER.findall(name)]
        known = last.setdefault(_NUMBER.sub("#", name), numbers)
        last[_NUMBER.sub("#", name)] = [max(pair) for pair in zip(known, numbers, strict=True)]
    beyond: dict[str, int] = {}
    for name in strange:
        for number, most in zip(_NUMBER.finditer(name), last.get(_NUMBER.sub("#", name), ()), strict=False):
            if int(number[0]) > most:
                beyond[f"{name[: number.start() - 1]}.{int(number[0])}"] = most + 1
                break
    return beyond


def _wrong(found: Understood) -> list[WrongShape]:
    return [each for part in found.receipt.components.values() for each in part.wrong_shape]


def _share(found: Understood) -> float:
    """How much of the file has other shapes than the base."""
    parts = found.receipt.components.values()
    wrong = sum(len(part.wrong_shape) for part in parts)
    return wrong / max(1, wrong + sum(len(part.matched) + len(part.ignored) for part in parts))


def _expectation(found: Understood, target: BaseTarget) -> str:
    components = sorted({module.component for module in found.parsed.modules} & target.components.keys())
    examples = [path for component in components[:1] for path in list(target.components[component])[:2]]
    named = f", with modules such as {', '.join(examples)}" if examples else ""
    return f"a LoRA for {_named(target.family)}{named}"


def _finding(found: Understood, wrong: list[WrongShape]) -> str:
    made_for = f"one for {_named(found.family.name)} ({found.family.why})"
    if wrong:
        sizes = [f"{each.path} {_size(each.file_shape)} instead of {_size(each.base_shape)}" for each in wrong[:3]]
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        return f"{made_for}; {', '.join(sizes)}{more}"
    reasons = {each.reason for part in found.receipt.components.values() for each in part.ignored}
    first = display_names(sorted(found.file.header.entries), 3)
    losses = "; ".join(sorted(reasons)[:3]) or "no module of the base"
    return f"{made_for} in {found.receipt.dialect} names: {first}; {losses}"


def _remedy(found: Understood, target: BaseTarget) -> str:
    if found.family.name in ("unknown", target.family):
        return _or_by_force(found, f"Choose the base model that this LoRA was trained on; Loom runs {titles()}")
    choose = f"Choose a {found.family.name} base model for this LoRA, or a LoRA for {_named(target.family)}"
    return _or_by_force(found, choose)


def _or_by_force(found: Understood, remedy: str) -> str:
    return f"{remedy}, {BY_FORCE}" if found.receipt.num_matched else remedy


def _widens_input(wrong: WrongShape, target: BaseTarget) -> bool:
    """Whether a layer that takes the picture in would be wider, as a control LoRA wants it: that changes the base."""
    kinds = [target.kind] if target.kind else families().values()
    inputs = {path for kind in kinds for path in kind.inputs}
    same_rows = wrong.file_shape[0] == wrong.base_shape[0]
    return wrong.path in inputs and same_rows and math.prod(wrong.file_shape[1:]) > math.prod(wrong.base_shape[1:])


def _named(family: str) -> str:
    return "an unknown family" if family == "unknown" else f"the {family} family"


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(str(each) for each in shape)
