"""The pocket world draws what its scenes say, always the same, and no two named scenes alike."""

import numpy as np
import pytest

from lora_loom.studio.pocket.world.captions import (
    HELD_TRIGGERS,
    RESERVED_TOKENS,
    caption,
    later_words,
    training_caption,
    vocabulary,
)
from lora_loom.studio.pocket.world.creatures import CREATURES, draw_creature, random_creature
from lora_loom.studio.pocket.world.objects import OBJECTS
from lora_loom.studio.pocket.world.render import PLACE_X, SUBJECT_SIZE, render
from lora_loom.studio.pocket.world.scene import (
    COMPANIONS,
    FACTORS,
    HELD,
    HELD_CHARACTERS,
    HELD_OBJECTS,
    PLACES,
    SUBJECTS,
    WITHHELD_PAIRS,
    Scene,
    is_withheld,
    posed,
    sample_scene,
)

SCENE = Scene("cat", "red", "striped", "hat", "meadow", "flat", variation=3)


def test_same_scene_gives_same_pixels() -> None:
    assert np.array_equal(render(SCENE).image, render(SCENE).image)


def test_no_two_values_of_a_factor_draw_the_same(subtests: pytest.Subtests) -> None:
    for factor in list(FACTORS):
        with subtests.test(factor=factor):
            values = (*FACTORS[factor], *HELD.get(factor, ()))
            pictures = [render(Scene(**{**SCENE.named(), factor: value}, variation=3), 32).image for value in values]
            for i, a in enumerate(pictures):
                for b in pictures[:i]:
                    assert np.abs(a - b).mean() > 0.002


def test_any_size_draws_the_same_scene(subtests: pytest.Subtests) -> None:
    for size in [48, 64, 128]:
        with subtests.test(size=size):
            small, large = render(SCENE, 64).image, render(SCENE, size)
            assert large.image.shape == (size, size, 3)
            assert abs(large.image.mean() - small.mean()) < 0.02
            assert 0.05 < large.subject.mean() < 0.6
            assert large.accessory.any()
            assert not (large.accessory & ~large.subject).any()


def test_unknown_value_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"colour must be one of red.*got 'beige'"):
        Scene("cat", colour="beige")


def test_withheld_pairs_are_fifteen_percent_and_spread(subtests: pytest.Subtests) -> None:
    for pair in list(WITHHELD_PAIRS):
        with subtests.test(pair=pair):
            first, second = (FACTORS[f] for f in pair)
            withheld = WITHHELD_PAIRS[pair]
            assert abs(len(withheld) / (len(first) * len(second)) - 0.15) < 0.02
            for value in first:
                assert sum(a == value for a, _ in withheld) <= len(second) // 2
            for value in second:
                assert sum(b == value for _, b in withheld) <= len(first) // 2


def test_sampled_scenes_keep_to_their_side() -> None:
    rng = np.random.default_rng(0)
    assert not any(is_withheld(sample_scene(rng)) for _ in range(300))
    assert all(is_withheld(sample_scene(rng, withheld=True)) for _ in range(50))


def test_base_scenes_never_show_held_values() -> None:
    rng = np.random.default_rng(1)
    held = {value for values in HELD.values() for value in values}
    assert not any(held & set(sample_scene(rng).named().values()) for _ in range(300))


def test_every_caption_word_is_known() -> None:
    rng, known = np.random.default_rng(2), {*vocabulary(), *later_words(), *HELD_TRIGGERS, *RESERVED_TOKENS, ""}
    for _ in range(500):
        words = training_caption(sample_scene(rng), rng).replace(",", " ").split()
        assert set(words) <= known


def test_captions_vary_and_the_plain_one_names_every_factor() -> None:
    rng = np.random.default_rng(3)
    assert caption(SCENE) == "a red striped cat wearing a hat in a meadow, flat art"
    assert len({caption(SCENE, rng) for _ in range(100)}) > 30


def test_neutral_triggers_are_rare_but_present() -> None:
    rng = np.random.default_rng(4)
    triggers = {*HELD_TRIGGERS, *RESERVED_TOKENS}
    with_trigger = [bool(triggers & set(training_caption(sample_scene(rng), rng).split())) for _ in range(3000)]
    assert 0.035 < np.mean(with_trigger) < 0.075


def test_grammar_draws_creatures_beyond_the_named_ones() -> None:
    rng = np.random.default_rng(5)
    strangers = {random_creature(rng) for _ in range(200)}
    assert len(strangers) > 150
    assert not strangers & set(CREATURES.values())
    assert np.isfinite(render(SCENE, 64, next(iter(strangers))).image).all()


@pytest.mark.long
def test_companions_stay_inside_and_leave_every_face_free(subtests: pytest.Subtests) -> None:
    for place in PLACES:
        for companion in [*COMPANIONS[1:], *HELD_OBJECTS]:
            with subtests.test(place=place, companion=companion):
                axis = np.zeros((1, 1), np.float32)
                for i, subject in enumerate((*SUBJECTS, *HELD_CHARACTERS)):
                    scene = posed(Scene(subject, place=place, companion=companion), np.random.default_rng((6, i)))
                    mask = render(scene, 64).companion
                    assert 0.015 < mask.mean() < 0.1
                    assert not np.concatenate((mask[0], mask[-1], mask[:, 0], mask[:, -1])).any()
                    creature = CREATURES.get(subject)
                    _, at = draw_creature(creature, axis, axis) if creature else OBJECTS[subject](axis, axis)
                    size, tilt = SUBJECT_SIZE * scene.scale, scene.tilt
                    x = PLACE_X[place] + scene.x + size * (at.eyes[0] * np.cos(tilt) - at.eyes[1] * np.sin(tilt))
                    y = 0.08 + scene.y + size * (at.eyes[1] * np.cos(tilt) + at.eyes[0] * np.sin(tilt))
                    v, u = np.meshgrid((np.arange(64) + 0.5) / 32 - 1, (np.arange(64) + 0.5) / 32 - 1, indexing="ij")
                    face = (np.abs(u - x) < (at.eye_gap + 0.12) * size) & (v > y - 0.14 * size) & (v < y + 0.36 * size)
                    assert face.any()
                    assert not (face & mask).any()


def test_a_companion_stands_opposite_its_subject_and_on_both_sides_of_a_central_one() -> None:
    def side(place: str, variation: int) -> float:
        mask = render(Scene("cat", place=place, companion="gift", variation=variation), 32).companion
        return float(np.sign(mask.nonzero()[1].mean() - 15.5))

    assert {side("left", i) for i in range(6)} == {1.0}
    assert {side("right", i) for i in range(6)} == {-1.0}
    assert {side("centre", i) for i in range(6)} == {-1.0, 1.0}


def test_held_objects_are_companions_with_their_trigger_before_a_class_word() -> None:
    words = caption(Scene("cat", companion="boat"))
    assert words == "a red cat with a boat thing beside it on paper, flat art"
    assert caption(Scene("cat", companion="apple")) == "a red cat with an apple beside it on paper, flat art"
