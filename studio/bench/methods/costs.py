"""M0 to M4: what a step costs by method in single forwards, and how well that was predicted; counted, not timed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lora_loom.pipelines import registry
from lora_loom.pipelines.plan import Replay
from lora_loom.pipelines.request import AdapterChoice, SettingValue
from lora_loom.pipelines.runtime.bank import AdapterBank
from lora_loom.pipelines.runtime.denoiser import PlanRun
from lora_loom.pipelines.runtime.fused import fused
from lora_loom.pipelines.runtime.replay_cost import pass_costs
from lora_loom.pipelines.runtime.targets import denoiser_of
from lora_loom.studio.bench.clock import Estimate
from lora_loom.studio.bench.counting import count
from lora_loom.studio.bench.denoisers import Bare, flux, sdxl
from lora_loom.studio.bench.rows import Row, row

ADAPTERS, STEPS, QUICK_STEPS = 5, 28, 10
BUDGET = 1.3
OVERHEAD, ERROR = 1.1, 0.05


def measure(quick: bool) -> list[Row]:
    steps = QUICK_STEPS if quick else STEPS
    return [each for make in (sdxl, flux) for each in rows_of(make(ADAPTERS), steps)]


def rows_of(bare: Bare, steps: int, budget: float = BUDGET) -> list[Row]:
    n, title = len(bare.adapters), bare.title
    what = f"{title}, {n} adapters of rank 16, {steps} steps"
    base = count(lambda: bare.model(**bare.inputs)).flops
    as_called = {**bare.inputs, "return_dict": False}
    share = pass_costs(bare.model, Replay(0, steps), as_called).replayed  # kept: planning is not counted below

    free, run = spent(bare, "cmlora", {}, steps, base)
    q, passes = run.passes["full"] / steps, sum(run.passes.values()) / steps
    within, budgeted = spent(bare, "cmlora", {"budget": budget}, steps, base)
    assert budgeted.predicted_cost is not None
    arbiter, _ = spent(bare, "arbiter", {"where": "output"}, steps, base)
    layers, _ = spent(bare, "arbiter", {"where": "layers"}, 1, base)
    merge, _ = spent(bare, "merge", {}, 1, base)
    exact = Estimate.exact
    id = title.split(".")[0].lower()
    return [
        row(f"M0.{id}", f"a replayed pass in full ones, {title}", exact(share), anchor=None, line=None),
        row(
            f"M1.{id}",
            f"CMLoRA's FLOPs per step over one forward's, {what}: {q:.3g} full passes per step",
            exact(free),
            anchor=passes,
            line=OVERHEAD * (q + (passes - q) * share),
        ),
        row(
            f"M2.{id}",
            f"error of the predicted {budgeted.predicted_cost:.4g} for a budget of {budget:g}, CMLoRA, {what}",
            exact(abs(budgeted.predicted_cost / within - 1)),
            anchor=None,
            line=ERROR,
        ),
        row(f"M2.{id}.spent", f"FLOPs per step under that budget, {what}", exact(within), anchor=None, line=None),
        row(
            f"M3.{id}",
            f"FLOPs per step over one forward's, Arbiter on predictions, {what}",
            exact(arbiter),
            anchor=n + 1.0,
            line=None,
        ),
        row(
            f"M4.{id}",
            f"FLOPs of one step over Merge's, Arbiter in the layers, {title}, {n} adapters",
            exact(layers / merge),
            anchor=None,
            line=None,
        ),
    ]


def spent(
    bare: Bare, method: str, settings: Mapping[str, SettingValue], steps: int, base: int
) -> tuple[float, PlanRun]:
    """FLOPs of a step in forwards of the base, on average over a run, and the run."""
    plan = registry.create(method, settings).plan([AdapterChoice(name) for name in bare.adapters], steps)
    slot = denoiser_of(bare.pipe)
    sample: Any = bare.inputs[slot.family.call.sample]
    with fused(bare.pipe, replace(plan, settle=None), bare.adapters, AdapterBank(bare.pipe)) as run:
        scheduler = bare.pipe.scheduler
        scheduler.set_timesteps(steps)
        denoiser = getattr(bare.pipe, slot.attribute)

        def all_steps() -> None:
            for timestep in scheduler.timesteps:
                if hasattr(scheduler, "scale_model_input"):  # else it warns
                    scheduler.scale_model_input(sample, timestep)
                noise_pred = denoiser(**bare.inputs, return_dict=False)[0]
                scheduler.step(noise_pred, timestep, sample)

        flops = count(all_steps).flops
    return flops / base / steps, run
