"""The loop, shown on the smallest objective: a linear regression, whose answer has a closed form."""

import json

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from lora_loom.pipelines.errors import CancelledError, TrainingError
from lora_loom.pipelines.training.draws import generator_for
from lora_loom.pipelines.training.loop import train
from lora_loom.pipelines.training.loop_settings import LoopSettings, cosine
from lora_loom.pipelines.training.machine import accelerator_for
from lora_loom.pipelines.training.objective import Objective, ParameterGroup
from lora_loom.pipelines.training.run_folder import RunFolder

ROWS, WIDTH = 64, 3


class Regression(Objective):
    """Weights w and a bias b that bring x w + b nearest to y; `mean` is an average of w over the updates."""

    fingerprint = "regression"

    def __init__(self, batch=ROWS, rate=0.1):
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(ROWS, WIDTH, generator=generator)
        self.y = self.x @ torch.tensor([1.0, -2.0, 0.5]) + 3.0 + 0.1 * torch.randn(ROWS, generator=generator)
        self.w, self.b = nn.Parameter(torch.zeros(WIDTH)), nn.Parameter(torch.zeros(()))
        self.mean = torch.zeros(WIDTH)
        self.batch, self.rate = batch, rate

    def groups(self):
        return [ParameterGroup({"w": self.w}, self.rate), ParameterGroup({"b": self.b}, 2 * self.rate)]

    def batches(self, passes):
        for number in passes.numbered:
            order = torch.randperm(ROWS, generator=generator_for(0, "rows", number * self.batch // ROWS))
            first = number * self.batch % ROWS
            yield order[first : first + self.batch]

    def loss(self, batch):
        return (self.x[batch] @ self.w + self.b - self.y[batch]).square().mean()

    def updated(self):
        self.mean = 0.9 * self.mean + 0.1 * self.w.detach()

    def numbers(self, step):
        return {"bias": float(self.b.detach())}

    def sample(self):
        return Image.new("L", (1, 1))

    def snapshot_name(self, step):
        return f"weights-{step}.safetensors"

    def export(self, path, at):
        save_file({"w": self.w.detach(), "b": self.b.detach(), "mean": self.mean}, path)

    def state(self):
        return {"mean": self.mean}

    def restore(self, state):
        self.mean = state["mean"]


def settings(**how):
    return LoopSettings(**{"steps": 12, "schedule": cosine(), "recorded": {"kind": "regression"}, **how})


def run(objective, folder=None, **how):
    hooks = {name: how.pop(name) for name in ("checkpoint", "on_step", "cancelled") if name in how}
    with accelerator_for("no", "cpu") as accelerator:
        return train(objective, settings(**how), accelerator, folder, **hooks)


def weights(objective):
    return torch.cat([objective.w.detach(), objective.b.detach()[None], objective.mean])


def rows(folder):
    return [json.loads(line) for line in folder.metrics.read_text().splitlines()]


def test_it_finds_the_closed_form():
    objective = Regression()
    done = run(objective, steps=300)
    x = torch.cat([objective.x, torch.ones(ROWS, 1)], dim=1)
    expected = torch.linalg.lstsq(x, objective.y[:, None]).solution[:, 0]
    torch.testing.assert_close(weights(objective)[: WIDTH + 1], expected, atol=1e-4, rtol=1e-4)
    assert done.reached.loss == pytest.approx(float((x @ expected - objective.y).square().mean()), rel=1e-3)


@pytest.mark.parametrize("how", [{}, {"log_every": 5}, {"accumulation": 2, "weight_decay": 0.1, "max_grad_norm": 0.5}])
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path, how):
    whole, first, second = Regression(8), Regression(8), Regression(8)
    run(whole, RunFolder(tmp_path / "whole"), **how)
    folder, asked = RunFolder(tmp_path / "parts"), []
    with pytest.raises(CancelledError, match="after step 7 of 12"):
        run(first, folder, cancelled=lambda: asked.append(0) or len(asked) == 7, **how)
    done = run(second, folder, checkpoint=folder.saved(settings(**how)), **how)
    assert (done.resumed_at, done.reached.step) == (7, 12)
    assert torch.equal(weights(whole), weights(second))
    if not how.get("log_every"):
        assert [row["loss"] for row in rows(folder)] == [row["loss"] for row in rows(RunFolder(tmp_path / "whole"))]


def test_accumulation_is_the_larger_batch():
    one, four = Regression(16), Regression(4)
    run(one)
    run(four, accumulation=4)
    torch.testing.assert_close(weights(one), weights(four))


def test_every_group_learns_at_its_own_rate_and_the_schedule_holds():
    objective, rates = Regression(rate=0.01), []
    run(objective, steps=1, schedule=lambda step, done: 0.5, on_step=lambda at: rates.append(at.learning_rate))
    assert rates == [0.005]
    assert objective.w.abs().detach() == pytest.approx(torch.full((WIDTH,), 0.005))  # Adam's first step is the rate
    assert float(objective.b.abs().detach()) == pytest.approx(0.01)


def test_what_is_due_is_written(tmp_path):
    folder = RunFolder(tmp_path / "run")
    objective = Regression()
    run(objective, folder, steps=7, log_every=3, save_every=2, sample_every=4)
    found = rows(folder)
    assert [row["step"] for row in found] == [2, 3, 4, 6, 7]  # what is saved is looked at before
    assert all(row["bias"] != 0 for row in found)
    assert sorted(path.name for path in folder.path.glob("weights*")) == [f"weights-{k}.safetensors" for k in (2, 4, 6)]
    assert sorted(path.name for path in (folder.path / "samples").iterdir()) == ["step-000000.png", "step-000004.png"]
    assert load_file(folder.path / "weights-6.safetensors").keys() == {"w", "b", "mean"}


def test_a_line_of_the_log_is_the_mean_since_the_line_before(tmp_path):
    each, every_third = RunFolder(tmp_path / "each"), RunFolder(tmp_path / "third")
    run(Regression(8), each, steps=6)
    run(Regression(8), every_third, steps=6, log_every=3)
    losses = [row["loss"] for row in rows(each)]
    expected = [sum(losses[:3]) / 3, sum(losses[3:]) / 3]
    assert [row["loss"] for row in rows(every_third)] == pytest.approx(expected)


@pytest.mark.parametrize("log_every", [1, 10])
def test_a_loss_that_is_not_finite_replaces_no_checkpoint(tmp_path, log_every):
    folder, objective = RunFolder(tmp_path / "run"), Regression()
    run(objective, folder, steps=2)
    objective.y = objective.y * float("nan")
    how = {"steps": 8, "log_every": log_every, "save_every": 4}
    with pytest.raises(TrainingError, match="not finite"):
        run(objective, folder, checkpoint=folder.saved(settings(**how)), **how)
    assert folder.saved(settings(**how)).step == 2
    assert bool(torch.isfinite(objective.w).all()) == (log_every == 1)  # refused before the update where it is seen


def test_a_run_that_is_over_is_not_trained_again(tmp_path):
    folder, objective = RunFolder(tmp_path / "run"), Regression()
    run(objective, folder)
    again = Regression()
    done = run(again, folder, checkpoint=folder.saved(settings()))
    assert (done.resumed_at, done.reached.step) == (12, 12)
    assert torch.equal(weights(objective), weights(again))
    assert len(rows(folder)) == 12


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    folder, other = RunFolder(tmp_path / "run"), Regression()
    run(Regression(), folder)
    other.fingerprint = "other rows"
    with pytest.raises(TrainingError, match="other pictures or captions"):
        run(other, folder, checkpoint=folder.saved(settings()))
    with pytest.raises(TrainingError, match="kind: regression then, ridge now"):
        folder.saved(settings(recorded={"kind": "ridge"}))


def test_without_a_folder_a_stopped_run_does_not_claim_to_be_saved():
    with pytest.raises(CancelledError) as stopped:
        run(Regression(), cancelled=lambda: True)
    assert "saved" not in str(stopped.value)


def test_a_run_may_end_by_the_clock(monkeypatch, tmp_path):
    ticks = iter(range(10_000))
    monkeypatch.setattr("lora_loom.pipelines.training.loop.time.perf_counter", lambda: float(next(ticks)))
    folder, shares = RunFolder(tmp_path / "run"), []
    run(Regression(), folder, steps=10**6, seconds=60.0, schedule=lambda step, done: shares.append(done) or 1.0)
    assert shares == sorted(shares)
    assert shares[-1] < 1.0
    assert folder.saved(settings(steps=10**6, seconds=60.0)).seconds >= 60.0
