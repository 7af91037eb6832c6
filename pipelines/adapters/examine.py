"""A parsed file held against the limits and a base: what can be used, at which scale, and what cannot, and why."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from lora_loom.pipelines.adapters.file_keys import FileModule, ParsedKeys
from lora_loom.pipelines.adapters.hostile_text import display_names, display_text
from lora_loom.pipelines.adapters.kinds import Kind, UpdateShape, supported_kind, why_unsupported
from lora_loom.pipelines.adapters.limits import Limits
from lora_loom.pipelines.adapters.places import ModuleShape, Place
from lora_loom.pipelines.adapters.receipt import NOTHING_LOST, ComponentReceipt, Ignored, WrongShape
from lora_loom.pipelines.adapters.scales import PeftScales, trained_as_dora, unusable
from lora_loom.pipelines.errors import AdapterFileError

if TYPE_CHECKING:
    from lora_loom.pipelines.adapters.safetensors_file import SafetensorsFile
    from lora_loom.pipelines.adapters.target import BaseTarget

MagnitudeAxis: TypeAlias = Literal["output", "input"]
_Number = TypeVar("_Number", int, float)
_OF_DORA = re.compile(r"dora_scale|lora_magnitude_vector")
_BESIDE_WEIGHTS = {"alpha", "scalar", "magnitude"}


@dataclass(frozen=True)
class UsableModule:
    """A module whose update is understood; `places` are where it fits in the base."""

    module: FileModule
    kind: Kind
    shape: UpdateShape
    alpha: float | None
    scale: float
    places: tuple[Place, ...]
    magnitude: MagnitudeAxis | None = None

    @property
    def kind_name(self) -> str:
        """As a receipt calls it: lora, tucker, loha, dora, dora loha ..."""
        name = "tucker" if "mid" in self.module.keys else self.kind.name
        if self.magnitude is None:
            return name
        return "dora" if name == "lora" else f"dora {name}"


@dataclass
class _Component:
    """What is found out about one component, while it is."""

    usable: list[UsableModule] = field(default_factory=list[UsableModule])
    ignored: list[Ignored] = field(default_factory=list[Ignored])
    wrong_shape: list[WrongShape] = field(default_factory=list[WrongShape])
    non_finite: list[str] = field(default_factory=list[str])

    def receipt(self) -> ComponentReceipt:
        places = [place.path for each in self.usable for place in each.places]
        kinds = [each.kind_name for each in self.usable]
        alphas = [each.alpha for each in self.usable if each.alpha is not None]
        return ComponentReceipt(
            matched=tuple(places or [display_text(each.module.name) for each in self.usable]),
            ignored=tuple(self.ignored),
            wrong_shape=tuple(self.wrong_shape),
            non_finite=tuple(self.non_finite),
            kinds={kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
            rank=_range([each.shape.dim or each.shape.rank for each in self.usable]),
            factor_rank=_range([each.shape.rank for each in self.usable]),
            alpha=_range(alphas),
            scale=_range([each.scale for each in self.usable]),
        )


@dataclass(frozen=True)
class Examined:
    """The outcome for a whole file. `dora` names modules that are to rescale the base's weight and do not say how."""

    usable: tuple[UsableModule, ...]
    receipts: Mapping[str, ComponentReceipt]
    dora: tuple[str, ...]


def examine(
    file: SafetensorsFile,
    parsed: ParsedKeys,
    peft: Mapping[str, PeftScales],
    target: BaseTarget | None,
    limits: Limits,
) -> Examined:
    """Look at every module once. Raises AdapterFileError where the file contradicts itself or breaks a limit."""
    components: dict[str, _Component] = {}
    non_finite = set(file.non_finite)
    dora = [display_text(key) for key in parsed.unknown if _OF_DORA.search(key)]
    said = trained_as_dora(file.metadata)
    magnitudes = bool(dora) or any("magnitude" in module.keys for module in parsed.modules)
    for module in parsed.modules:
        into = components.setdefault(module.component, _Component())
        into.non_finite += [display_text(key) for key in module.keys.values() if key in non_finite]
        configured = peft.get(module.component, peft.get(""))
        of_dora = configured.dora if configured is not None else said and not magnitudes
        if of_dora and "magnitude" not in module.keys:
            dora.append(display_text(module.name))
            into.ignored.append(Ignored(dora[-1], "dora: the magnitudes that it rescales the weight to are missing"))
            continue
        kind = supported_kind(module.keys)
        into.ignored += _beside(file, module, kind)
        if kind is None:
            if "magnitude" in module.keys and module.keys.keys() <= _BESIDE_WEIGHTS:  # the factors have another name
                dora.append(f"{display_text(module.name)}, which has magnitudes only")
            continue
        shape = _measured(file, module, kind, limits)
        alpha, scale = _scale(file, module, shape, configured, limits)
        places = _fitting(module, shape, target, into)
        magnitude = _magnitude_axis(file, module, shape)
        if magnitude == "input" and any(place.rows for place in places):
            reason = "dora: norms over the inputs of a layer that this base has in several parts"
            into.ignored.append(Ignored(display_text(module.name), reason))
            continue
        if places or target is None:
            into.usable.append(UsableModule(module, kind, shape, alpha, scale, places, magnitude))
    usable = tuple(each for component in components.values() for each in component.usable)
    _check_whole(file, usable, limits)
    receipts = {name: components[name].receipt() for name in sorted(components)}
    return Examined(usable, receipts, tuple(dora))


def _beside(file: SafetensorsFile, module: FileModule, kind: Kind | None) -> Iterable[Ignored]:
    """The parts that its kind of update has no use for, one line each, or one line for a module of no known kind."""
    if kind is None:
        name, reason = why_unsupported(module.keys)
        yield Ignored(display_text(module.name), f"{name}: {reason}")
        return
    for part in module.keys.keys() - kind.parts - _BESIDE_WEIGHTS:
        name, reason = why_unsupported({part})
        key = module.keys[part]
        nothing = not bool(file.tensors[key].float().any())
        yield Ignored(display_text(key), f"{name}: {NOTHING_LOST if nothing else reason}")


def _measured(file: SafetensorsFile, module: FileModule, kind: Kind, limits: Limits) -> UpdateShape:
    name = display_text(file.path.name)
    try:
        shape = kind.measure({part: file.header.shapes[key] for part, key in module.keys.items()})
    except ValueError as error:
        raise AdapterFileError(
            f"{name} has factors that do not belong together in {display_text(module.name)}",
            path=file.path,
            found=str(error).partition(", found ")[2],
            expected=str(error).partition(", found ")[0].removeprefix("expected "),
            remedy="The file is damaged: get it again",
        ) from error
    if shape.dim is not None and shape.dim > limits.rank:
        raise AdapterFileError(
            f"{name} has too large a rank in {display_text(module.name)}",
            path=file.path,
            expected=f"a rank of at most {limits.rank}",
            found=f"rank {shape.dim} for a weight of {shape.out} x {shape.inputs}",
            remedy="A LoRA of that rank is larger than what it changes: get a smaller one",
        )
    return shape


def _scale(
    file: SafetensorsFile, module: FileModule, shape: UpdateShape, configured: PeftScales | None, limits: Limits
) -> tuple[float | None, float]:
    """(alpha, scale): alpha over the trained rank; LoKr of two full factors has no such rank and no use for alpha."""
    alpha, scale = None, 1.0
    if "alpha" in module.keys:
        alpha = _number(file, module, "alpha")
        scale = alpha / shape.dim if shape.dim else 1.0
    elif configured is not None:
        try:
            alpha, scale = configured.of(module.name, shape.dim)
        except ValueError as error:
            raise unusable(file.path, error) from error
    if "scalar" in module.keys:
        scale *= _number(file, module, "scalar")
    if not math.isnan(scale) and abs(scale) > limits.scale:
        raise AdapterFileError(
            f"{display_text(file.path.name)} multiplies its update beyond reason in {display_text(module.name)}",
            path=file.path,
            expected=f"alpha / rank of at most {limits.scale:g}",
            found=f"{scale:g} (alpha {alpha if alpha is None else format(alpha, 'g')}, rank {shape.dim})",
            remedy="The file was damaged or made to deceive; do not use it",
        )
    return alpha, scale


def _magnitude_axis(file: SafetensorsFile, module: FileModule, shape: UpdateShape) -> MagnitudeAxis | None:
    """What the magnitudes of a DoRA are norms of, from their shape; None for a module without any.

    LyCORIS writes [out 1 ...], and [1 in ...] in older files; PEFT writes [out], and [1 out 1 1] for a convolution.
    """
    key = module.keys.get("magnitude")
    if key is None:
        return None
    found = file.header.shapes[key]
    count = math.prod(found)
    inputs = shape.inputs // math.prod(shape.kernel or (1,))
    of_output = len(found) < 2 or "lora_magnitude_vector" in key or found[0] != 1 or shape.out == 1
    if found and count == max(found) == (shape.out if of_output else inputs):
        return "output" if of_output else "input"
    raise AdapterFileError(
        f"{display_text(file.path.name)} has magnitudes that do not fit its update in {display_text(module.name)}",
        path=file.path,
        expected=f"one for each of {shape.out} outputs or {inputs} inputs",
        found=f"a tensor of shape {list(found)}",
        remedy="The file is damaged: get it again",
    )


def _number(file: SafetensorsFile, module: FileModule, part: str) -> float:
    tensor = file.tensors[module.keys[part]]
    if tensor.numel() != 1:
        raise AdapterFileError(
            f"{display_text(file.path.name)} has a broken {part} in {display_text(module.name)}",
            path=file.path,
            expected="one number",
            found=f"a tensor of shape {list(tensor.shape)}",
            remedy="The file is damaged: get it again",
        )
    return float(tensor.item())


def _fitting(module: FileModule, shape: UpdateShape, target: BaseTarget | None, into: _Component) -> tuple[Place, ...]:
    """The places of the base that the update fits in; what does not fit is written down."""
    if target is None:
        return ()
    modules = target.components.get(module.component)
    if modules is None or not module.places:
        missing = f"the base has no {module.component}" if modules is None else "the base has no such module"
        into.ignored.append(Ignored(display_text(module.name), missing))
        return ()
    wrong = [place for place in module.places if not _fits(shape, place, modules[place.path])]
    for place in wrong:
        base = modules[place.path].weight
        fused = (place.fused_rows, *base[1:]) if place.rows else base
        into.wrong_shape.append(WrongShape(place.path, _weight_shape(shape), fused))
    return () if wrong else module.places


def _fits(shape: UpdateShape, place: Place, base: ModuleShape) -> bool:
    out = place.fused_rows if place.rows else base.weight[0]
    kernel = base.weight[2:] or (1, 1)
    return (shape.out, shape.inputs) == (out, math.prod(base.weight[1:])) and shape.kernel in (None, kernel)


def _weight_shape(shape: UpdateShape) -> tuple[int, ...]:
    if shape.kernel is None:
        return shape.out, shape.inputs
    return shape.out, shape.inputs // math.prod(shape.kernel), *shape.kernel


def _check_whole(file: SafetensorsFile, usable: Sequence[UsableModule], limits: Limits) -> None:
    owner: dict[tuple[str, str], str] = {}
    for each in usable:
        for place in each.places:
            other = owner.setdefault((each.module.component, place.path), each.module.name)
            if other != each.module.name:
                raise AdapterFileError(
                    f"{display_text(file.path.name)} has two updates for one module",
                    path=file.path,
                    expected=f"one for {place.path}",
                    found=display_names([other, each.module.name]),
                    remedy="Two LoRAs were packed into one file: get them one by one",
                )
    expanded = sum(4 * each.shape.rank * (each.shape.out + each.shape.inputs) for each in usable)
    if expanded > limits.expanded_bytes:
        raise AdapterFileError(
            f"{display_text(file.path.name)} is too large once its factors are written out",
            path=file.path,
            expected=f"at most {limits.expanded_bytes:,} bytes",
            found=f"{expanded:,} bytes",
            remedy="Convert it to a LoRA of lower rank first",
        )


def _range(numbers: Sequence[_Number]) -> tuple[_Number, _Number] | None:
    return (min(numbers), max(numbers)) if numbers else None
