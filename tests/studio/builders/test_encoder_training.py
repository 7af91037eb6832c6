"""The encoder's material: foils say something else, the loss has its closed form, ranking counts what it should."""

import math

import numpy as np
import pytest
import torch

from lora_loom.studio.builders.encoder import captions_and_foils, configuration, contrastive_loss, foil, ranks_first
from lora_loom.studio.builders.labelled import Pool, scene_of
from lora_loom.studio.pocket.world.scene import FACTORS

POOL = Pool("plain", 9, 32)


def test_a_foil_differs_in_one_factor_and_in_words() -> None:
    for i in range(20):
        scene = scene_of(POOL, i)[0]
        other = foil(scene, np.random.default_rng(i))
        assert sum(getattr(scene, f) != getattr(other, f) for f in FACTORS) == 1
        said, foiled = captions_and_foils(scene, (1, i))
        assert said != foiled
        assert captions_and_foils(scene, (1, i)) == (said, foiled)


def test_the_loss_in_closed_form() -> None:
    one = torch.eye(4)
    assert contrastive_loss(one, one, -one, torch.tensor(0.0)) == pytest.approx((math.log(8) + math.log(4)) / 2)
    assert contrastive_loss(one, one, -one, torch.tensor(100.0)) == pytest.approx(0, abs=1e-6)


def test_ranking() -> None:
    class Reader:
        def embed_images(self, pictures):
            return np.eye(40, dtype=np.float32)

        def embed_texts(self, texts):
            vectors = np.eye(40, dtype=np.float32)
            vectors[0] = vectors[1]
            return vectors

    won = ranks_first(Reader(), np.zeros((40, 4, 4, 3), np.uint8), [f"caption {i}" for i in range(40)])
    assert won == [False, *[True] * 39]


def test_the_configuration_is_an_open_clip_model() -> None:
    pytest.importorskip("open_clip")
    from lora_loom.studio.pocket.encoder import PocketEncoder, new_model
    from lora_loom.studio.pocket.tokenizer import new_tokenizer

    tokenizer = new_tokenizer()
    config = configuration(len(tokenizer))
    assert config["text_cfg"]["eos_id"] == tokenizer.eos_token_id
    assert config["text_cfg"]["pad_id"] == tokenizer.pad_token_id
    model = new_model(config)
    assert 2 * sum(p.numel() for p in model.parameters()) < 12e6  # bytes in half precision
    encoder = PocketEncoder(model, config, "untrained")
    pictures = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    for vectors in (encoder.embed_images(pictures), encoder.embed_texts(["a red cat", "", "a blue cup at sea"])):
        assert vectors.shape == (3, 128)
        assert vectors.dtype == np.float32
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
