"""Schedulers by name, made from the base model's own so that its noise schedule and prediction type stay as trained."""

from __future__ import annotations

import inspect
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from lora_loom.pipelines.errors import RequestError
from lora_loom.pipelines.families import of_pipeline

# name -> (class in diffusers, settings that differ from the base's own)
DIFFUSION: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "ddim": ("DDIMScheduler", {"clip_sample": False}),  # latents are not bounded as pixels are
    "ddpm": ("DDPMScheduler", {"clip_sample": False}),
    "dpm++": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    "dpm++ karras": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "use_karras_sigmas": True}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "lcm": ("LCMScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
}
FLOW_MATCHING: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "euler": ("FlowMatchEulerDiscreteScheduler", {}),
    "heun": ("FlowMatchHeunDiscreteScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {"prediction_type": "flow_prediction", "use_flow_sigmas": True}),
}
DEFAULT = "default"
_MISREAD = {("list", "UniPCMultistepScheduler")}  # it multiplies a list by a number


def names_for(pipe: Any) -> tuple[str, ...]:
    """The names that work on this pipeline, `default` (the base's own) first."""
    table = DIFFUSION if _diffuses(pipe) else FLOW_MATCHING
    return DEFAULT, *(name for name, (kind, _) in table.items() if not _misfit(pipe, kind))


@contextmanager
def using(pipe: Any, name: str) -> Generator[None]:
    """Let the pipeline draw with the scheduler of that name, and put its own back afterwards.

    Raises RequestError for a name that is unknown, or whose scheduler cannot follow the base's noise schedule.
    """
    own = pipe.scheduler
    chosen = own if name == DEFAULT else _make(pipe, name)
    vars(pipe)["scheduler"] = chosen  # not by attribute: that would write the passing choice into the pipeline's config
    try:
        yield
    finally:
        vars(pipe)["scheduler"] = own


def _make(pipe: Any, name: str) -> Any:
    import diffusers

    table = DIFFUSION if _diffuses(pipe) else FLOW_MATCHING
    kind, settings = table.get(name, ("", {}))
    reason = f"no scheduler is called {name!r} for this base" if not kind else _misfit(pipe, kind)
    if reason:
        raise RequestError(reason, expected=f"one of {', '.join(names_for(pipe))}", found=repr(name))
    scheduler: Any = getattr(diffusers, kind)
    config = {**pipe.scheduler.config, "flow_shift": pipe.scheduler.config.get("shift", 1.0), **settings}
    takes = inspect.signature(scheduler.__init__).parameters
    return scheduler.from_config({key: value for key, value in config.items() if key in takes})


def _diffuses(pipe: Any) -> bool:
    return hasattr(pipe.scheduler, "alphas_cumprod")


def _sigmas_of(pipe: Any) -> str:
    """In which form the pipeline gives its scheduler sigmas of its own, empty where it does not."""
    forms = (family.sets_sigmas for kind in type(pipe).__mro__ for family in of_pipeline(kind.__name__))
    return next((form for form in forms if form), "")


def _misfit(pipe: Any, kind: str) -> str:
    """Why a scheduler class cannot take over from the base's own; empty when it can."""
    import diffusers

    scheduler: type = getattr(diffusers, kind)
    config = pipe.scheduler.config
    takes = inspect.signature(scheduler.__init__).parameters
    if config.get("rescale_betas_zero_snr") and "rescale_betas_zero_snr" not in takes:
        return f"{kind} cannot follow the base's schedule, which ends in pure noise"
    set_timesteps: Any = getattr(scheduler, "set_timesteps")  # noqa: B009 - diffusers' base class does not declare it
    form = _sigmas_of(pipe)
    if form and ("sigmas" not in inspect.signature(set_timesteps).parameters or (form, kind) in _MISREAD):
        return f"{kind} cannot take the sigmas that the pipeline of this base sets"
    if config.get("use_dynamic_shifting") and "mu" not in inspect.signature(set_timesteps).parameters:
        return f"{kind} cannot shift the base's schedule with the size of the picture"
    return ""
