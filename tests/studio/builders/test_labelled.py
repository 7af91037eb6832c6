"""Labelled pictures: the same whoever draws them, true to their labels, strangers marked as other."""

from pathlib import Path

import numpy as np
import pytest

from lora_loom.studio.builders.labelled import Pool, labelled, one_picture, scene_of
from lora_loom.studio.pocket.judge import CLASSES, JUDGED, OTHER
from lora_loom.studio.pocket.world.render import render

PLAIN = Pool("plain", 5, 32)
STRANGE = Pool("strange", 5, 32, (1.0, 2.0), (1.0, 1.0, 1.0, 1.0))


def test_labels_name_the_scene() -> None:
    for i in range(8):
        scene, strangers, _ = scene_of(PLAIN, i)
        picture, labels = one_picture(PLAIN, i)
        assert not any(strangers)
        assert [CLASSES[f][k] for f, k in zip(JUDGED, labels, strict=True)] == [getattr(scene, f) for f in JUDGED]
        assert np.array_equal(picture, np.round(render(scene, 32).image * 255).astype(np.uint8))


def test_strangers_are_other_and_look_different() -> None:
    for i in range(4):
        scene, _, _ = scene_of(STRANGE, i)
        picture, labels = one_picture(STRANGE, i)
        said = {f: CLASSES[f][k] for f, k in zip(JUDGED, labels, strict=True)}
        assert [said[f] for f in ("subject", "colour", "background", "style")] == [OTHER] * 4
        assert said["accessory"] == scene.accessory
        assert np.abs(picture - render(scene, 32).image * 255).mean() > 4


@pytest.mark.long
def test_two_processes_draw_what_one_draws_and_the_disk_keeps_it(tmp_path: Path) -> None:
    pictures, labels = labelled(tmp_path / "one", PLAIN, 6)
    many, same = labelled(tmp_path / "two", PLAIN, 6, workers=2)
    assert np.array_equal(pictures, many)
    assert np.array_equal(labels, same)
    before = (tmp_path / "one" / "plain_6_pictures.npy").stat().st_mtime_ns
    assert np.array_equal(labelled(tmp_path / "one", PLAIN, 6)[0], pictures)
    assert (tmp_path / "one" / "plain_6_pictures.npy").stat().st_mtime_ns == before
