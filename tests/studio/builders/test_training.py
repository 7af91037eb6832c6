"""A builder goes on by itself where it was stopped, to the same bits, moving average and all."""

import json

import pytest
import torch

from lora_loom.pipelines.errors import TrainingError
from lora_loom.pipelines.training.loop_settings import cosine
from lora_loom.pipelines.training.machine import accelerator_for
from lora_loom.studio.builders.base import CAPTIONS, BaseObjective, Denoiser
from lora_loom.studio.builders.training import built, settings_for, write_log
from lora_loom.studio.pocket.tokenizer import new_tokenizer


def base(folder, steps, peak=1e-3):
    """Train a base on noise for `steps`; a longer run of the same rate goes on."""
    torch.manual_seed(0)
    tokenizer = new_tokenizer()
    model = Denoiser(4, 8, tokenizer)
    latents = torch.randn(6, 4, 8, 8).half()
    ids = torch.randint(3, 20, (6, CAPTIONS, tokenizer.model_max_length)).short()
    settings = settings_for(lambda step, done: 1.0, steps, None, {"peak": peak}, fused=True, max_grad_norm=1.0)
    with accelerator_for("no", "cpu") as accelerator:
        objective = BaseObjective(model, latents, ids, None, tokenizer, batch=2, peak=peak, accelerator=accelerator)
        done = built(objective, settings, accelerator, folder)
    return done, [*model.parameters(), *objective.state().values()]


@pytest.mark.long
def test_a_longer_run_goes_on_to_the_same_bits(tmp_path):
    _, whole = base(tmp_path / "whole", 3)
    base(tmp_path / "parts", 2)
    done, parts = base(tmp_path / "parts", 3)
    assert done.resumed_at == 2
    assert all(torch.equal(one, other) for one, other in zip(whole, parts, strict=True))
    write_log(tmp_path / "log.jsonl", tmp_path / "whole", tmp_path / "parts")
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["pictures"] for row in rows] == [2, 4, 6] * 2
    assert [row["loss"] for row in rows[:3]] == [row["loss"] for row in rows[3:]]
    with pytest.raises(TrainingError, match=r"peak: 0.001 then, 0.01 now"):
        base(tmp_path / "parts", 3, peak=0.01)


def test_by_the_clock_the_steps_have_no_end():
    settings = settings_for(cosine(), 10, 60.0, {})
    assert settings.steps > 10**9
    assert settings.done(10, 30.0) == 0.5
    assert settings.recorded == {"steps": 10, "seconds": 60.0}
