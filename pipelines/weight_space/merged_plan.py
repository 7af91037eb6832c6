"""The plan of a method that fuses all adapters into one before drawing: its rule runs once on each layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from lora_loom.pipelines.plan import FusionPlan, Pass

if TYPE_CHECKING:
    from lora_loom.pipelines.adapters.factors import Adapter, LoraFactors
    from lora_loom.pipelines.method import FusionMethod
    from lora_loom.pipelines.request import AdapterChoice
    from lora_loom.pipelines.weight_space.layers import Layer


def merged_plan(
    method: FusionMethod,
    choices: tuple[AdapterChoice, ...],
    rule: Callable[[Layer], LoraFactors],
    *,
    changes_one: bool = False,
) -> FusionPlan:
    """One pass with the adapter that `rule` makes of all choices, strengths included.

    An adapter that is alone, in the whole or at a layer, is used as it is, unless the rule is there to change it
    (`changes_one`).
    """
    strengths = {choice.name: choice.strength for choice in choices if choice.strength}
    names = tuple(choice.name for choice in choices)
    if not strengths or (len(strengths) == 1 and not changes_one):
        passes = (Pass(gates=strengths),)
        return FusionPlan(adapters=names, schedule=lambda state: passes, text_passes=(strengths,))
    fused_name = f"{method.name}({', '.join(strengths)})"
    passes = (Pass(gates={fused_name: 1.0}),)

    def derive(adapters: Mapping[str, Adapter]) -> Mapping[str, Adapter]:
        from lora_loom.pipelines.weight_space.layers import adapter_of, layers_of, recipe_of
        from lora_loom.pipelines.weight_space.remember import remembered
        from lora_loom.pipelines.weight_space.stack import stack

        sources = {name: adapters[name] for name in strengths}
        recipe = recipe_of(method.name, method.settings, strengths, sources)

        def make() -> Mapping[str, Adapter]:
            fused: dict[str, dict[str, LoraFactors]] = {}
            for layer in layers_of(sources, strengths):
                alone = len(layer.updates) == 1 and not changes_one
                fused.setdefault(layer.component, {})[layer.path] = stack(layer.updates) if alone else rule(layer)
            return {fused_name: adapter_of(fused_name, fused, sources, recipe)}

        others = {name: adapter for name, adapter in adapters.items() if name not in strengths}
        return {**others, **remembered(recipe, sources, make)}

    return FusionPlan(adapters=names, schedule=lambda state: passes, text_passes=(passes[0].gates,), derive=derive)
