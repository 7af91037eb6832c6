"""Controls of single adapters keep to their meaning under every method and on every family."""

import pytest
import torch
from PIL import Image

from pipelines.control import Region
from pipelines.plan import StepState
from pipelines.registry import create, methods
from pipelines.request import AdapterChoice
from pipelines.runtime.fused import fused

STRENGTHS = {"fox": 0.8, "ink": 0.5, "fog": 1.2}
LEFT = (0.0, 0.0, 0.5, 1.0)
QUICK_SETTINGS = {"switch": {"switch_every": 1}}


@pytest.fixture(params=list(methods()))
def method(request):
    return create(request.param, QUICK_SETTINGS.get(request.param))


@pytest.fixture
def fuse(pipe, adapters, draw):
    def run(method, controls, **call):
        choices = [AdapterChoice(name, strength, **controls.get(name, {})) for name, strength in STRENGTHS.items()]
        with fused(pipe, method.plan(choices, 3), adapters):
            return draw(pipe, **call)

    return run


def for_all(**control):
    return dict.fromkeys(STRENGTHS, control)


def mask(value, width=64, height=64):
    return Region.painted(Image.new("L", (width, height), value))


def at(progress, index=0):
    return StepState(index, 3, progress, 0.0, torch.zeros(1))


NEUTRAL = {
    "blocks": {"style": 1.0, "down": 1},
    "curve": ((0.0, 1.0), (0.5, 1.0)),
    "region": Region(box=(0, 0, 1, 1)),
}
SHUT = (
    {"blocks": dict.fromkeys(("structure", "identity", "style", "text"), 0.0)},
    {"curve": ((0.5, 0.0),), "blocks": {"text": 0.0}},
    {"region": mask(0)},
)


def test_neutral_controls_change_nothing(method, fuse):
    assert torch.equal(fuse(method, for_all(**NEUTRAL)), fuse(method, {}))


def test_a_mask_of_ones_changes_nothing(method, fuse, error_of):
    assert error_of(fuse(method, for_all(region=mask(255))), fuse(method, {})) <= 1e-5


@pytest.mark.parametrize("control", SHUT, ids=lambda control: next(iter(control)))
def test_controls_that_shut_all_adapters_leave_the_base(pipe, method, fuse, draw, error_of, control):
    assert error_of(fuse(method, for_all(**control)), draw(pipe)) <= 1e-5


@pytest.mark.parametrize(
    "control",
    [
        {"blocks": {"structure": 0.3}},
        {"curve": ((0.2, 0.0), (0.6, 1.0))},
        {"region": Region(box=LEFT)},
        {"region": Region(box=LEFT, prompt="a blue dog")},
    ],
    ids=["blocks", "curve", "region", "prompt"],
)
def test_controls_matter_and_leave_the_pipeline_as_it_was(pipe, method, fuse, draw, control):
    base, plain = draw(pipe), fuse(method, {})
    found = fuse(method, {"fox": control})
    assert torch.isfinite(found).all()
    assert not torch.equal(found, plain)
    assert torch.equal(draw(pipe), base)
    assert torch.equal(fuse(method, {}), plain)
