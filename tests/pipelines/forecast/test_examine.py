"""The whole report: what is said of twins, of the quiet, the loud and the strange, and that it survives JSON."""

import json
import math
from dataclasses import replace

import pytest
import torch

from lora_loom.pipelines.adapters.factors import LoraFactors, Magnitude
from lora_loom.pipelines.errors import AdapterMatchError
from lora_loom.pipelines.forecast.base_spectra import BaseSpectra
from lora_loom.pipelines.forecast.examine import examine
from lora_loom.pipelines.forecast.measured import layer_forms
from lora_loom.pipelines.forecast.report import Report
from lora_loom.pipelines.registry import create
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.weight_space.norms import inner


def report(*adapters, strengths=None, **more):
    named = {each.name: each for each in adapters}
    return examine(named, {**dict.fromkeys(named, 1.0), **(strengths or {})}, **more)


def labels(found):
    return {each.label for pair in found.pairs for each in pair.findings}


def named(found, title):
    return next(each for each in found.remedies if title in each.title)


def test_random_adapters_get_along(adapter):
    found = report(adapter("a"), adapter("b", seed=50))
    assert labels(found) <= {"entangled"}  # the layers are tiny, so what is written overlaps
    assert found.together.capacity_loss == 0.0
    assert found.pairs[0].dominance == pytest.approx((0.5, 0.5), abs=0.2)


def test_adapters_that_share_nothing_are_green(adapter):
    first, second = adapter("a"), adapter("b", seed=50)
    for path, factors in first.denoiser.items():
        half = factors.up.shape[0] // 2
        factors.up[half:], second.denoiser[path].up[:half] = 0.0, 0.0
    found = report(first, second)
    assert found.level == "green"
    assert found.pairs[0].sentence == "a and b keep out of each other's way."
    assert {each.level for each in found.pairs[0].strip} == {"green"}
    assert found.together.pressure**2 == pytest.approx(
        1 + min(found.pairs[0].dominance) / max(found.pairs[0].dominance)
    )
    assert found.remedies == ()


def test_twins_are_said_to_be_the_same_and_one_is_left_out(adapter):
    found = report(adapter("a"), adapter("b"), strengths={"b": 0.5})
    assert "the same" in found.pairs[0].sentence
    assert found.pairs[0].dominance == pytest.approx((0.8, 0.2))
    assert found.together.capacity_loss == pytest.approx(0.5)
    assert [each.name for each in named(found, "Leave out b").adapters] == ["a"]


def nearly(adapter, cosine):
    """Two adapters of this cosine."""
    one, other = adapter("a"), adapter("x", seed=70)
    mixed = {}
    for path, factors in one.denoiser.items():
        stranger = other.denoiser[path]
        own, strange = (math.sqrt(inner(each, each)) for each in (factors, stranger))
        down = torch.cat([factors.down, stranger.down])
        up = torch.cat([factors.up * cosine, stranger.up * (own / strange) * math.sqrt(1 - cosine**2)], 1)
        mixed[path] = LoraFactors(down, up)
    return one, replace(adapter("b"), denoiser=mixed)


def test_redundant_ones_are_lowered_by_what_they_share(adapter):
    found = report(*nearly(adapter, 0.6))
    cosine = found.pairs[0].whole.cosine
    assert cosine == pytest.approx(0.6, abs=0.1)
    assert "redundant" in labels(found)
    remedy = named(found, "Use a and b at")
    gram = torch.tensor(found.together.gram)
    used = torch.tensor([choice.strength for choice in remedy.adapters])
    large, small = max(gram.diagonal()), min(gram.diagonal())
    assert float(used @ gram @ used) == pytest.approx(float(large + (1 - cosine) * small), rel=5e-3)
    assert remedy.effects[0].before == pytest.approx(math.sqrt(gram.sum()))
    assert remedy.effects[0].after == pytest.approx(math.sqrt(float(used @ gram @ used)), rel=1e-4)


def test_cancelling_ones_are_turned_apart_as_lion_does_it(adapter):
    first, second = nearly(adapter, 0.6)
    found = report(first, second, strengths={"b": -0.7})
    assert "cancelling" in labels(found)
    remedy = named(found, "Turn them apart")
    assert dict(remedy.settings) == {"orthogonality": 1.0}
    sources = {"a": first, "b": second}
    turned = create(remedy.method, remedy.settings).plan(remedy.adapters, 4).derive(sources)
    after = examine(turned, {choice.name: choice.strength for choice in remedy.adapters})
    measured = {
        "largest |cosine|": (found.pairs[0].whole, after.pairs[0].whole, lambda each: abs(each.cosine)),
        "largest share written where another writes": (
            found.pairs[0].whole,
            after.pairs[0].whole,
            lambda each: max(each.out_ab, each.out_ba),
        ),
        "strength of all over the largest alone": (found.together, after.together, lambda each: each.pressure),
    }
    for effect in remedy.effects:
        before, now, value = measured[effect.what]
        assert effect.before == pytest.approx(value(before), abs=1e-6)
        assert effect.after == pytest.approx(value(now), abs=1e-5)


def test_the_loud_one_is_evened_out(adapter):
    found = report(adapter("a", scale=6.0), adapter("b", seed=50))
    assert "drowned out" in labels(found)
    assert any(each.sentence.startswith("a is") and "drowns b" in each.sentence for each in found.pairs[0].findings)
    remedy = named(found, "Even out")
    a, b = (choice.strength for choice in remedy.adapters)
    norms = {each.name: each.norm for each in found.adapters}
    assert a < 1.0 < b
    assert remedy.effects[0].after == pytest.approx(
        max(a * norms["a"], b * norms["b"]) / min(a * norms["a"], b * norms["b"]), rel=1e-3
    )


def test_a_spread_over_depth_is_levelled(adapter, factors):
    first, second = adapter("a"), adapter("b", seed=50)
    loud, quiet = list(first.denoiser)[:2]
    first = replace(first, denoiser={**first.denoiser, loud: first.denoiser[loud].scaled(8.0)})
    second = replace(second, denoiser={**second.denoiser, quiet: second.denoiser[quiet].scaled(8.0)})
    found = report(first, second)
    effect = named(found, "Level them").effects[0]
    assert effect.before == pytest.approx(found.pairs[0].whole.log2_spread, abs=1e-6)
    assert effect.after < effect.before / 2


def test_both_reading_the_prompt(adapter, factors):
    text = [{"encoder.layers.0.self_attn.q_proj": factors((16, 16), 2, seed, size)} for seed, size in ((1, 1), (2, 3))]
    found = report(adapter("a", text=text[0]), adapter("b", seed=50, text=text[1]))
    assert "prompt drift" in labels(found)
    assert found.pairs[0].text is not None
    remedy = named(found, "Halve a")
    assert remedy.adapters[0] == AdapterChoice("a", blocks={"text": 0.5})
    assert remedy.effects[0].after < remedy.effects[0].before < 0.5


def test_text_encoders_alone(adapter, factors):
    text = [{"encoder.layers.0.self_attn.q_proj": factors((16, 16), 2, seed)} for seed in (1, 1)]
    found = report(adapter("a", {}, text=text[0]), adapter("b", {}, text=text[1]))
    assert "the same" in found.pairs[0].sentence
    assert found.adapters[0].norm == 0.0
    assert found.adapters[0].text_norm > 0.0
    beside = report(adapter("a", {}, text=text[0]), adapter("b"))
    assert beside.pairs[0].sentence == "a and b change different parts of the model."


def test_a_dora_and_a_silent_one_are_named_and_left_out(adapter):
    first = adapter("a")
    of = {path: replace(each, magnitude=Magnitude(each.up[:, 0])) for path, each in first.denoiser.items()}
    found = report(replace(first, name="d", denoiser=of), first, adapter("b", seed=50), strengths={"b": 0.0})
    assert [each.name for each in found.adapters if each.skipped] == ["d", "b"]
    assert any("DoRA" in note for note in found.notes)
    assert found.pairs == ()
    assert found.together is None
    assert found.adapters[1].norm > 0


def test_one_adapter_has_a_report_of_its_own(adapter):
    found = report(adapter("a"), strengths={"a": 0.5})
    one = found.adapters[0]
    assert (one.layers, one.rank, one.dominance) == (3, 3, 1.0)
    assert 1.0 < one.effective_rank <= 3.0
    assert sum(one.groups.values()) == pytest.approx(1.0)
    assert found.together is None


def test_adapters_of_two_bases_are_an_error(adapter, factors):
    path = next(iter(adapter("a").denoiser))
    with pytest.raises(AdapterMatchError, match="different bases"):
        report(adapter("a"), adapter("b", {path: factors((99, 10), 2, 1)}))


def test_beside_the_base(adapter):
    torch.manual_seed(0)
    first = adapter("a", scale=0.02)
    model = torch.nn.Module()
    for path, factors in first.denoiser.items():
        parent = model
        *folders, last = path.split(".")
        for each in folders:
            if not hasattr(parent, each):
                parent.add_module(each, torch.nn.Module())
            parent = getattr(parent, each)
        into = factors.down.shape[1:]
        layer = torch.nn.Linear(into[0], len(factors.up)) if len(into) == 1 else torch.nn.Conv2d(5, 8, 3)
        parent.add_module(last, layer)
    base = BaseSpectra({"denoiser": model.requires_grad_(False)})
    found = report(first, adapter("b", seed=50, scale=0.02), strengths={"a": 0.7}, base=base)
    delta = sum(0.49 * float(each.delta().square().sum()) for each in first.denoiser.values())
    whole = sum(float(model.get_submodule(path).weight.square().sum()) for path in first.denoiser)
    assert found.adapters[0].base.relative_norm == pytest.approx(math.sqrt(delta / whole), rel=1e-5)
    assert found.adapters[0].base.intruders == 0
    assert found.together.base is not None
    loud = report(first, strengths={"a": 90.0}, base=base)
    safe = loud.adapters[0].base.safe_strength
    assert loud.adapters[0].base.intruders == 0 or safe < 90.0
    assert Report.from_dict(json.loads(json.dumps(loud.to_dict()))) == loud


def test_every_report_survives_json(adapter, factors):
    text = {"encoder.layers.0.self_attn.q_proj": factors((16, 16), 2, 1)}
    for found in (
        report(adapter("a", text=text), adapter("b", seed=1, text=text), adapter("c")),
        report(adapter("a")),
        report(*nearly(adapter, 0.6), strengths={"b": -1.0}),
    ):
        again = Report.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False)))
        assert again == found


def test_local_ones_are_offered_places_of_their_own(adapter):
    pair = adapter("a"), adapter("b", seed=50)
    local = report(*pair, kinds={"a": "character", "b": "accessory"})
    assert named(local, "its own place").method == "arbiter"
    assert all(each.method != "arbiter" for each in report(*pair, kinds={"a": "character", "b": "style"}).remedies)


def test_layers_of_zero_update_are_passed_over(adapter):
    first = adapter("a")
    for factors in list(first.denoiser.values())[:2]:
        factors.up.zero_()
    assert len(list(layer_forms({"a": first}, {"a": 1.0}))) == 1
    assert report(first, adapter("b")).pairs[0].whole.layers == 3
