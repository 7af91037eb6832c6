"""Fused adapters come back as the same objects until anything they depend on changes."""

import dataclasses

import pytest

from lora_loom.pipelines.weight_space import remember
from lora_loom.pipelines.weight_space.remember import MAX_SETS, remembered


@pytest.fixture(autouse=True)
def nothing_kept():
    remember._sets.clear()
    yield
    remember._sets.clear()


@pytest.fixture
def make():
    made = []
    return made, lambda: made.append({}) or made[-1]


def test_the_same_recipe_and_sources_give_the_same_objects(adapter, update, make):
    made, maker = make
    sources = {"fox": adapter("fox", {"a": update(0)})}
    first = remembered({"rank": 4}, sources, maker)
    again = {"fox": adapter("fox", {"a": update(0)})}  # loaded anew from the same file
    assert remembered({"rank": 4}, again, maker) is first
    assert len(made) == 1


def test_another_recipe_file_or_set_of_layers_is_made_anew(adapter, update, make):
    made, maker = make
    fox = adapter("fox", {"a": update(0)})
    remembered({"rank": 4}, {"fox": fox}, maker)
    remembered({"rank": 5}, {"fox": fox}, maker)
    remembered({"rank": 4}, {"fox": dataclasses.replace(fox, sha256="other")}, maker)
    remembered({"rank": 4}, {"fox": adapter("fox", {"a": update(0), "b": update(1)})}, maker)
    assert len(made) == 4


def test_only_so_many_are_kept(adapter, update, make):
    _, maker = make
    sources = {"fox": adapter("fox", {"a": update(0)})}
    for rank in range(MAX_SETS + 2):
        remembered({"rank": rank}, sources, maker)
    assert len(remember._sets) == MAX_SETS
