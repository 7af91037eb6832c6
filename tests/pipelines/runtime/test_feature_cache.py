"""A replay at the step it was recorded is the full pass; later it is the shallow layers around kept features."""

import pytest
import torch

from lora_loom.pipelines.errors import BaseModelError
from lora_loom.pipelines.methods.delta_sum import DeltaSum
from lora_loom.pipelines.plan import FusionPlan, Pass, Replay
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.runtime.fused import fused
from lora_loom.pipelines.runtime.replay_cost import pass_costs
from lora_loom.pipelines.runtime.shallow import joined, shallow_of, split, standing_in
from lora_loom.studio.bench.counting import count

FOX, INK = {"fox": 0.9}, {"ink": 0.5}


def calls_of(pipe, draw, **call):
    """The arguments of every call a run makes to its denoiser."""
    met = []

    def schedule(state):
        return (Pass({}),)

    with fused(pipe, FusionPlan((), schedule, ({},)), {}) as run:
        answer = run._run
        run._run = lambda passes, call: met.append(dict(call.arguments)) or answer(passes, call)
        draw(pipe, **call)
    return met


def model_of(pipe):
    return getattr(pipe, "unet", None) or pipe.transformer


def stacked(prediction):
    return torch.stack(prediction) if isinstance(prediction, list) else prediction


def forwards(model):
    return {path: vars(module).get("forward") for path, module in model.named_modules()}


@pytest.mark.parametrize("branch", [0, 1])
@pytest.mark.parametrize("width", [64, 96])
def test_replaying_what_was_recorded_is_the_full_pass(pipe, draw, branch, width):
    model, call = model_of(pipe), calls_of(pipe, draw, num_inference_steps=1, width=width)[0]
    shallow, features, before = shallow_of(model, branch), {}, forwards(model)
    with torch.no_grad():
        plain = stacked(model(**call)[0])
        with shallow.recording(features):
            recorded = stacked(model(**call)[0])
        with shallow.replaying(features):
            replayed = stacked(model(**call)[0])
    assert torch.equal(recorded, plain)
    assert torch.equal(replayed, plain)
    assert forwards(model) == before


@pytest.mark.parametrize("branch", [0, 1])
def test_residuals_of_a_t2i_adapter_are_replayed_with_the_rest(pipes, draw, branch):
    unet, call = pipes("sd15").unet, calls_of(pipes("sd15"), draw, num_inference_steps=1)[0]
    batch, _, height, width = call["sample"].shape
    generator = torch.Generator().manual_seed(3)
    residuals = [
        torch.randn(batch, channels, height >> level, width >> level, generator=generator)
        for level, channels in enumerate(unet.config.block_out_channels)
    ]
    shallow, features = shallow_of(unet, branch), {}

    def predicted():
        return unet(**call, down_intrablock_additional_residuals=[each.clone() for each in residuals])[0]

    with torch.no_grad():
        without, plain = unet(**call)[0], predicted()
        with shallow.recording(features):
            predicted()
        with shallow.replaying(features):
            replayed = predicted()
        assert torch.equal(predicted(), plain)  # nothing of the replay is left behind
    assert torch.equal(replayed, plain)
    assert not torch.equal(plain, without)


def test_a_replay_at_another_step_sees_the_new_sample(pipe, draw, error_of):
    model, (first, second, *_) = model_of(pipe), calls_of(pipe, draw)
    shallow, features = shallow_of(model, 0), {}
    with torch.no_grad():
        with shallow.recording(features):
            old = stacked(model(**first)[0])
        with shallow.replaying(features):
            replayed = stacked(model(**second)[0])
        new = stacked(model(**second)[0])
    assert error_of(replayed, old) > 1e-3
    assert error_of(replayed, new) > 1e-6


def test_passes_replay_from_their_own_features(pipe, adapters, draw, error_of, per_call):
    """Two adapters as one batch are recorded and replayed as two passes alone."""

    def replayed(*gates):
        seen = []

        def schedule(state):
            return [Pass(each, reuse="replay" if state.index else "full") for each in gates]

        def combine(predictions):
            seen.append(predictions.noise_preds)
            return predictions.noise_preds[0]

        plan = FusionPlan(("fox", "ink"), schedule, gates, combine, replay=Replay(branch=0, max_age=9))
        with fused(pipe, plan, adapters) as run:
            draw(pipe, num_inference_steps=2)
        assert per_call(run.passes) == {"full": len(gates), "replay": len(gates)}
        return seen

    both, fox, ink = replayed(FOX, INK), replayed(FOX), replayed(INK)
    assert error_of(both[0][1], ink[0][0]) <= 1e-5
    assert error_of(both[1][0], fox[1][0]) <= 1e-5


@pytest.mark.parametrize(
    ("max_age", "passes"), [(1, {"full": 2, "replay": 2}), (2, {"full": 2, "replay": 2}), (3, {"full": 1, "replay": 3})]
)
def test_features_are_not_replayed_beyond_their_age(pipes, three_adapters, draw, max_age, passes):
    pipe = pipes("sd15")
    plan = FusionPlan(("fox",), lambda state: (Pass(FOX, reuse="replay"),), (FOX,), replay=Replay(0, max_age))
    with fused(pipe, plan, three_adapters("sd15")) as run:
        draw(pipe, num_inference_steps=4)
        assert run.passes == passes
        draw(pipe, num_inference_steps=4)  # nothing is left of the first run
    assert run.passes == {kind: 2 * count for kind, count in passes.items()}


def test_another_strength_or_shape_has_other_features(pipes, three_adapters, draw):
    pipe = pipes("sd15")

    def weaker(state):
        return (Pass({"fox": 1 - state.index / 10}, text_gates={}, reuse="replay"),)

    with fused(pipe, FusionPlan(("fox",), weaker, ({},), replay=Replay(0, 9)), three_adapters("sd15")) as run:
        draw(pipe)
    assert run.passes == {"full": 3}


def test_the_model_is_restored_when_a_replay_fails(pipe, draw):
    model = model_of(pipe)
    before = forwards(model)

    def stop(forward):
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"), standing_in({model: stop}):
        model()
    assert forwards(model) == before


def test_features_split_and_join_by_pass():
    features = {"deep": torch.arange(12.0).view(6, 2)}
    parts = split(features, 3)
    assert [len(each["deep"]) for each in parts] == [2, 2, 2]
    assert torch.equal(joined(parts)["deep"], features["deep"])


def test_a_model_without_blocks_is_refused():
    with pytest.raises(BaseModelError, match="cannot be kept"):
        shallow_of(torch.nn.Linear(2, 2), 0)


def test_the_cost_of_a_replay_is_counted_without_weights(pipe, draw):
    model, call = model_of(pipe), calls_of(pipe, draw, num_inference_steps=1)[0]
    costs = [pass_costs(model, Replay(branch, 9), call) for branch in (0, 1)]
    assert 0 < costs[0].replayed <= costs[1].replayed < 1
    assert {each.full for each in costs} == {1.0}
    assert pass_costs(model, Replay(0, 5), call) == costs[0]


@pytest.mark.parametrize("family", ["sd15", "flux"])
def test_each_pass_pays_for_all_adapters_side_by_side(pipe, adapters, draw):
    model, call = model_of(pipe), calls_of(pipe, draw, num_inference_steps=1)[0]
    bare, chosen = pass_costs(model, Replay(0, 9), call), [adapters["fox"], adapters["ink"]]
    found = pass_costs(model, Replay(0, 9), call, chosen)
    base = count(lambda: model(**call)).flops
    with fused(pipe, DeltaSum().plan([AdapterChoice("fox"), AdapterChoice("ink")], 1), adapters) as run:
        answer, spent = run._run, []

        def counted(passes, call):
            answered = []
            spent.append(count(lambda: answered.append(answer(passes, call))).flops / len(passes))
            return answered[0]

        run._run = counted
        draw(pipe, num_inference_steps=1)
    assert found.full == pytest.approx(spent[0] / base, rel=0.03)
    assert bare.replayed < found.replayed < found.full
