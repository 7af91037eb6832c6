"""The example recipes: made of what the pocket world has, in words that it knows."""

import pytest

from lora_loom.pipelines.registry import methods
from lora_loom.studio.pocket.concepts import CONCEPTS
from lora_loom.studio.ui.recipes import RECIPES, available, recipes_view
from lora_loom.studio.words import Vocabulary


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.title)
def test_a_recipe_composes_two_pocket_loras_in_known_words(recipe, tiny_pocket):
    names = [choice.name for choice in recipe.request.adapters]
    assert len(names) == 2
    assert set(names) <= set(CONCEPTS)
    assert all(name in recipe.request.prompt.split() for name in names)
    assert Vocabulary.of_base(tiny_pocket).unknown(recipe.request.prompt) == []


def test_the_recipes_show_every_method():
    assert {recipe.request.method for recipe in RECIPES} <= set(methods())
    assert len({recipe.request.method for recipe in RECIPES}) == 3


def test_only_recipes_whose_loras_are_there_are_offered():
    assert available(set()) == []
    assert recipes_view({"bloop"}) == ""
    names = {choice.name for choice in RECIPES[0].request.adapters}
    assert available(names) == [RECIPES[0]]
    assert RECIPES[0].title in recipes_view(names)
