"""A checkpoint comes back bit for bit, and is refused where it belongs to something else."""

from dataclasses import replace

import pytest
import torch

from lora_loom.pipelines.errors import TrainingError
from lora_loom.pipelines.training.checkpoint import (
    Checkpoint,
    check_data,
    check_settings,
    load_checkpoint,
    save_checkpoint,
)
from lora_loom.pipelines.training.settings import LoraTraining

SETTINGS = LoraTraining(steps=10, sample_prompts=("a", "b"))


def checkpoint(settings=SETTINGS):
    return Checkpoint(
        step=4,
        weights={"unet.a:b": torch.randn(3, 2)},
        moments={"unet.a:b/exp_avg": torch.randn(3, 2), "unet.a:b/step": torch.tensor(4.0)},
        generators={"cpu": torch.get_rng_state()},
        state={"latents": torch.zeros(0, 4, 2, 2)},
        losses=(0.1, 1 / 3),
        scaler=None,
        settings=settings.to_dict(),
        fingerprint="abc",
    )


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path):
    saved = checkpoint()
    save_checkpoint(tmp_path / "latest.checkpoint", saved)
    loaded = load_checkpoint(tmp_path / "latest.checkpoint")
    for group in ("weights", "moments", "generators", "state"):
        before, after = getattr(saved, group), getattr(loaded, group)
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
    assert (loaded.step, loaded.losses, loaded.fingerprint) == (4, (0.1, 1 / 3), "abc")
    check_settings(loaded, SETTINGS, tmp_path)


def test_a_missing_checkpoint_says_what_to_do(tmp_path):
    with pytest.raises(TrainingError, match="nothing to resume"):
        load_checkpoint(tmp_path / "latest.checkpoint")


@pytest.mark.parametrize("length", [0, 100, 3000])
def test_a_damaged_checkpoint_is_refused(tmp_path, length):
    path = tmp_path / "latest.checkpoint"
    save_checkpoint(path, checkpoint())
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(TrainingError, match="is not a checkpoint"):
        load_checkpoint(path)


def test_changed_settings_are_named_with_both_values(tmp_path):
    changed = replace(SETTINGS, rank=4, learning_rate=1e-3, save_every=5)
    with pytest.raises(TrainingError, match=r"rank: 8 then, 4 now; learning_rate: 0.0001 then, 0.001 now\."):
        check_settings(checkpoint(), changed, tmp_path)


def test_what_no_weight_depends_on_may_change(tmp_path):
    check_settings(checkpoint(), replace(SETTINGS, save_every=5, sample_every=2, sample_prompts=(), steps=20), tmp_path)


def test_a_cosine_cannot_be_made_longer(tmp_path):
    cosine = replace(SETTINGS, schedule="cosine")
    with pytest.raises(TrainingError, match="steps: 10 then, 20 now"):
        check_settings(checkpoint(cosine), replace(cosine, steps=20), tmp_path)


def test_a_checkpoint_past_the_end_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="already past the end"):
        check_settings(checkpoint(), replace(SETTINGS, steps=3), tmp_path)


def test_other_pictures_are_refused(tmp_path):
    check_data(checkpoint(), "abc", tmp_path)
    with pytest.raises(TrainingError, match="other pictures or captions"):
        check_data(checkpoint(), "abd", tmp_path)
