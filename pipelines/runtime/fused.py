"""fused: the context in which an unmodified diffusers pipeline draws by a plan, and after which it is what it was."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lora_loom.pipelines.errors import BaseModelError, UnknownAdapterError
from lora_loom.pipelines.plan import FusionPlan
from lora_loom.pipelines.runtime.bank import AdapterBank
from lora_loom.pipelines.runtime.block_groups import scaled_by_blocks
from lora_loom.pipelines.runtime.controls import rule_of
from lora_loom.pipelines.runtime.denoiser import PlanRun, StandIn
from lora_loom.pipelines.runtime.influence import InfluenceMeter, text_gates_without
from lora_loom.pipelines.runtime.prompts import PromptEncodings
from lora_loom.pipelines.runtime.steps import StepClock
from lora_loom.pipelines.runtime.targets import denoiser_of, held_denoiser

if TYPE_CHECKING:
    from lora_loom.pipelines.adapters.factors import Adapter


@contextmanager
def fused(
    pipe: Any,
    plan: FusionPlan,
    adapters: Mapping[str, Adapter],
    bank: AdapterBank | None = None,
    *,
    max_batch: int | None = None,
    probes: int | None = None,
) -> Generator[PlanRun]:
    """Run a plan on a diffusers pipeline: `with fused(pipe, plan, adapters) as run: pipe(prompt, ...)`.

    Works at the denoiser's output, before guidance, so any scheduler, img2img, inpainting, ControlNet and
    guidance-distilled models work unchanged. On the way out, also by an exception, weights, modules, forwards,
    scheduler and state_dict are exactly what they were.

    `run.passes` counts what was run. `bank` keeps adapters placed from one run to the next (and compiled graphs valid).
    `max_batch` limits the samples that one call of the denoiser may hold when a step has several passes, which then run
    in parts. With `probes`, `run.influence` tells what each adapter changed: for free where the passes keep adapters
    apart, else by that many probes of each, half a guided pass apiece. Raises UnknownAdapterError when the plan names
    an adapter that is not given, AdapterMatchError when one does not fit, BaseModelError for a pipeline without a
    denoiser or one that is fused already, RequestError for blocks that the denoiser does not have, and in the first
    step for a mask of other proportions than the picture.
    """
    if missing := [name for name in plan.adapters if name not in adapters]:
        raise UnknownAdapterError(
            f"the plan uses {', '.join(missing)}, which {'was' if len(missing) == 1 else 'were'} not given",
            expected=f"all of {', '.join(plan.adapters)}",
            found=", ".join(adapters) or "no adapter",
        )
    if is_fused(pipe):
        raise BaseModelError(
            "this pipeline is running a plan already",
            remedy="Leave the outer `with fused(...)` first, or plan for both.",
        )
    if plan.settle is not None:
        plan = plan.settle(pipe, adapters)
    slot = denoiser_of(pipe)
    bank = AdapterBank(pipe) if bank is None else bank
    with ExitStack() as stack:
        chosen: Mapping[str, Adapter] = {name: adapters[name] for name in plan.adapters}
        controls = plan.controls
        if plan.derive is not None:
            chosen = plan.derive(scaled_by_blocks(slot.model, chosen, controls))
            controls = tuple(replace(choice, blocks={}) for choice in controls)
        rule = rule_of(controls, plan.layer_rule)
        stack.enter_context(bank.open(pipe, chosen, rule=rule, controls=controls))
        prompts = PromptEncodings(
            pipe,
            bank.text_encoders,
            plan.text_passes,
            plan.regions,
            probed=text_gates_without(plan.text_passes) if probes else (),
        )
        clock = StepClock(pipe.scheduler)
        stack.enter_context(prompts.installed())
        stack.enter_context(clock.installed())
        run = PlanRun(
            slot,
            plan,
            bank.denoiser,
            prompts,
            clock,
            max_batch,
            adapters=chosen,
            guided=lambda: bool(getattr(pipe, "do_classifier_free_guidance", False)),
            meter=None if probes is None else InfluenceMeter(list(chosen), probes),
        )
        own: dict[str, Any] = pipe.__dict__  # setting the attribute would write the stand-in into the pipeline's config
        stack.callback(own.update, {slot.attribute: slot.called})
        own[slot.attribute] = StandIn(slot.called, run)
        yield run


def is_fused(pipe: Any) -> bool:
    """Whether the pipeline is inside `with fused(...)`."""
    return type(held_denoiser(pipe)[1]) is StandIn
