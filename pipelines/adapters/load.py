"""From a LoRA file to an Adapter for one base, with a receipt; or to an error that says why the file does not fit."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lora_loom.pipelines.adapters.base_family import BaseFamily, detect_base_family
from lora_loom.pipelines.adapters.dialect import all_dialects, read_keys
from lora_loom.pipelines.adapters.examine import UsableModule, examine
from lora_loom.pipelines.adapters.factors import Adapter, LoraFactors, Magnitude
from lora_loom.pipelines.adapters.hostile_text import display_names, display_text
from lora_loom.pipelines.adapters.limits import DEFAULT_LIMITS, Limits
from lora_loom.pipelines.adapters.match import Understood, check_match, in_part
from lora_loom.pipelines.adapters.other_kinds import check_kind, check_spelling
from lora_loom.pipelines.adapters.places import Place
from lora_loom.pipelines.adapters.receipt import Ignored, Receipt
from lora_loom.pipelines.adapters.safetensors_file import SafetensorsFile, read, read_tensors
from lora_loom.pipelines.adapters.scales import peft_scales
from lora_loom.pipelines.adapters.target import BaseTarget as BaseTarget
from lora_loom.pipelines.errors import AdapterMatchError, LoomWarning
from lora_loom.pipelines.families import family_named

if TYPE_CHECKING:
    from torch import Tensor

_OUTSIDE_MODULES = {
    "bundle_emb.": "bundled embedding: words of their own for the prompt are not read from LoRA files",
    ".modules_to_save.": "modules_to_save: whole layers in the place of the base's are not a low-rank update",
}


def load_adapter(
    source: str | Path | Mapping[str, Tensor],
    *,
    name: str,
    target: BaseTarget,
    limits: Limits = DEFAULT_LIMITS,
    force: bool = False,
) -> Adapter:
    """The LoRA at a path, or in a dictionary of tensors, as float32 factors on the modules of `target`.

    Raises AdapterFileError for a file that cannot be trusted, AdapterMatchError for one that fits nothing of the base,
    wants to widen the base's input, or is a DoRA without its magnitudes; and, unless with `force`, for one that was
    made for another family, has more blocks than the base, or has other shapes in a large share of its layers. What
    fits in part is loaded with a LoomWarning; the receipt says which part.
    """
    file = read_tensors(source, limits=limits) if isinstance(source, Mapping) else read(source, limits)
    found = _understand(file, target, limits)
    check_kind(file.path, found.parsed)
    check_match(found, target, force=force)
    if said := in_part(found, target):
        warnings.warn(said, LoomWarning, stacklevel=1)  # from one place, so that Python shows it once for a file
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


def _understand(file: SafetensorsFile, target: BaseTarget | None, limits: Limits) -> Understood:
    keys = file.header.entries.keys()
    family = detect_base_family(keys, file.header.shapes, file.metadata)
    understood = read_keys(keys, target)
    if understood is None:
        check_spelling(file.path, keys)
        raise AdapterMatchError(
            f"{display_text(file.path.name)} holds no LoRA that Loom knows",
            path=file.path,
            expected=f"names of modules in one of the dialects {', '.join(each.NAME for each in all_dialects())}",
            found=f"{len(keys)} tensors{_of_family(family)}: {display_names(sorted(keys), 5) or 'none'}",
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
            Ignored(display_text(key), _unknown_kind(key) or f"no part of a LoRA in {understood.dialect} names")
            for key in parsed.unknown
        ),
    )
    return Understood(file, parsed, family, examined, receipt)


def _of_family(family: BaseFamily) -> str:
    named = family_named(family.name)
    return f" of {named.title} ({family.why})" if named else ""


def _unknown_kind(key: str) -> str:
    """What a key is that no dialect has a module for, where its name tells; empty where it does not."""
    return next((why for sign, why in _OUTSIDE_MODULES.items() if sign in key), "")


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
