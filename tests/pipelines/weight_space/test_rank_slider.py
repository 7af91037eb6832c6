"""A rank slider: nothing at 0, the LoRA itself at 1, a plain LoRA anywhere, and a header that is read with care."""

import dataclasses
import json

import pytest
import torch

from lora_loom.pipelines.errors import AdapterFileError
from lora_loom.pipelines.weight_space.rank_slider import HEADER_KEY, KNOTS, RankSlider, slider_of


@pytest.fixture
def fox(adapter, update):
    return adapter("fox", {"a": update(0, 4), "b": update(1, 2, inputs=(5, 3, 3)), "encoder.q": update(2, 3)})


@pytest.fixture
def slider(fox):
    """Each rank bends its own way."""
    knots = torch.tensor(KNOTS)
    gates = {path: torch.stack([knots ** (1 + 0.3 * r) for r in range(of.rank)]) for path, of in fox.denoiser.items()}
    return RankSlider(gates)


def with_header(fox, text):
    return dataclasses.replace(fox, metadata={HEADER_KEY: text})


def test_zero_is_nothing_and_one_the_lora_itself(fox, slider):
    none, whole = slider.applied(fox, 0.0), slider.applied(fox, 1.0)
    for path, factors in fox.denoiser.items():
        assert not none.denoiser[path].delta().any()
        assert torch.allclose(whole.denoiser[path].delta(), factors.delta())
    encoder = fox.text_encoders["text_encoder"]["encoder.q"].delta()
    half = slider.applied(fox, 0.5).text_encoders["text_encoder"]["encoder.q"].delta()
    assert torch.allclose(half, 0.5 * encoder)


def test_between_knots_gates_are_linear_and_beyond_they_go_on(slider):
    at = {s: slider.at(s)["a"] for s in (0.25, 0.375, 0.5, 1.25, 1.5, 1.75, -0.375)}
    assert torch.allclose(at[0.375], (at[0.25] + at[0.5]) / 2)
    assert torch.allclose(at[1.75], 2 * at[1.5] - at[1.25])
    assert torch.allclose(at[-0.375], -at[0.375])


def test_ranks_are_turned_one_by_one(fox, slider):
    factors = fox.denoiser["a"]
    gate = slider.at(0.5)["a"]
    expected = factors.up @ torch.diag(gate) @ factors.down
    assert torch.allclose(slider.applied(fox, 0.5).denoiser["a"].delta(), expected, atol=1e-5)


def test_it_travels_in_the_header(fox, slider):
    read = slider_of(with_header(fox, slider.to_header()))
    for s in (0.3, 1.2):
        for path, gate in slider.at(s).items():
            assert torch.allclose(read.at(s)[path], gate, atol=2e-3)
    assert slider_of(fox) is None
    assert HEADER_KEY not in read.applied(with_header(fox, slider.to_header()), 0.5).metadata


def broken(slider):
    good = json.loads(slider.to_header())
    nan = RankSlider({**slider.gates, "a": torch.full((4, len(KNOTS)), float("nan"))}).to_header()
    return {
        "": "no JSON",
        "{}": "no fields",
        json.dumps({**good, "gates": good["gates"][:40]}): "too few",
        json.dumps({**good, "knots": [0.0, 1.0]}): "other knots",
        json.dumps({**good, "knots": [0.0, 0.5, 0.4, 1.0, 1.1, 1.2, 1.3]}): "knots that fall",
        json.dumps({**good, "gates": "%%%"}): "no base64",
        nan: "not finite",
        "[" * 5000: "deep",
    }


def test_a_broken_header_is_refused(fox, slider):
    for text in broken(slider):
        with pytest.raises(AdapterFileError, match="the slider of fox cannot be read"):
            slider_of(with_header(fox, text))
