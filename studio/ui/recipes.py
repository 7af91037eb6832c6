"""Example recipes: a prompt with two LoRAs of the pocket world each, one click away from a first picture."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from lora_loom.pipelines.request import AdapterChoice, GenerationRequest
from lora_loom.studio.templates import render


@dataclass(frozen=True)
class Recipe:
    title: str
    request: GenerationRequest


def _recipe(title: str, prompt: str, method: str, seed: int, *adapters: tuple[str, float]) -> Recipe:
    choices = tuple(AdapterChoice(name, strength) for name, strength in adapters)
    return Recipe(title, GenerationRequest(prompt, adapters=choices, method=method, seed=seed))


RECIPES = (
    _recipe("Bloop in neon", "a blue bloop creature at night, neon style", "merge", 7, ("bloop", 1.0), ("neon", 0.8)),
    _recipe(
        "Owlet in the city",
        "a purple owlet creature in a city place, flat art",
        "composite",
        11,
        ("owlet", 1.0),
        ("city", 1.0),
    ),
    _recipe(
        "Snorn with a crown",
        "a pink snorn creature wearing a crown in a meadow, ink drawing",
        "switch",
        3,
        ("snorn", 1.0),
        ("crown", 1.0),
    ),
)


def available(names: Collection[str]) -> list[Recipe]:
    """The recipes whose LoRAs are all in the library."""
    return [recipe for recipe in RECIPES if all(choice.name in names for choice in recipe.request.adapters)]


def recipes_view(names: Collection[str]) -> str:
    """The available recipes as buttons; nothing where there are none."""
    shown = [(RECIPES.index(recipe), recipe) for recipe in available(names)]
    return render("ui/recipes.html.j2", recipes=shown) if shown else ""
