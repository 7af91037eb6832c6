"""What every fusion method keeps on every family of base models.

A quick run has every method on a U-Net and on a transformer; the other families are marked `long`.
"""

import inspect
import json
from collections import Counter
from dataclasses import replace

import pytest
import torch

from lora_loom.pipelines.families import families
from lora_loom.pipelines.plan import StepState
from lora_loom.pipelines.registry import create, methods
from lora_loom.pipelines.request import AdapterChoice, GenerationRequest
from lora_loom.pipelines.runtime.fused import fused
from tests.pipelines.conftest import FAMILIES, QUICK

STRENGTHS = {"fox": 0.8, "ink": 0.5, "fog": 1.2}
QUICK_SETTINGS = {"switch": {"switch_every": 1}}  # settings that let a three-step run show what a method does


def pytest_generate_tests(metafunc):
    names = [name for name in ("family", "method_name") if name in metafunc.fixturenames]
    if names == ["family", "method_name"]:
        pairs = [(family, name) for family in FAMILIES for name in methods()]
        cases = [pytest.param(*pair, marks=() if pair[0] in QUICK else pytest.mark.long) for pair in pairs]
        metafunc.parametrize(names, cases, scope="module")
    elif names:
        metafunc.parametrize("method_name", list(methods()))


@pytest.fixture
def method(method_name):
    return create(method_name, QUICK_SETTINGS.get(method_name))


def calls_per_step(family):
    guidance = families()[family].guidance
    return 2 if (guidance.kind, guidance.halves) == ("classifier-free", "calls") else 1


def plan_of(method, strengths, steps=3):
    return method.plan([AdapterChoice(*each) for each in strengths.items()], steps)


@pytest.fixture
def fuse(pipe, adapters, draw):
    def run(method, strengths, pipe=pipe, **call):
        with fused(pipe, plan_of(method, strengths), adapters):
            return draw(pipe, **call)

    return run


@pytest.fixture(scope="module")
def kept():
    """Pictures that many tests compare with, each drawn once."""
    return {}


@pytest.fixture
def base(family, pipe, draw, kept):
    """The base's own picture."""

    def picture(**call):
        key = (family, *sorted(call.items()))
        if key not in kept:
            kept[key] = draw(pipe, **call)
        return kept[key]

    return picture


@pytest.fixture
def plain(family, draw, peft_pipes, kept):
    """The picture of one adapter by diffusers and PEFT."""

    def picture(name, strength, **call):
        key = (family, name, strength, *sorted(call.items()))
        if key not in kept:
            kept[key] = draw(peft_pipes(family, {name: strength}), **call)
        return kept[key]

    return picture


@pytest.fixture
def all_three(family, method, fuse, kept):
    """The method's picture of all three adapters."""
    key = (family, method.name, "all three")
    if key not in kept:
        kept[key] = fuse(method, STRENGTHS)
    return kept[key]


def snapshot(pipe):
    """All that a run could leave behind: weights, attributes and hooks of every module, and the pipeline's own."""
    models = {name: model for name, model in pipe.components.items() if isinstance(model, torch.nn.Module)}
    weights = {
        f"{name}.{key}": value.clone() for name, model in models.items() for key, value in model.state_dict().items()
    }
    attributes = {
        (name, path): (type(module), sorted(vars(module)), len(module._forward_hooks), len(module._forward_pre_hooks))
        for name, model in models.items()
        for path, module in model.named_modules()
    }
    own = {key: id(value) for key, value in vars(pipe).items() if key in pipe.components or callable(value)}
    return weights, attributes, own, sorted(vars(pipe.scheduler).keys() - {"num_inference_steps"}), dict(pipe.config)


def assert_unchanged(pipe, before):
    weights, *rest = before
    weights_now, *rest_now = snapshot(pipe)
    assert list(weights_now) == list(weights)
    assert all(torch.equal(weights_now[key], weights[key]) for key in weights)
    assert rest_now == rest


def test_the_pipeline_is_restored_bit_for_bit(pipe, method, fuse, draw, base):
    expected = base()
    before = snapshot(pipe)
    picture = fuse(method, STRENGTHS)
    assert not torch.equal(picture, expected)
    assert_unchanged(pipe, before)
    assert torch.equal(draw(pipe), expected)


def test_the_pipeline_is_restored_after_an_exception(pipe, method, fuse, draw, base):
    expected = base()
    before = snapshot(pipe)

    def interrupt(pipe, step, timestep, tensors):
        if step == 1:
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt):
        fuse(method, STRENGTHS, callback_on_step_end=interrupt)
    assert_unchanged(pipe, before)
    assert torch.equal(draw(pipe), expected)


def test_strength_zero_is_the_base(method, fuse, base, error_of):
    assert error_of(fuse(method, dict.fromkeys(STRENGTHS, 0.0)), base()) <= 1e-5  # a batch of passes rounds otherwise
    assert torch.equal(fuse(method, {"fox": 0.0}), base())


def test_no_adapter_is_the_base(method, fuse, base):
    assert torch.equal(fuse(method, {}), base())


@pytest.mark.parametrize("name", STRENGTHS)
def test_one_adapter_is_plain_use_of_it(method, name, fuse, plain, error_of):
    if not method.exact_for_one:
        pytest.skip(f"{method.name} says that it is not exact for one adapter")
    assert error_of(fuse(method, {name: 0.7}), plain(name, 0.7)) <= 1e-5


def test_one_adapter_without_guidance_is_plain_use_of_it(family, method, fuse, plain, error_of):
    if not method.exact_for_one:
        pytest.skip(f"{method.name} says that it is not exact for one adapter")
    call = {"guidance_scale": families()[family].guidance.off}
    assert error_of(fuse(method, {"fox": 0.7}, **call), plain("fox", 0.7, **call)) <= 1e-5


def test_the_same_seed_gives_the_same_picture(method, fuse, all_three):
    assert torch.equal(fuse(method, STRENGTHS), all_three)
    assert not torch.equal(fuse(method, STRENGTHS, seed=1), all_three)


def test_a_picture_of_a_batch_is_the_picture_alone(method, fuse, error_of):
    generators = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    batch = fuse(method, STRENGTHS, prompt=["a red cat", "a blue dog"], generator=generators)
    for index, prompt in enumerate(("a red cat", "a blue dog")):
        alone = fuse(method, STRENGTHS, seed=3 + index, prompt=prompt)
        assert error_of(batch[index : index + 1], alone) <= 2e-5  # other batch sizes round otherwise


def test_the_order_of_adapters_matters_only_where_the_method_says_so(method, fuse, all_three, error_of):
    error = error_of(fuse(method, dict(reversed(STRENGTHS.items()))), all_three)
    assert (error > 1e-3) if method.order_matters else (error <= 1e-5)


def test_the_passes_are_those_of_the_plan(family, pipe, method, adapters, draw):
    calls = calls_per_step(family)
    plan = plan_of(method, STRENGTHS)
    states = [StepState(index, 3, index / 3, 0.0, torch.zeros(1)) for index in range(3)]
    planned = Counter(each.reuse for state in states for each in (*plan.schedule(state),) * calls)
    with fused(pipe, plan, adapters) as run:
        draw(pipe)
        assert run.passes == planned
        draw(pipe)  # a second picture in the same context starts its steps anew
        assert run.passes == planned + planned


def test_a_picture_need_not_be_square(method, fuse, base):
    wide = fuse(method, STRENGTHS, width=96)
    assert wide.shape == base(width=96).shape
    assert torch.isfinite(wide).all()


def test_image_to_image_with_partial_strength(family, pipe, method, adapters, draw, peft_pipes, kept, error_of):
    import diffusers

    def from_image(pipe):
        made = getattr(diffusers, families()[family].pipelines.image).from_pipe(pipe)
        made.set_progress_bar_config(disable=True)
        return made

    call = {"image": torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(9)), "strength": 0.5}
    call["num_inference_steps"] = 4
    mine = from_image(pipe)
    sizes = inspect.signature(mine.__call__).parameters.keys() & {"height", "width"}  # else 1024 pixels for some
    call |= dict.fromkeys(sizes, 64)
    indices = []
    plan = plan_of(method, {"fox": 0.7}, steps=4)
    watched = replace(plan, schedule=lambda state: indices.append(state.index) or plan.schedule(state))
    with fused(mine, watched, adapters):
        found = draw(mine, **call)
    assert indices == [index for index in (0, 1) for _ in range(calls_per_step(family))]
    if method.exact_for_one:
        key = (family, "from an image")
        if key not in kept:
            kept[key] = draw(from_image(peft_pipes(family, {"fox": 0.7})), **call)
        assert error_of(found, kept[key]) <= 1e-5


def test_settings_survive_json(method):
    request = GenerationRequest("a cat", method=method.name, settings=method.settings)
    read = GenerationRequest.from_json(request.to_json())
    assert create(read.method, read.settings) == method
    assert create(method.name, json.loads(json.dumps(method.settings))) == method
