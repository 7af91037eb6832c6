"""Features are computed once for the same pixels and the same weights, and never for others."""

import numpy as np
import pytest

from lora_loom.pipelines.errors import OutputError
from lora_loom.studio.evaluation.feature_cache import FeatureCache, default_cache, pixel_hash


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)


def test_what_is_known_is_not_computed_again(extractor, pixels, tmp_path):
    path = tmp_path / "cache" / "features.sqlite"
    with FeatureCache(path) as cache:
        first = cache.features(extractor, pixels)
    with FeatureCache(path) as cache:
        again = cache.features(extractor, pixels[::-1])
    assert extractor.seen == 5
    assert np.array_equal(first, again[::-1])
    assert np.array_equal(first, extractor.embed(pixels))


def test_equal_pictures_are_seen_once(extractor, pixels):
    FeatureCache().features(extractor, pixels[[0, 1, 0, 0]])
    assert extractor.seen == 2


def test_other_weights_are_another_extractor(extractor, pixels, monkeypatch):
    cache = FeatureCache()
    cache.features(extractor, pixels)
    monkeypatch.setattr(type(extractor), "version", "ffffffffffffffff")
    cache.features(extractor, pixels)
    assert extractor.seen == 10


def test_the_hash_tells_shapes_apart():
    assert pixel_hash(np.zeros((2, 8, 3), np.uint8)) != pixel_hash(np.zeros((4, 4, 3), np.uint8))


def test_where_it_is_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "loom" / "features.sqlite"


def test_a_place_that_cannot_hold_it(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"feature cache .* cannot be opened"):
        FeatureCache(tmp_path / "file" / "features.sqlite")
    (tmp_path / "no_database").write_text("something else" * 100)
    with pytest.raises(OutputError, match="--cache"):
        FeatureCache(tmp_path / "no_database")
