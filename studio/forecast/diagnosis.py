"""The doctor: LoRAs of the library, or files, examined for how they will get along on a base."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_loom.pipelines.requests.prompt_syntax import parse_strength
from lora_loom.studio.pocket import forecast_path
from lora_loom.studio.session import Studio

if TYPE_CHECKING:
    from lora_loom.pipelines.adapters.factors import Adapter
    from lora_loom.pipelines.adapters.target import BaseTarget
    from lora_loom.pipelines.forecast.base_spectra import BaseSpectra
    from lora_loom.pipelines.forecast.report import Report


def diagnose(studio: Studio, loras: Sequence[str], *, against_base: bool = False) -> Report:
    """The report on LoRAs given as NAME:STRENGTH, names of the library or .safetensors files.

    One that is given twice counts as two. With `against_base` the base's weights are looked at too, which takes seconds
    for a small base and minutes for a large one the first time. Raises what loading a LoRA raises.
    """
    from lora_loom.pipelines.adapters.load import BaseTarget, load_adapter

    target = BaseTarget.from_pipeline(studio.pipeline)
    adapters: dict[str, Adapter] = {}
    strengths: dict[str, float] = {}
    kinds: dict[str, str] = {}
    for text in loras:
        choice = parse_strength(text)
        is_file = choice.name.endswith(".safetensors")
        card = None if is_file else studio.library.find(choice.name)
        path = Path(choice.name) if card is None else card.path
        name = _new_name(path.stem if card is None else choice.name, adapters)
        adapters[name] = load_adapter(path, name=name, target=target, force=studio.force)
        strengths[name] = choice.strength
        kinds[name] = card.category if card is not None else ""
    return report_on(studio, target, adapters, strengths, kinds, against_base=against_base)


def report_on(
    studio: Studio,
    target: BaseTarget,
    adapters: Mapping[str, Adapter],
    strengths: Mapping[str, float],
    kinds: Mapping[str, str],
    *,
    against_base: bool = False,
) -> Report:
    """The report on adapters that are loaded for the base `target`, with the risk of a lost concept where it is known.

    Raises what `examine` raises.
    """
    from lora_loom.pipelines.forecast.examine import examine
    from lora_loom.pipelines.forecast.layer_place import LayerPlaces
    from lora_loom.pipelines.forecast.risk import features, read_forecast

    spectra = _spectra(studio) if against_base else None
    places = LayerPlaces(target.components)
    report = examine(adapters, strengths, places=places, base=spectra, kinds=kinds, base_name=studio.base_model)
    if spectra is not None:
        spectra.keep()
    forecast = read_forecast(forecast_path()) if target.family == "pocket" else None
    if forecast is not None and report.together is not None:
        from lora_loom.pipelines.runtime.targets import denoiser_of
        from lora_loom.studio.forecast.ranking import ranked

        risk = forecast.risk(features(report))
        together = replace(report.together, loss_risk=risk, loss_risk_from=forecast.provenance)
        offered = ranked(report, forecast, adapters, places, denoiser_of(studio.pipeline).model)
        report = replace(report, together=together, remedies=offered)
    return report


def _new_name(name: str, taken: dict[str, Adapter]) -> str:
    count = 2
    fresh = name
    while fresh in taken:
        fresh, count = f"{name} ({count})", count + 1
    return fresh


def _spectra(studio: Studio) -> BaseSpectra:
    from lora_loom.pipelines.adapters.target import TEXT_ENCODERS
    from lora_loom.pipelines.forecast.base_spectra import BaseSpectra

    pipe: Any = studio.pipeline
    denoiser = getattr(pipe, "unet", None) or pipe.transformer
    models = {"denoiser": denoiser, **{name: getattr(pipe, name, None) for name in TEXT_ENCODERS}}
    chosen = os.environ.get("LOOM_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "loom")
    revision = studio.base_revision()
    file = Path(chosen).expanduser() / "spectra" / f"{revision}.safetensors" if revision else None
    return BaseSpectra({name: model for name, model in models.items() if model is not None}, file)
