"""Controls of single adapters keep to their meaning under every method and on every family."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from lora_loom.pipelines.errors import RequestError
from lora_loom.pipelines.methods.composite import Composite
from lora_loom.pipelines.methods.merge import Merge
from lora_loom.pipelines.methods.switch import Switch
from lora_loom.pipelines.plan import Predictions, StepState
from lora_loom.pipelines.registry import create, methods
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.requests.control import Region
from lora_loom.pipelines.runtime.fused import fused
from lora_loom.pipelines.runtime.rules import LayerRule

STRENGTHS = {"fox": 0.8, "ink": 0.5, "fog": 1.2}
LEFT = (0.0, 0.0, 0.5, 1.0)
FAMILIES = ("sd15", "sdxl", "sd3", "flux")
QUICK_SETTINGS = {"switch": {"switch_every": 1}, "cmlora": {"interval": 1}}
CASES = [("merge", family) for family in FAMILIES]
CASES += [(name, ("sd15", "sd3", "flux")[index % 3]) for index, name in enumerate(methods()) if name != "merge"]


@pytest.fixture(params=CASES, ids="-".join)
def case(request, pipes, three_adapters, draw):
    """A method, and how to draw with it under controls, on one family."""
    name, family = request.param
    return create(name, QUICK_SETTINGS.get(name)), drawing(pipes(family), three_adapters(family), draw)


def drawing(pipe, adapters, draw):
    def run(method=None, controls=None, **call):
        choices = choices_of(controls or {})
        with fused(pipe, (method or Merge()).plan(choices, 2), adapters):
            return draw(pipe, **{"num_inference_steps": 2, **call})

    run.base = lambda **call: draw(pipe, **{"num_inference_steps": 2, **call})
    return run


def choices_of(controls):
    return [AdapterChoice(name, strength, **controls.get(name, {})) for name, strength in STRENGTHS.items()]


def for_all(**control):
    return dict.fromkeys(STRENGTHS, control)


def mask(value, width=64, height=64):
    return Region.painted(Image.new("L", (width, height), value))


def at(progress, index=0):
    return StepState(index, 3, progress, 0.0, torch.zeros(1))


NEUTRAL = {"blocks": {"style": 1.0, "down": 1}, "curve": ((0.0, 1.0), (0.5, 1.0)), "region": Region(box=(0, 0, 1, 1))}
SHUT_BLOCKS = dict.fromkeys(("structure", "identity", "style", "text"), 0.0)


def keeps_apart(method):
    return "fox" in {name for gates in method.plan(choices_of({}), 3).text_passes for name in gates}


def test_neutral_controls_change_nothing(case):
    method, run = case
    plain = run(method)
    assert torch.equal(run(method, for_all(**NEUTRAL)), plain)
    assert torch.equal(run(method), plain)


def test_shut_blocks_leave_the_base(case, error_of):
    method, run = case
    assert error_of(run(method, for_all(blocks=SHUT_BLOCKS)), run.base()) <= 1e-5


def test_curves_and_regions_act_where_a_method_keeps_adapters_apart(case, error_of):
    method, run = case
    controls = for_all(region=mask(255)), for_all(region=mask(0)), for_all(curve=((0.5, 0.0),), blocks={"text": 0.0})
    if not keeps_apart(method):
        for control in controls:
            with pytest.raises(RequestError, match=r"fox cannot have a .* of its own"):
                run(method, control)
        return
    ones, zeros, never = (run(method, control) for control in controls)
    assert error_of(ones, run(method)) <= 1e-5
    assert error_of(zeros, run.base()) <= 1e-5
    assert error_of(never, run.base()) <= 1e-5


def test_a_region_with_a_prompt_over_the_whole_picture_is_a_picture_of_that_prompt(case, error_of):
    method, run = case
    if keeps_apart(method):
        found = run(method, for_all(region=Region(box=(0, 0, 1, 1), prompt="a blue dog")), negative_prompt="a house")
        assert error_of(found, run(method, prompt="a blue dog", negative_prompt="a house")) <= 1e-5


@pytest.fixture
def run(pipe, adapters, draw):
    return drawing(pipe, adapters, draw)


CONTROLS = (
    {"blocks": {"structure": 0.3}},
    {"curve": ((0.2, 0.0), (0.6, 1.0))},
    {"region": Region(box=LEFT)},
    {"region": Region(box=LEFT, prompt="a blue dog")},
)


def test_every_control_matters_and_is_gone_afterwards(run):
    base, plain = run.base(), run()
    for control in CONTROLS:
        found = run(controls={"fox": control})
        assert torch.isfinite(found).all()
        assert not torch.equal(found, plain)
    assert torch.equal(run(), plain)
    assert torch.equal(run.base(), base)


class Watching(LayerRule):
    """Keeps the activations that reach a method's rule, for the first step of a run."""

    def __init__(self):
        self.seen = {}

    def output(self, site, x, y, h):
        if site.state.index == 0:
            self.seen.setdefault(site.path, {name: h[its_place(site, name)] for name in site.names})
        return site.add(y, site.gated(h))


def its_place(site, name):
    its = site.slices[site.names.index(name)]
    return (slice(None), its) if site.kind == "conv" else (..., its)


def test_a_mask_follows_the_picture_through_every_layer(family, pipe, adapters, draw):
    """The right quarter of a 96 x 64 picture, at every resolution and in every order of tokens."""
    region = Region(box=(0.75, 0.0, 1.0, 1.0), everywhere=0.25)
    choices = choices_of({"fox": {"region": region}, "fog": {"region": region}})
    watching = Watching()
    with fused(pipe, replace(Merge().plan(choices, 3), layer_rule=watching), adapters):
        draw(pipe, width=96, num_inference_steps=1)
    placed = 0
    for path, name, h in ((path, *each) for path, names in watching.seen.items() for each in names.items()):
        tokens = h.flatten(2).transpose(1, 2) if h.ndim == 4 else h  # [b T r]
        active = tokens.abs().amax(dim=(0, -1)) > 0 if tokens.ndim == 3 else torch.ones(1)
        of_text = (
            ("add_", "context") if family in ("sd3", "flux", "chroma") else (".attn2.to_k", ".attn2.to_v", "context_")
        )
        if name == "ink" or tokens.ndim == 2 or any(word in path for word in of_text):
            assert active.all(), path
            continue
        count = len(active)
        before = 16 if path.startswith("single_transformer_blocks.") else 0
        assert active[:before].all(), path
        behind = count - 24 if path.startswith(("layers.", "noise_refiner.")) else 0  # of Z-Image, text and padding
        assert active[count - behind :].all(), path
        count -= behind
        columns = round(((count - before) * 1.5) ** 0.5)
        layout = active[before:count].view(-1, columns)
        expected = torch.arange(columns) + 1 > 0.75 * columns
        assert torch.equal(layout, expected.expand_as(layout)), path
        placed += 1
    assert placed > 5


def test_curves_follow_progress_and_leave_text_alone():
    choices = choices_of({"fox": {"curve": ((0.2, 0.0), (0.6, 1.0), (0.8, 0.5))}})
    plan = Merge().plan(choices, 3)
    for progress, factor in ((0.0, 0.0), (0.2, 0.0), (0.4, 0.5), (0.6, 1.0), (0.7, 0.75), (1.0, 0.5)):
        (only,) = plan.schedule(at(progress))
        assert only.gates["fox"] == pytest.approx(0.8 * factor)
        assert only.gates["ink"] == 0.5
        assert only.encoded_with == STRENGTHS
    assert plan.text_passes == (STRENGTHS,)


def test_an_exempt_adapter_acts_in_every_pass_and_takes_no_turn():
    choices = choices_of({"fog": {"exempt": True}})
    for method, gates in (
        (Composite(), [{"fox": 0.8, "fog": 1.2}, {"ink": 0.5, "fog": 1.2}]),
        (Switch(switch_every=1), [{"fox": 0.8, "fog": 1.2}]),
    ):
        plan = method.plan(choices, 3)
        assert [each.gates for each in plan.schedule(at(0.0))] == gates
        assert set(plan.adapters) == set(STRENGTHS)
    only = Composite().plan([AdapterChoice("fog", 1.2, exempt=True)], 3)
    assert [each.gates for each in only.schedule(at(0.0))] == [{"fog": 1.2}]


@pytest.mark.parametrize("name", [name for name in methods() if name != "merge"])
def test_exempt_adapters_are_added_to_what_the_method_draws(name, pipes, three_adapters, draw, error_of):
    pipe, adapters = pipes("sd15"), three_adapters("sd15")
    run = drawing(pipe, adapters, draw)
    exempt = {"ink": {"exempt": True}, "fog": {"exempt": True}} if create(name).exact_for_one else for_all(exempt=True)
    assert error_of(run(create(name), exempt), run(Merge())) <= 1e-5


def test_a_rule_does_not_reach_exempt_adapters(run, pipe, adapters, draw, error_of):
    class Nothing(LayerRule):
        def gate(self, site, x, h):
            return torch.zeros(())

    choices = choices_of({"fox": {"exempt": True}})
    plan = Merge().plan(choices, 3)
    with fused(pipe, replace(plan, layer_rule=Nothing()), adapters):
        found = draw(pipe, num_inference_steps=2)
    text_only = {"blocks": dict.fromkeys(("structure", "identity", "style"), 0.0)}
    assert error_of(found, run(controls={"ink": text_only, "fog": text_only})) <= 1e-5


def test_regions_are_composed_for_themselves_and_blended():
    here, there = Region(box=LEFT, prompt="a cat"), Region(box=(0.25, 0.0, 1.0, 1.0), prompt="a dog")
    plan = Composite().plan(choices_of({"fox": {"region": here}, "ink": {"region": there}}), 3)
    passes = plan.schedule(at(0.0))
    assert [(each.region, dict(each.gates)) for each in passes] == [
        (0, {"fog": 1.2}),
        (1, {"fox": 0.8}),
        (1, {"fog": 1.2}),
        (2, {"ink": 0.5}),
        (2, {"fog": 1.2}),
    ]
    assert [each.prompt for each in plan.regions] == ["a cat", "a dog"]
    noise_preds = torch.tensor([1.0, 10.0, 20.0, 200.0, 400.0]).view(5, 1, 1, 1, 1).expand(5, 2, 1, 3, 4)
    blended = plan.combine(Predictions(noise_preds, torch.ones(5), passes, at(0.0)))
    torch.testing.assert_close(blended[1, 0, 2], torch.tensor([15.0, (15.0 + 300.0) / 2, 300.0, 300.0]))
    tokens = Predictions(noise_preds.flatten(3).transpose(2, 3), torch.ones(5), passes, at(0.0), grid=(3, 4))
    torch.testing.assert_close(plan.combine(tokens)[1, :, 0].view(3, 4), blended[1, 0])


def test_what_the_base_cannot_do_is_said(run):
    with pytest.raises(RequestError, match=r"fox .* styel.*structure, identity, style"):
        run(controls={"fox": {"blocks": {"styel": 0.5}}})
    wide = {"region": mask(255, 128, 64)}
    for control in (wide, {"region": replace(wide["region"], prompt="a dog")}):
        with pytest.raises(RequestError, match=r"other proportions.*128 x 64"):
            run(controls={"fox": control})
    assert torch.equal(run(), run())


def test_a_region_with_a_prompt_needs_words(pipes, three_adapters, draw):
    pipe = pipes("sd15")
    run = drawing(pipe, three_adapters("sd15"), draw)
    embeds = torch.randn(1, 16, 16)
    with pytest.raises(RequestError, match="embeddings"):
        run(
            controls={"fox": {"region": Region(box=LEFT, prompt="a dog")}},
            prompt=None,
            prompt_embeds=embeds,
            negative_prompt_embeds=embeds,
        )
