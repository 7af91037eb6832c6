"""A method's plan under what was asked of single adapters: curves, regions, exemptions; for every method alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from lora_loom.pipelines.errors import RequestError
from lora_loom.pipelines.plan import FusionPlan, Gates, Pass, PassCosts, Predictions, RegionPrompt, StepState, base_plan
from lora_loom.pipelines.requests.control import Curve, Region, factor_at

if TYPE_CHECKING:
    from torch import Tensor

    from lora_loom.pipelines.adapters.factors import Adapter
    from lora_loom.pipelines.request import AdapterChoice

Choices: TypeAlias = "tuple[AdapterChoice, ...]"
Compose: TypeAlias = "Callable[[Choices], FusionPlan]"  # a method's own plan for at least one adapter


def controlled(choices: Choices, compose: Compose) -> FusionPlan:
    """The plan of a method for `choices`, each of them acting only where, when and as it was asked to.

    Adapters whose region has a prompt act in passes of that region only. Every region is composed for itself, from its
    own adapters and those without a prompt of their own, and the predictions are blended by the regions' masks:
    eps = (1 - sum_r m_r) eps_0 + sum_r m_r eps_r, the masks divided by their sum where it exceeds 1. A plan that
    decides inside the layers is made once for all adapters instead, and each region opens those that act there.
    """
    if not any(choice.controlled for choice in choices):
        return compose(choices) if choices else base_plan()
    plan = _controlled(choices, compose)

    def settle(pipe: Any, adapters: Mapping[str, Adapter]) -> FusionPlan:
        def settled(cast: Choices) -> FusionPlan:
            own = compose(cast)
            return own.settle(pipe, adapters) if own.settle is not None else own

        return controlled(choices, settled)

    def at_cost(costs: PassCosts) -> FusionPlan:
        def known(cast: Choices) -> FusionPlan:
            own = compose(cast)
            return own.at_cost(costs) if own.at_cost is not None else own

        return controlled(choices, known)

    return replace(plan, settle=plan.settle and settle, at_cost=plan.at_cost and at_cost)


def _controlled(choices: Choices, compose: Compose) -> FusionPlan:
    plan = _plan_of(choices, compose)
    _check_apart(choices, plan)
    regions = list(dict.fromkeys(region for choice in choices if (region := _own_region(choice))))
    if regions:
        casts = [
            tuple(choice for choice in choices if _own_region(choice) in (None, region)) for region in (None, *regions)
        ]
        if plan.layer_rule is None and plan.derive is None:
            plans = [_plan_of(cast, compose) for cast in casts]
        else:
            plans = [_restricted(plan, {choice.name for choice in cast}) for cast in casts]
        plan = _blended(plans, regions)
    names = tuple(choice.name for choice in choices)
    return _throughout(plan, lambda each: replace(each, adapters=names, controls=choices))


def _throughout(plan: FusionPlan, change: Callable[[FusionPlan], FusionPlan]) -> FusionPlan:
    """The plan changed, and so whatever plan it may give to go on with later."""
    settle, at_cost = plan.settle, plan.at_cost

    def settled(pipe: Any, loaded: Mapping[str, Adapter]) -> FusionPlan:
        assert settle is not None
        return _throughout(settle(pipe, loaded), change)

    def costed(costs: PassCosts) -> FusionPlan:
        assert at_cost is not None
        return _throughout(at_cost(costs), change)

    return replace(change(plan), settle=settle and settled, at_cost=at_cost and costed)


def _check_apart(choices: Choices, plan: FusionPlan) -> None:
    """Raise RequestError for a curve or region where the method leaves no gate that it could act on."""
    gated = {name for gates in plan.text_passes for name in gates}
    for choice in choices:
        if (choice.curve or choice.region) and choice.strength and choice.name not in gated:
            raise RequestError(
                f"{choice.name} cannot have a {'curve' if choice.curve else 'region'} of its own here",
                expected="a method that keeps the adapters apart while it draws, such as merge",
                found="one that makes a single adapter of them first",
                remedy="Choose such a method, or exempt the adapter from the fusion.",
            )


def _own_region(choice: AdapterChoice) -> Region | None:
    """The region that is drawn in passes of its own, because it has a prompt."""
    return choice.region if choice.region is not None and choice.region.prompt else None


def _plan_of(choices: Choices, compose: Compose) -> FusionPlan:
    """The plan with curves and exemptions, all in one region."""
    fused = tuple(choice for choice in choices if not choice.exempt)
    return _throughout(compose(fused) if fused else base_plan(), lambda plan: _acting(plan, choices))


def _acting(plan: FusionPlan, choices: Choices) -> FusionPlan:
    """The plan of the adapters that are not exempt, under the curves of all and with the exempt ones in every pass."""
    exempt = {choice.name: choice.strength for choice in choices if choice.exempt}
    curves = {choice.name: choice.curve for choice in choices if choice.curve}
    on_text = {choice.name: _on_text(choice, blocks=plan.derive is None) for choice in choices}

    def of_text(gates: Gates) -> Gates:
        return {name: gate * on_text.get(name, 1.0) for name, gate in {**gates, **exempt}.items()}

    def schedule(state: StepState) -> Sequence[Pass]:
        return tuple(
            replace(
                each,
                gates=_curved({**each.gates, **exempt}, curves, state.progress),
                text_gates=of_text(each.encoded_with),
            )
            for each in plan.schedule(state)
        )

    def derive(adapters: Mapping[str, Adapter]) -> Mapping[str, Adapter]:
        assert plan.derive is not None
        of_method = plan.derive({name: adapter for name, adapter in adapters.items() if name not in exempt})
        return {**of_method, **{name: adapters[name] for name in exempt}}

    return replace(
        plan,
        schedule=schedule,
        text_passes=tuple(of_text(gates) for gates in plan.text_passes),
        derive=plan.derive and derive,
    )


def _curved(gates: Gates, curves: Mapping[str, Curve], progress: float) -> Gates:
    """The gates at a progress; text encoders have no such thing, as a prompt is encoded once."""
    return {name: gate * factor_at(curves.get(name, ()), progress) for name, gate in gates.items()}


def _on_text(choice: AdapterChoice, *, blocks: bool) -> float:
    """The share of the adapter's part on the text encoders that is to act; `blocks` are in derived factors already."""
    share = choice.blocks.get("text", 1.0) if blocks else 1.0
    region = choice.region
    return share if region is None or region.prompt else share * region.everywhere * region.peak


def _restricted(plan: FusionPlan, names: set[str]) -> FusionPlan:
    """The plan with the gates of other adapters shut."""

    def only(gates: Gates) -> Gates:
        return {name: gate for name, gate in gates.items() if name in names}

    def restrict(plan: FusionPlan) -> FusionPlan:
        def schedule(state: StepState) -> Sequence[Pass]:
            return tuple(
                replace(each, gates=only(each.gates), text_gates=only(each.encoded_with))
                for each in plan.schedule(state)
            )

        return replace(plan, schedule=schedule, text_passes=tuple(only(gates) for gates in plan.text_passes))

    return _throughout(plan, restrict)


def _blended(plans: Sequence[FusionPlan], regions: Sequence[Region]) -> FusionPlan:
    """One plan of several: the first for the picture as a whole, then one for each region with a prompt."""

    def schedule(state: StepState) -> Sequence[Pass]:
        return tuple(replace(each, region=k) for k, plan in enumerate(plans) for each in plan.schedule(state))

    def combine(predictions: Predictions) -> Tensor:
        from lora_loom.pipelines.runtime.masks import blend

        parts = [plan.combine(_of_region(predictions, k)) for k, plan in enumerate(plans)]
        return blend(parts[0], parts[1:], regions, predictions.grid)

    def settle(pipe: Any, loaded: Mapping[str, Adapter]) -> FusionPlan:
        return _blended([plan.settle(pipe, loaded) if plan.settle else plan for plan in plans], regions)

    def at_cost(costs: PassCosts) -> FusionPlan:
        return _blended([plan.at_cost(costs) if plan.at_cost else plan for plan in plans], regions)

    costs = [plan.predicted_cost for plan in plans if plan.predicted_cost is not None]
    return replace(
        plans[0],
        schedule=schedule,
        combine=combine,
        regions=tuple(
            RegionPrompt(region.prompt, plan.text_passes) for region, plan in zip(regions, plans[1:], strict=True)
        ),
        replay=next((plan.replay for plan in plans if plan.replay), None),
        settle=settle if any(plan.settle for plan in plans) else None,
        at_cost=at_cost if any(plan.at_cost for plan in plans) else None,
        predicted_cost=sum(costs) if len(costs) == len(plans) else None,
    )


def _of_region(predictions: Predictions, region: int) -> Predictions:
    """What the passes of one region predicted, with a memory of its own."""
    mine = [index for index, each in enumerate(predictions.passes) if each.region == region]
    return replace(
        predictions,
        noise_preds=predictions.noise_preds[mine[0] : mine[-1] + 1],
        weights=predictions.weights[mine[0] : mine[-1] + 1],
        passes=[predictions.passes[index] for index in mine],
        memory=predictions.memory.setdefault(f"region {region}", {}),
    )
