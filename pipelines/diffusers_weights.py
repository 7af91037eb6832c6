"""The weights that diffusers' `set_adapters` takes, in Loom's terms: by component, and in the denoiser by block."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from lora_loom.pipelines.errors import RequestError
from lora_loom.pipelines.plugins import did_you_mean
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.runtime.block_groups import ROLES, TEXT
from lora_loom.pipelines.runtime.targets import denoiser_of

Weight = float | int | Mapping[str, Any] | None


def weighted(pipe: Any, name: str, layers: Iterable[str], weight: Weight) -> AdapterChoice:
    """The adapter with a weight of diffusers: a number, or a number or blocks by component.

        0.7
        {"unet": 0.7, "text_encoder": 0.2}                                  a component left out is at 1
        {"unet": {"down": 0.8, "mid": 1.0, "up": {"block_0": 0.6, "block_1": [0.4, 0.8, 1.0]}}}
        {"transformer": {"transformer_blocks.0": 0.5}}                      module paths; what is left out is at 1

    `layers` are those of the denoiser on which it acts. Raises RequestError for a component or block that the pipeline
    does not have, and for text encoders that are to act unlike each other, which Loom does not tell apart.
    """
    if weight is None:
        return AdapterChoice(name)
    if not isinstance(weight, Mapping):
        return AdapterChoice(name, _number(name, weight))
    denoiser = denoiser_of(pipe)
    loadable: list[str] = pipe._lora_loadable_modules
    encoders = [each for each in loadable if each != denoiser.attribute and getattr(pipe, each, None) is not None]
    for component in weight:
        if component not in (denoiser.attribute, *encoders):
            raise RequestError(
                f"there is a weight of {name} for {component}, which this pipeline does not have",
                expected=f"a number, or weights by {', '.join((denoiser.attribute, *encoders))}",
                found=str(dict(weight))[:200],
                remedy=did_you_mean(component, (denoiser.attribute, *encoders))
                or f'Blocks stand under the denoiser: {{"{denoiser.attribute}": {{...}}}}.',
            )
    text = {_number(name, weight.get(each, 1.0)) for each in encoders}
    if len(text) > 1:
        raise RequestError(
            f"{name} is to act unlike in each text encoder",
            expected=f"one weight for {', '.join(encoders)}",
            found=str({each: weight.get(each, 1.0) for each in encoders}),
            remedy="Give all of them the same one.",
        )
    on_text = text.pop() if text else 1.0
    of_denoiser = weight.get(denoiser.attribute, 1.0)
    if isinstance(of_denoiser, Mapping):
        blocks = dict(_blocks(denoiser.model, name, layers, cast("Mapping[str, Any]", of_denoiser)))
        return AdapterChoice(name, 1.0, blocks={**blocks, **_text(on_text)})
    strength = _number(name, of_denoiser)
    if strength:
        return AdapterChoice(name, strength, blocks=_text(on_text / strength))
    return AdapterChoice(name, 1.0, blocks={**dict.fromkeys(ROLES, 0.0), **_text(on_text)})


def _text(factor: float) -> dict[str, float]:
    return {} if factor == 1.0 else {TEXT: factor}


def _blocks(model: Any, name: str, layers: Iterable[str], scales: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Factors other than 1 by module path, of those in `layers` where diffusers goes by parts of their names.

    Raises RequestError for what is no block of a U-Net, or not spelt as one, and for a part that no layer has.
    """
    if not hasattr(model, "down_blocks"):
        paths = tuple(layers)
        if stray := [part for part in scales if not any(part in path for path in paths)]:
            example = paths[0] if paths else "none: it acts on text encoders only"
            raise RequestError(
                f"the weight of {name} names {', '.join(stray)}, where it does not act",
                expected=f"parts of module paths such as {example}",
            )
        for path in paths:
            factor = next((_number(name, scales[part]) for part in scales if part in path), 1.0)  # the first one counts
            if factor != 1.0:
                yield path, factor
        return
    known = {
        side: [f"block_{i}" for i, block in enumerate(getattr(model, f"{side}_blocks")) if hasattr(block, "attentions")]
        for side in ("down", "up")
    }
    wrong = [key for key in scales if key not in (*known, "mid")]
    for side, blocks in known.items():
        its = scales.get(side)
        if isinstance(its, Mapping):
            wrong += [f"{side}.{block}" for block in cast("Mapping[str, Any]", its) if block not in blocks]
    if wrong:
        raise RequestError(
            f"the weight of {name} names {', '.join(wrong)}",
            expected=f'"mid", "down" ({", ".join(known["down"])}) and "up" ({", ".join(known["up"])})',
            found=str(dict(scales))[:200],
            remedy=f'Groups of layers go into controls={{"{name}": {{"blocks": {{...}}}}}}.',
        )
    loaders: Any = importlib.import_module("diffusers.loaders.unet_loader_utils")
    try:
        (expanded,) = loaders._maybe_expand_lora_scales(model, [dict(scales)])
    except (ValueError, IndexError, TypeError) as error:
        raise RequestError(
            f"the weight of {name} by block fits no block of this base", expected="blocks it has", found=str(error)
        ) from error
    yield from ((path, _number(name, factor)) for path, factor in expanded.items() if factor != 1.0)


def _number(name: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise RequestError(f"the weight of {name}", expected="a number", found=repr(value)[:100])


def listed(names: Sequence[str], weights: object) -> list[Weight]:
    """One weight for each name: as diffusers, a single one counts for all. Raises RequestError for another number."""
    if isinstance(weights, Sequence) and not isinstance(weights, str):
        each = cast("list[Weight]", list(cast("Sequence[Any]", weights)))
    else:
        each = [cast("Weight", weights)] * len(names)
    if len(names) != len(each):
        raise RequestError(
            "names and strengths do not pair up",
            expected=f"{len(names)} strengths for {', '.join(names)}",
            found=str(len(each)),
        )
    return each
