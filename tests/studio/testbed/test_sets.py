"""The sets are frozen as drawn, balanced, disjoint, and ask in words that the base and its LoRAs know."""

import json
from collections import Counter

import pytest

from lora_loom.studio.pocket.concepts import CONCEPTS, concept
from lora_loom.studio.pocket.world.captions import HELD_TRIGGERS, later_words, vocabulary
from lora_loom.studio.testbed.sets import (
    CATEGORIES,
    PATH,
    SIZES,
    TEST_SETS,
    TUNING_SETS,
    as_row,
    draw_sets,
    frozen_sets,
    sets_of,
    single_sets,
)


def test_the_frozen_list_is_the_drawn_one() -> None:
    assert list(frozen_sets()) == draw_sets()
    assert len(json.loads(PATH.read_text())) == len(SIZES) * (TEST_SETS + TUNING_SETS) + 4 * len(CONCEPTS)


def test_one_character_and_at_most_one_of_each_category(subtests: pytest.Subtests) -> None:
    for k in SIZES:
        with subtests.test(k=k):
            for part, count in (("test", TEST_SETS), ("tuning", TUNING_SETS)):
                sets = sets_of(part, [k])
                assert len(sets) == count
                for each in sets:
                    categories = [concept(name).category for name in each.members]
                    assert len(categories) == k == len(set(categories))
                    assert categories[0] == "character"
                    assert categories == sorted(categories, key=CATEGORIES.index)
                    assert each.expected == {f: v for f, v in each.scene.named().items() if v in CONCEPTS}


def test_tuning_and_test_share_no_set() -> None:
    members = [each.members for each in frozen_sets() if each.part != "single"]
    assert len(members) == len(set(members))


def test_the_loras_of_a_category_appear_about_equally_often_from_the_start(subtests: pytest.Subtests) -> None:
    for k in SIZES:
        with subtests.test(k=k):
            for at_most in (26, TEST_SETS):
                used = Counter(name for each in sets_of("test", [k], at_most) for name in each.members)
                for category in CATEGORIES:
                    counts = [used[name] for name in CONCEPTS if concept(name).category == category]
                    assert max(counts) - min(counts) <= 3


def test_prompts_use_known_words_and_every_trigger_beside_its_class_word() -> None:
    known = {*vocabulary(), *later_words(), *HELD_TRIGGERS, ""}
    for each in frozen_sets():
        words = each.prompt.replace(",", " ").split(" ")
        assert set(words) <= known
        for name in each.members:
            after = words[words.index(name) + 1] if words[-1] != name else ""
            wanted = {"character": "creature", "object": "thing", "background": "place", "style": "style"}
            assert after == wanted.get(concept(name).category, after)


def test_a_set_has_sixteen_seeds_of_its_own_that_never_change() -> None:
    first, second = sets_of("test", [3])[:2]
    assert len(set(first.seeds())) == 16
    assert not set(first.seeds()) & set(second.seeds())
    assert first.seeds(4) == first.seeds()[:4]
    assert (first.name, first.seeds(1)) == ("snorn+halftone+polka", [3710360031])


def test_single_sets_hold_every_lora_in_some_scenes() -> None:
    assert Counter(each.members[0] for each in single_sets(2)) == dict.fromkeys(CONCEPTS, 2)
    crowned = [each.scene for each in single_sets(2) if each.members == ("crown",)]
    assert crowned[0] != crowned[1]


def test_a_row_says_what_a_batch_needs() -> None:
    each = sets_of("test", [2])[0]
    row = as_row(each, [1, 2])
    assert row["loras"] == [{"name": name, "weight": 1.0} for name in each.members]
    assert (row["seeds"], row["expected"], row["prompt"]) == ([1, 2], each.expected, each.prompt)
    assert row["metadata"]["scene"]["place"] == "centre"
