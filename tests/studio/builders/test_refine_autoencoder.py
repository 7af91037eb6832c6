"""An autoencoder that is trained on gets better, stays near the old latents, and goes on after an interruption."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lora_loom.pipelines.training.machine import accelerator_for
from lora_loom.studio.builders.autoencoder import finish, new_autoencoder, psnr
from lora_loom.studio.builders.refine_autoencoder import RefinementObjective, drift, grown, refinement
from lora_loom.studio.builders.training import built


@pytest.fixture
def pictures() -> np.ndarray:
    """Pictures of one colour each, uint8 [n h w 3]."""
    return np.random.default_rng(0).integers(0, 255, (6, 1, 1, 3), np.uint8).repeat(32, 1).repeat(32, 2)


def refined(pictures: np.ndarray, steps: int, anchor: float, path: Path):
    torch.manual_seed(0)
    vae = new_autoencoder(8, 8, 4)
    old = new_autoencoder(8, 8, 4)
    old.load_state_dict(vae.state_dict())
    shown = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    settings = refinement(steps, None, {"anchor": anchor}, every=10)
    with accelerator_for("no", "cpu") as accelerator:
        objective = RefinementObjective(vae, old, shown, pictures, 4, anchor, accelerator)
        built(objective, settings, accelerator, path)
    return vae, old


@pytest.mark.long
def test_it_gets_better_and_a_strong_anchor_holds_the_latents(pictures: np.ndarray, tmp_path: Path) -> None:
    loose, old = refined(pictures, 40, 0.0, tmp_path / "loose")
    held, _ = refined(pictures, 40, 100.0, tmp_path / "held")
    assert psnr(loose, pictures) > psnr(old, pictures)
    assert drift(held, old, pictures) < drift(loose, old, pictures)
    assert drift(old, old, pictures) == 0


def test_an_interrupted_run_goes_on(pictures: np.ndarray, tmp_path: Path) -> None:
    refined(pictures, 10, 0.1, tmp_path)
    refined(pictures, 20, 0.1, tmp_path)
    log = (tmp_path / "metrics.jsonl").read_text()
    assert log.count('"step": 10,') == 1
    assert log.count('"step": 20,') == 1


def test_what_is_finished_keeps_the_scaling_factor(pictures: np.ndarray, tmp_path: Path) -> None:
    vae = new_autoencoder(8, 8, 4)
    finish(vae, pictures, tmp_path, rescale=False)
    assert vae.config.scaling_factor == new_autoencoder(8, 8, 4).config.scaling_factor
    finish(vae, pictures, tmp_path, rescale=True)
    assert (tmp_path / "vae" / "config.json").exists()
    assert vae.config.scaling_factor != new_autoencoder(8, 8, 4).config.scaling_factor


def test_more_blocks_change_nothing_until_they_learn(pictures: np.ndarray) -> None:
    vae = new_autoencoder(8, 8, 4)
    more = grown(vae, (2, 1, 3, 5), (4, 3, 2, 2))
    assert more.config.num_encoder_blocks == (2, 1, 3, 5)
    assert sum(p.numel() for p in more.parameters()) > sum(p.numel() for p in vae.parameters())
    assert drift(more, vae, pictures) == 0
    assert psnr(more, pictures) == psnr(vae, pictures)


def test_blocks_cannot_be_taken_away() -> None:
    with pytest.raises(ValueError, match="does not extend"):
        grown(new_autoencoder(8, 8, 4), (1, 1, 2, 2), None)
