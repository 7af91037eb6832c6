"""Curves beside LoRA files: found for the file that was measured and no other, and read as effects."""

import pytest

from lora_loom.pipelines.errors import AdapterFileError, RequestError
from lora_loom.pipelines.measured.response import ResponseCurve
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.studio.library.adapter_library import AdapterLibrary
from lora_loom.studio.library.responses import by_effect, curve_of, curve_path, save_curve


@pytest.fixture
def library(write_lora, tmp_path):
    write_lora(tmp_path / "fox.safetensors", title="Fox")
    write_lora(tmp_path / "ink.safetensors", seed=1)
    return AdapterLibrary([tmp_path])


@pytest.fixture
def curve(library):
    card = library.find("fox")
    made = ResponseCurve((0.0, 0.5, 1.0), (0.0, 0.1, 1.0), adapter_sha256=card.sha256)
    save_curve(made, card.path)
    return made


def test_a_curve_is_found_beside_its_lora(library, curve):
    assert curve_of(library.find("fox")) == curve
    assert curve_of(library.find("ink")) is None
    assert [card.name for card in library.scan()] == ["fox", "ink"]
    assert library.find("fox").title == "Fox"  # another sidecar is still read


def test_effects_become_strengths(library, curve):
    (choice,) = by_effect([AdapterChoice("fox", 0.1)], library)
    assert choice.strength == pytest.approx(0.5)
    with pytest.raises(RequestError, match="loom calibrate ink"):
        by_effect([AdapterChoice("fox", 0.1), AdapterChoice("ink", 1.0)], library)


def test_the_curve_of_another_file_is_refused(library, curve, write_lora, tmp_path):
    write_lora(tmp_path / "fox.safetensors", seed=5)
    library.scan()
    with pytest.raises(AdapterFileError, match="has changed since its response was measured"):
        curve_of(library.find("fox"))


def test_a_broken_curve_is_refused(library, subtests):
    for text in ["", "{}", "x" * 70_000]:
        with subtests.test(text=text):
            card = library.find("fox")
            curve_path(card.path).write_text(text)
            with pytest.raises(AdapterFileError):
                curve_of(card)
