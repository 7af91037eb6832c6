"""Geometry names shapes, colours and regular patterns of true pictures, and says nothing of what has none."""

import numpy as np
import pytest

from lora_loom.studio.pocket.geometry import LATTICES, colour_numbers, lab, periodicity, shows_pattern, silhouette
from lora_loom.studio.pocket.world.palette import COLOURS
from lora_loom.studio.pocket.world.render import render
from lora_loom.studio.pocket.world.scene import FACTORS, HELD, Scene


def _picture(scene: Scene, size: int = 128) -> np.ndarray:
    return np.round(render(scene, size).image * 255).astype(np.uint8)


def test_cielab_of_known_colours() -> None:
    expected = {(1, 1, 1): (100, 0, 0), (0, 0, 0): (0, 0, 0), (1, 0, 0): (53.24, 80.09, 67.20)}
    for srgb, values in expected.items():
        assert lab(np.array(srgb)) == pytest.approx(values, abs=0.1)


def test_most_pixels_of_a_thing_are_nearest_to_its_colour() -> None:
    for number, colour in enumerate(COLOURS):
        drawn = render(Scene("cat", colour, "dotted", "hat", "meadow", variation=5), 64)
        found = colour_numbers(np.round(drawn.image * 255).astype(np.uint8))[drawn.subject & ~drawn.accessory]
        assert np.bincount(found[found >= 0]).argmax() == number, colour


@pytest.mark.long
def test_the_silhouette_names_shape_and_colour(subtests: pytest.Subtests) -> None:
    for subject, colour in [("cat", "red"), ("house", "blue"), ("owlet", "green")]:
        for size in [64, 128]:
            with subtests.test(subject=subject, colour=colour, size=size):
                scene = Scene(subject, colour, background="paper", x=0.06, y=-0.05, scale=1.05, tilt=0.08)
                found = silhouette(_picture(scene, size))
                assert found is not None
                assert (found.subject, found.colour) == (subject, colour)


def test_nothing_is_said_of_noise_and_of_an_empty_picture() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    assert silhouette(noise) is None
    assert silhouette(np.full((64, 64, 3), 240, np.uint8)) is None


def test_a_pattern_is_seen_where_it_is_drawn_alone(subtests: pytest.Subtests) -> None:
    for pattern in LATTICES:
        with subtests.test(pattern=pattern):
            factor = "background" if pattern in HELD["background"] else "style"
            for variation in range(3):
                plain = Scene("cat", "blue", background="meadow", variation=variation)
                with_it = Scene(**{**plain.named(), factor: pattern}, variation=variation)
                assert shows_pattern(_picture(with_it), pattern)
                assert not shows_pattern(_picture(plain), pattern)
                assert periodicity(_picture(with_it), pattern) > periodicity(_picture(plain), pattern)


def test_lattices_are_of_values_the_world_knows() -> None:
    assert set(LATTICES) <= {*FACTORS["style"], *HELD["style"], *HELD["background"]}
