"""Measures of likeness: CLIP-I and DINO, diversity, and the distance to the nearest training picture."""

import numpy as np
import pytest

from lora_loom.studio.evaluation.metrics.clip_i import ClipImageSimilarity
from lora_loom.studio.evaluation.metrics.dino import DinoSimilarity
from lora_loom.studio.evaluation.metrics.diversity import Diversity
from lora_loom.studio.evaluation.metrics.nearest_training_image import NearestTrainingImage, nearest
from lora_loom.studio.evaluation.vectors import unit


def noise(n, d=16, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


@pytest.mark.parametrize("kind", [ClipImageSimilarity, DinoSimilarity])
def test_the_mean_pairwise_cosine(feed, kind):
    x, y = noise(9) + 1, noise(7, seed=1) + 1
    result = feed(kind, x, y).compute()[0]
    assert result.value == pytest.approx(float((unit(x) @ unit(y).T).mean()), abs=1e-6)
    assert "copy" in result.warnings[0]


def test_diversity_within_prompts(feed):
    x = noise(12)
    clusters = [f"prompt {i // 3}" for i in range(12)]
    result = feed(Diversity, x, clusters=clusters).compute()[0]
    pairs = [1 - unit(x)[i] @ unit(x)[j] for i in range(12) for j in range(i) if clusters[i] == clusters[j]]
    assert result.value == pytest.approx(np.mean(pairs), abs=1e-6)
    assert result.variant == "within prompts"


def test_diversity_without_prompts_is_over_all_pairs(feed):
    x = noise(10)
    result = feed(Diversity, x).compute()[0]
    pairs = [1 - unit(x)[i] @ unit(x)[j] for i in range(10) for j in range(i)]
    assert result.value == pytest.approx(np.mean(pairs), abs=1e-6)
    assert result.variant == "all pairs"
    assert feed(Diversity, np.tile(x[:1], (8, 1))).compute()[0].value == pytest.approx(0, abs=1e-6)


def test_a_prompt_with_one_picture_has_no_say_and_is_told(feed):
    result = feed(Diversity, noise(5), clusters=["a", "a", "b", "b", "c"]).compute()[0]
    assert result.n == 4
    assert result.warnings == ("1 prompts have one picture and no say",)


def test_copies_are_found_and_new_pictures_are_not(feed):
    training = noise(300, d=6)
    new = {r.metric: r for r in feed(NearestTrainingImage, noise(200, d=6, seed=1), training).compute()}
    copied = {r.metric: r for r in feed(NearestTrainingImage, training[:50] * 1.001, training).compute()}
    assert new["copies"].value < 0.05
    assert copied["copies"].value == 1
    assert copied["nearest_training_image"].value == pytest.approx(0, abs=1e-6)


def test_nearest_by_its_definition():
    x, y = unit(noise(5)), unit(noise(8, seed=1))
    assert nearest(x, y) == pytest.approx((1 - x @ y.T).min(1))
    own = 1 - y @ y.T + np.diag([9.0] * 8)
    assert nearest(y, y, skip_self=True) == pytest.approx(own.min(1))
