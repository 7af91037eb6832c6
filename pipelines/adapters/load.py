"""From a LoRA file to an Adapter for one base, with a receipt; or to an error that says why the file does not fit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lora_loom.pipelines.adapters.base_family import BaseFamily, detect_base_family
from lora_loom.pipelines.adapters.dialect import all_dialects, read_keys
from lora_loom.pipelines.adapters.examine import Examined, UsableModule, examine
from lora_loom.pipelines.adapters.factors import Adapter, LoraFactors, Magnitude
from lora_loom.pipelines.adapters.file_keys import ParsedKeys
from lora_loom.pipelines.adapters.hostile_text import display_names, display_text
from lora_loom.pipelines.adapters.limits import DEFAULT_LIMITS, Limits
from lora_loom.pipelines.adapters.other_kinds import check_kind, check_spelling
from lora_loom.pipelines.adapters.places import Place
from lora_loom.pipelines.adapters.receipt import Ignored, Receipt, WrongShape
from lora_loom.pipelines.adapters.safetensors_file import SafetensorsFile, read, read_tensors
from lora_loom.pipelines.adapters.scales import peft_scales
from lora_loom.pipelines.adapters.target import BaseTarget as BaseTarget
from lora_loom.pipelines.errors import AdapterMatchError
from lora_loom.pipelines.families import family_named, titles

if TYPE_CHECKING:
    from torch import Tensor

_DORA_REMEDY = "Without its magnitudes it would act as another LoRA than the one trained: ask for the whole file"


@dataclass(frozen=True)
class _Understood:
    file: SafetensorsFile
    parsed: ParsedKeys
    family: BaseFamily
    examined: Examined
    receipt: Receipt


def load_adapter(
    source: str | Path | Mapping[str, Tensor], *, name: str, target: BaseTarget, limits: Limits = DEFAULT_LIMITS
) -> Adapter:
    """The LoRA at a path, or in a dictionary of tensors, as float32 factors on the modules of `target`.

    Raises AdapterFileError for a file that cannot be trusted, AdapterMatchError for one that fits nothing of the base,
    was made for another family, wants to widen the base's input, or is a DoRA without its magnitudes. What fits in part
    is loaded; the receipt says which part.
    """
    file = read_tensors(source, limits=limits) if isinstance(source, Mapping) else read(source, limits)
    found = _understand(file, target, limits)
    check_kind(file.path, found.parsed)
    _check_match(found, target)
    factors: dict[str, dict[str, LoraFactors]] = {component: {} for component in target.components}
    for usable in found.examined.usable:
        factors[usable.module.component] |= _factors(file, usable, target)
    denoiser = factors.pop("denoiser", {})
    encoders = {component: of for component, of in factors.items() if of}
    return Adapter(name, denoiser, encoders, found.receipt, file.sha256, dict(file.metadata))


def inspect_adapter(path: str | Path, target: BaseTarget | None = None, limits: Limits = DEFAULT_LIMITS) -> Receipt:
    """The receipt of a file, also of one that `load_adapter` would refuse for NaN or not fitting `target`.

    Without a base it tells dialect, family, ranks and scales. Raises AdapterFileError, and AdapterMatchError for a file
    without any adapter in it.
    """
    return _understand(read(path, limits, allow_non_finite=True), target, limits).receipt


def _understand(file: SafetensorsFile, target: BaseTarget | None, limits: Limits) -> _Understood:
    keys = file.header.entries.keys()
    family = detect_base_family(keys, file.header.shapes, file.metadata)
    understood = read_keys(keys, target)
    if understood is None:
        check_spelling(file.path, keys)
        raise AdapterMatchError(
            f"{display_text(file.path.name)} holds no LoRA that Loom knows",
            path=file.path,
            expected=f"names of modules in one of the dialects {', '.join(each.NAME for each in all_dialects())}",
            found=f"{len(keys)} tensors: {display_names(sorted(keys), 5) or 'none'}",
            remedy="A full model is used as a base, an embedding or a ControlNet is no LoRA",
        )
    parsed = understood.parsed
    examined = examine(file, parsed, peft_scales(file.metadata, file.path), target, limits)
    receipt = Receipt(
        file=display_text(file.path.name),
        sha256=file.sha256,
        dialect=understood.dialect,
        base_family=family.name,
        base_family_why=family.why,
        target_family=target.family if target else "",
        components=examined.receipts,
        unknown_keys=tuple(
            Ignored(display_text(key), f"no part of a LoRA in {understood.dialect} names") for key in parsed.unknown
        ),
    )
    return _Understood(file, parsed, family, examined, receipt)


def _factors(file: SafetensorsFile, usable: UsableModule, target: BaseTarget) -> dict[str, LoraFactors]:
    """The exact factors of one module of the file, on the one or several modules of the base that it stands for."""
    from lora_loom.pipelines.adapters.algebra import Product, take_rows

    tensors = {part: file.tensors[key].float() for part, key in usable.module.keys.items() if part in usable.kind.parts}
    up, down = usable.kind.multiply(tensors)
    whole = Product(up if usable.scale == 1.0 else up * usable.scale, down)
    shapes = target.components[usable.module.component]
    factors: dict[str, LoraFactors] = {}
    for place in usable.places:
        up, down = take_rows(whole, place.rows) if place.rows else whole
        base = shapes[place.path].weight
        magnitude = _magnitude(file, usable, place)
        factors[place.path] = LoraFactors(down.contiguous().reshape(-1, *base[1:]), up.contiguous(), magnitude)
    return factors


def _magnitude(file: SafetensorsFile, usable: UsableModule, place: Place) -> Magnitude | None:
    """The magnitudes of a DoRA that belong to one module of the base."""
    import torch

    if usable.magnitude is None:
        return None
    values = file.tensors[usable.module.keys["magnitude"]].float().flatten()
    if place.rows:
        values = torch.cat([values[start:end] for start, end in place.rows])
    return Magnitude(values.contiguous(), usable.magnitude)


def _check_match(found: _Understood, target: BaseTarget) -> None:
    """Raise AdapterMatchError unless the file is for this base."""
    file, receipt = found.file, found.receipt
    shown = display_text(file.path.name)
    if found.examined.dora:
        raise AdapterMatchError(
            f"{shown} is a DoRA without its magnitudes",
            path=file.path,
            expected="a dora_scale or lora_magnitude_vector for every module",
            found=f"none that fits for {len(found.examined.dora)} modules: {display_names(found.examined.dora)}",
            remedy=_DORA_REMEDY,
        )
    made_for = family_named(found.family.name)
    if made_for is not None and not made_for.runs:
        raise AdapterMatchError(
            f"{shown} is for {made_for.title}, which Loom does not run",
            path=file.path,
            expected=f"a LoRA for a base of {titles()}",
            found=f"one for {made_for.title} ({found.family.why})",
            remedy=f"Choose a LoRA for {_named(target.family)}",
        )
    wrong = [each for part in receipt.components.values() for each in part.wrong_shape]
    widened = next((each for each in wrong if _widens_input(each, target)), None)
    if widened is not None:
        raise AdapterMatchError(
            f"{shown} wants to widen the input of the base, as a control LoRA does",
            path=file.path,
            expected=f"a weight of {_size(widened.base_shape)} in {widened.path}",
            found=_size(widened.file_shape),
            remedy="Loom never changes a base to fit a file: use a LoRA without a control input",
        )
    stranger = bool(wrong) and found.family.name not in ("unknown", target.family) and target.family != "unknown"
    if receipt.num_matched and not stranger:
        return
    raise AdapterMatchError(
        f"{shown} does not fit this base model",
        path=file.path,
        expected=_expectation(found, target),
        found=_finding(found, wrong),
        remedy=_remedy(found, target),
    )


def _expectation(found: _Understood, target: BaseTarget) -> str:
    components = sorted({module.component for module in found.parsed.modules} & target.components.keys())
    examples = [path for component in components[:1] for path in list(target.components[component])[:2]]
    named = f", with modules such as {', '.join(examples)}" if examples else ""
    return f"a LoRA for {_named(target.family)}{named}"


def _finding(found: _Understood, wrong: list[WrongShape]) -> str:
    made_for = f"one for {_named(found.family.name)} ({found.family.why})"
    if wrong:
        sizes = [f"{each.path} {_size(each.file_shape)} instead of {_size(each.base_shape)}" for each in wrong[:3]]
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        return f"{made_for}; {', '.join(sizes)}{more}"
    reasons = {each.reason for part in found.receipt.components.values() for each in part.ignored}
    first = display_names(sorted(found.file.header.entries), 3)
    losses = "; ".join(sorted(reasons)[:3]) or "no module of the base"
    return f"{made_for} in {found.receipt.dialect} names: {first}; {losses}"


def _remedy(found: _Understood, target: BaseTarget) -> str:
    if found.family.name in ("unknown", target.family):
        return f"Choose the base model that this LoRA was trained on; Loom runs {titles()}"
    return f"Choose a {found.family.name} base model for this LoRA, or a LoRA for {_named(target.family)}"


def _widens_input(wrong: WrongShape, target: BaseTarget) -> bool:
    """Whether a layer that takes the picture in would be wider, as a control LoRA wants it: that changes the base."""
    inputs = target.kind.inputs if target.kind else ()
    same_rows = wrong.file_shape[0] == wrong.base_shape[0]
    return wrong.path in inputs and same_rows and math.prod(wrong.file_shape[1:]) > math.prod(wrong.base_shape[1:])


def _named(family: str) -> str:
    return "an unknown family" if family == "unknown" else f"the {family} family"


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(str(each) for each in shape)
