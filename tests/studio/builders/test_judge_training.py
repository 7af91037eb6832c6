"""A judge learns from a batch that is composed as it says, and its file describes it."""

import json
from pathlib import Path

import numpy as np
import torch

from lora_loom.studio.builders.judge import RECIPES, Material, Recipe, calibrated, train
from lora_loom.studio.builders.labelled import Pool, labelled
from lora_loom.studio.pocket.judge import CLASSES, JUDGED, Judge, JudgeSpec

POOL = Pool("tiny", 3, 32)
SPEC = JudgeSpec("convolutions", {"widths": (8, 8, 16, 16), "stem_stride": 2}, input_size=32)


def _material(folder: Path) -> Material:
    pictures, labels = (torch.from_numpy(np.array(a)) for a in labelled(folder, POOL, 40))
    return Material(pictures, labels, pictures[:10], 255 - pictures[:10])


def test_a_batch_holds_true_pictures_and_nothing_known(tmp_path: Path) -> None:
    x, y = _material(tmp_path).batch(64, 32, sealed=False)
    nothing = torch.tensor([len(CLASSES[f]) - 1 for f in JUDGED])
    spoilt_and_ruined = int((y == nothing).all(1).sum())
    assert x.shape == (64, 3, 32, 32)
    assert spoilt_and_ruined == int(64 * 0.05) + int(64 * 0.06)


def test_it_learns_resumes_and_its_file_describes_it(tmp_path: Path) -> None:
    recipe = Recipe(POOL, 40, SPEC, seed=0, peak=3e-3, batch=24)
    data, folder = _material(tmp_path), tmp_path / "judge.training"
    network = train(recipe, data, folder, 30)
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    again = train(recipe, data, folder, 30)  # nothing left to do
    assert (folder / "metrics.jsonl").read_text().splitlines() == lines
    assert [json.loads(line)["pictures"] for line in lines] == [30 * 24]
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))

    pictures, labels = labelled(tmp_path, POOL, 40)
    judge = calibrated(Judge(network, SPEC), pictures, labels)
    judge.save(tmp_path / "judge.safetensors")
    loaded = Judge.load(tmp_path / "judge.safetensors")
    assert loaded.spec.input_size == 32
    assert loaded.spec.temperatures == judge.spec.temperatures
    for factor, p in loaded.probabilities(pictures[:5]).items():
        assert np.allclose(p, judge.probabilities(pictures[:5])[factor], atol=0.02)  # kept in half precision
        assert np.allclose(p.sum(1), 1, atol=1e-5)


def test_the_two_judges_share_neither_network_nor_pictures_nor_seed() -> None:
    one, other = RECIPES["development"], RECIPES["sealed"]
    assert one.spec.architecture != other.spec.architecture
    assert one.pool.seed != other.pool.seed
    assert one.pool.size != other.pool.size
    assert one.seed != other.seed
