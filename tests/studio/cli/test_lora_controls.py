"""Controls of single LoRAs as texts of the command line."""

import pytest
from PIL import Image

from lora_loom.pipelines.errors import RequestError
from lora_loom.pipelines.request import AdapterChoice, GenerationRequest
from lora_loom.pipelines.requests.control import Region
from lora_loom.studio.cli.lora_controls import parse_blocks, parse_curve, parse_region
from lora_loom.studio.cli.request_options import asked_for

BOX = (0.0, 0.0, 0.5, 1.0)


def adapters_of(start=None, **given):
    return asked_for(start, {"prompt": "a cat", **given}, {}, []).adapters


def test_texts_become_controls():
    assert parse_blocks("style=0.5, structure=0") == {"style": 0.5, "structure": 0.0}
    assert parse_curve("0=0,0.3=1") == ((0.0, 0.0), (0.3, 1.0))
    assert parse_region("0,0,.5,1") == Region(box=BOX)
    assert parse_region(" 0, 0, 0.5, 1:a fox: red, big") == Region(box=BOX, prompt="a fox: red, big")


def test_a_mask_is_read_into_the_request(tmp_path):
    path = tmp_path / "left half.PNG"
    Image.new("RGB", (2_000, 1_000), "white").save(path)
    region = parse_region(f"{path}:a fox")
    assert (region.size, region.prompt, region.peak) == ((512, 256), "a fox", 1.0)
    with pytest.raises(RequestError, match=r"nowhere\.png cannot be read"):
        parse_region(str(tmp_path / "nowhere.png"))
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(RequestError, match=r"text\.png cannot be read"):
        parse_region(str(tmp_path / "text.png"))


def test_controls_go_to_the_loras_they_name():
    found = adapters_of(
        prompt="a cat <lora:ink:0.5>",
        lora=["styles/fox:0.8"],
        lora_blocks=["styles/fox:style=0.5"],
        lora_curve=["ink:0=0,0.5=1"],
        lora_region=["ink:0,0,0.5,1"],
        lora_exempt=["styles/fox"],
    )
    fox = AdapterChoice("styles/fox", 0.8, {"style": 0.5}, exempt=True)
    assert found == (fox, AdapterChoice("ink", 0.5, {}, ((0, 0), (0.5, 1)), Region(box=BOX)))


def test_a_restored_picture_keeps_its_loras_and_their_other_controls():
    start = GenerationRequest("a cat", adapters=(AdapterChoice("fox", 0.8, exempt=True), AdapterChoice("ink")))
    fox, ink = adapters_of(start, lora_blocks=["fox:style=0.5"])
    assert (fox, ink) == (AdapterChoice("fox", 0.8, {"style": 0.5}, exempt=True), AdapterChoice("ink"))


def test_what_cannot_be_read_is_said(subtests):
    cases = [
        ({"lora_blocks": ["owl:style=1"]}, "'owl', which was not chosen"),
        ({"lora_blocks": ["fox:style"]}, "--lora-blocks cannot be read"),
        ({"lora_blocks": ["fox:=1"]}, "--lora-blocks cannot be read"),
        ({"lora_curve": ["fox:0=much"]}, "--lora-curve cannot be read"),
        ({"lora_curve": ["fox:0.5=1,0.2=0"]}, "does not rise"),
        ({"lora_region": ["fox:0,0,1"]}, "--lora-region cannot be read"),
        ({"lora_region": ["fox:0,0,1,e"]}, "--lora-region cannot be read"),
        ({"lora_region": ["fox:0,0,0,1"]}, "empty"),
        ({"lora_exempt": ["fox:yes"]}, "--lora-exempt cannot be read"),
        ({"lora_exempt": ["fox", "fox"]}, "given twice for fox"),
    ]
    for given, words in cases:
        with subtests.test(given=given, words=words), pytest.raises(RequestError, match=words):
            adapters_of(lora=["fox"], **given)
