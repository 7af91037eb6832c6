"""The shipped encoder: its own word for a picture comes first, sizes do not matter, and what is missing is said."""

from pathlib import Path

import numpy as np
import pytest

from lora_loom.pipelines.errors import LoomError
from lora_loom.studio.builders.encoder import RANKED, ranks_first
from lora_loom.studio.builders.labelled import Pool, any_scene, one_picture, scene_of
from lora_loom.studio.pocket.encoder import FOLDER, WEIGHTS, PocketEncoder, load_encoder, shipped_encoder
from lora_loom.studio.pocket.world.captions import caption

POOL, COUNT = Pool("test_encoder", 7701, 96), 64


@pytest.fixture(scope="module")
def encoder() -> PocketEncoder:
    pytest.importorskip("open_clip")
    return shipped_encoder()


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.stack([one_picture(POOL, i)[0] for i in range(COUNT)])


@pytest.mark.long
def test_the_right_caption_is_first_among_32(encoder: PocketEncoder, pictures: np.ndarray) -> None:
    captions = [caption(scene_of(POOL, i)[0]) for i in range(COUNT)]
    assert RANKED == 32
    assert np.mean(ranks_first(encoder, pictures, captions)) >= 0.9
    shuffled = captions[1:] + captions[:1]
    assert np.mean(ranks_first(encoder, pictures, shuffled)) <= 0.2


def test_embeddings_are_unit_vectors_of_any_size(encoder: PocketEncoder, pictures: np.ndarray) -> None:
    vectors = encoder.embed_images(pictures[:8])
    assert vectors.shape == (8, encoder.dim)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    half = encoder.embed_images(pictures[:8, ::2, ::2])
    assert (vectors * half).sum(1).mean() > (vectors * half[::-1]).sum(1).mean() + 0.2
    assert encoder.embed_images(pictures[:0]).shape == (0, encoder.dim)
    assert encoder.embed_texts([]).shape == (0, encoder.dim)


def test_a_caption_of_another_colour_is_further_away(encoder: PocketEncoder, pictures: np.ndarray) -> None:
    scene = any_scene(np.random.default_rng(5), 1.0)
    words = caption(scene)
    near, far = encoder.embed_texts([words, words.replace(scene.colour, "green" if scene.colour != "green" else "red")])
    assert near @ far < 0.95


def test_it_is_small_and_its_version_is_of_its_weights(encoder: PocketEncoder) -> None:
    assert (FOLDER / WEIGHTS).stat().st_size <= 12_000_000
    assert len(encoder.version) == 12


def test_a_folder_without_an_encoder_is_named(tmp_path: Path) -> None:
    with pytest.raises(LoomError, match="no pocket encoder"):
        load_encoder(tmp_path)
