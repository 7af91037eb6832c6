"""The references, which use nothing of Loom's runtime, draw what Loom draws where both mean the same."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch

from lora_loom.pipelines.families import FusionPipeline
from lora_loom.studio.pocket import adapters_path, base_path
from lora_loom.studio.testbed.contestants import Bench, contestant
from lora_loom.studio.testbed.drawing import Drawn, Sampling
from lora_loom.studio.testbed.references import (
    REFERENCES,
    PeftBench,
    Task,
    paper_composite,
    paper_switch,
    peft_sum,
)
from lora_loom.studio.testbed.sets import LoraSet

pytestmark = pytest.mark.long

SAMPLING = Sampling(num_inference_steps=3)
SEEDS = [5, 6]
SAME: list[tuple[str, Callable[[Task], Drawn]]] = [
    ("merge", peft_sum),
    ("merge@0.8", partial(peft_sum, scale=0.8)),
    ("switch:switch_every=1", partial(paper_switch, scale=1.0, tau=1)),
    ("composite", partial(paper_composite, scale=1.0)),
]


@pytest.fixture(scope="module")
def task(bench: Bench, asked: LoraSet) -> Task:
    return Task(bench.of_peft(), asked, SEEDS, SAMPLING)


@pytest.mark.parametrize(("name", "reference"), SAME, ids=[name for name, _ in SAME])
def test_the_same_picture_within_one_grey_level(
    name: str, reference: Callable[[Task], Drawn], task: Task, bench: Bench, asked: LoraSet
) -> None:
    ours, theirs = contestant(name).draw(bench, asked, SEEDS, SAMPLING), reference(task)
    assert np.abs(ours.pictures.astype(int) - theirs.pictures).max() <= 1
    assert ours.passes == theirs.passes


def test_peft_s_merges_are_others_and_leave_nothing_behind(task: Task) -> None:
    before = peft_sum(task).pictures
    drawn = {name: REFERENCES[name](task).pictures for name in REFERENCES if name.startswith("peft")}
    for name in ("peft_linear", "peft_ties", "peft_dare_linear"):
        assert np.abs(drawn[name].astype(int) - before).mean() > 1, name
    task.bench.drop_merged()
    assert np.array_equal(peft_sum(task).pictures, before)


@pytest.mark.parametrize("kind", ["linear", "ties", "dare_linear"])
def test_peft_s_merges_take_mixed_ranks(kind: str) -> None:
    """PEFT itself refuses them. Ranks of zeros change no update: two filled LoRAs merge as two of the larger rank."""
    pipe = FusionPipeline.from_pretrained(str(base_path()))
    for name in ("owlet", "snorn"):  # of ranks 4 and 8
        pipe.load_lora_weights(str(adapters_path() / f"{name}.safetensors"), adapter_name=name)
    bench = PeftBench(pipe)
    assert {bench.unet.peft_config[name].r for name in ("owlet", "snorn")} == {4, 8}
    with pytest.raises(ValueError, match="same r value"):
        bench.unet.add_weighted_adapter(["owlet", "snorn"], [1.0, 1.0], "refused", combination_type="linear")
    sample = torch.randn(2, 8, 16, 16, generator=torch.Generator().manual_seed(0))
    states = torch.randn(2, 20, pipe.unet.config.cross_attention_dim, generator=torch.Generator().manual_seed(1))

    @torch.no_grad()
    def predicted() -> torch.Tensor:
        return bench.predict(sample, torch.tensor([500, 500]), states)

    bench.use(["owlet"])
    alone = predicted()
    bench.merged(["owlet", "snorn"], kind, 0)
    merged = predicted()
    bench.use(["owlet_of_rank_8"])
    assert torch.allclose(predicted(), alone, atol=1e-5)
    assert not torch.allclose(merged, alone, atol=1e-3)


def test_the_paper_s_switch_takes_turns_of_five_steps_at_its_own_scale(task: Task) -> None:
    turns: list[tuple[tuple[str, ...], float]] = []

    class Watched:
        pipe = task.bench.pipe

        def use(self, names: list[str], scale: float = 1.0) -> None:
            turns.append((tuple(names), scale))

        def predict(self, sample, timestep, states):
            return sample

    paper_switch(Task(Watched(), task.asked, [1], Sampling(17)))  # type: ignore[arg-type]
    assert turns == [((name,), 0.8) for name in ("owlet", "crown", "city", "owlet")]


def test_controls_and_strengths(bench: Bench, asked: LoraSet) -> None:
    short = Sampling(1)
    base, alone, merge = (contestant(n).draw(bench, asked, SEEDS, short).pictures for n in ("base", "alone.1", "merge"))
    assert np.abs(base.astype(int) - merge).mean() > 0.5
    assert np.abs(alone.astype(int) - merge).mean() > 0.5
    assert np.array_equal(contestant("merge@0").draw(bench, asked, SEEDS, short).pictures, base)
