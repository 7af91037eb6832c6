"""Controls as data: they survive JSON, fall away where they do nothing, and are refused where they mean nothing."""

import base64
import json
import pickle

import pytest
from PIL import Image

from lora_loom.pipelines.errors import RequestError
from lora_loom.pipelines.request import AdapterChoice, GenerationRequest
from lora_loom.pipelines.requests.control import PNG_SIGNATURE, Region, factor_at

BOX = (0.0, 0.0, 0.5, 1.0)
PAINTED = Region.painted(Image.new("RGB", (12, 8), "white"), prompt=" a cat ", everywhere=0.5)
FULL = AdapterChoice("fox", 0.8, {"style": 0.5, "down": 0}, ((0, 0), (0.25, 1)), PAINTED)


def test_round_trips(subtests):
    cases = [FULL, AdapterChoice("fog", exempt=True, region=Region(box=BOX)), AdapterChoice("a")]
    for choice in cases:
        with subtests.test(choice=choice):
            assert AdapterChoice.from_dict(json.loads(json.dumps(choice.to_dict()))) == choice
            assert pickle.loads(pickle.dumps(choice)) == choice
            assert hash(pickle.loads(pickle.dumps(choice))) == hash(choice)
            request = GenerationRequest("a cat", adapters=(choice,))
            assert GenerationRequest.from_json(request.to_json()) == request


def test_what_does_nothing_is_not_kept():
    neutral = AdapterChoice("fox", 0.8, {"style": 1.0}, ((0.0, 1.0), (1.0, 1)), Region(box=(0, 0, 1, 1)))
    assert neutral == AdapterChoice("fox", 0.8)
    assert not neutral.controlled
    assert neutral.to_dict() == {"name": "fox", "strength": 0.8}
    assert FULL.controlled
    assert AdapterChoice("fox", region=Region(box=(0, 0, 1, 1), prompt="a cat")).region is not None


def test_a_painted_region_is_a_small_png():
    assert PAINTED.size == (12, 8)
    assert PAINTED.prompt == "a cat"
    assert PAINTED.image().getpixel((0, 0)) == 255
    assert (PAINTED.peak, Region.painted(Image.new("L", (3, 3), 0)).peak, Region(box=BOX).peak) == (1.0, 0.0, 1.0)
    assert Region(box=BOX).size is None


def test_a_curve_is_linear_between_its_points_and_level_beyond(subtests):
    cases = [(0.0, 0.5), (0.2, 0.5), (0.3, 0.75), (0.4, 1.0), (0.5, 0.5), (0.6, 0.0), (1.0, 0.0)]
    for progress, factor in cases:
        with subtests.test(progress=progress, factor=factor):
            assert factor_at(((0.2, 0.5), (0.4, 1.0), (0.6, 0.0)), progress) == pytest.approx(factor)
            assert factor_at((), progress) == 1.0


def png(width, height):
    return base64.b64encode(
        PNG_SIGNATURE + b"\0\0\0\rIHDR" + width.to_bytes(4) + height.to_bytes(4) + bytes(20)
    ).decode()


def test_controls_that_mean_nothing_are_refused(subtests):
    cases = [
        ({"blocks": ["style"]}, "not a mapping"),
        ({"blocks": {"style": "much"}}, "factor of block style of fox"),
        ({"blocks": {"style": float("nan")}}, "factor of block style of fox"),
        ({"blocks": {7: 0.5}}, "a block of fox is not text"),
        ({"blocks": {str(number): 0.5 for number in range(300)}}, "too many blocks"),
        ({"curve": "0=1"}, "curve of fox is not a list"),
        ({"curve": ((0.5, 1.0), (0.2, 0.0))}, "does not rise"),
        ({"curve": ((0.5, 1.0), (0.5, 0.0))}, "does not rise"),
        ({"curve": ((1.5, 1.0),)}, "a progress in the curve"),
        ({"curve": ((0.5, 1e9),)}, "a factor in the curve"),
        ({"curve": ((0.5,),)}, "no such point"),
        ({"curve": [(k / 100, 0.5) for k in range(100)]}, "too long"),
        ({"region": BOX}, "not a Region"),
        ({"exempt": 1}, "neither true nor false"),
        ({"exempt": True, "region": Region(box=BOX, prompt="a cat")}, "exempt from the fusion"),
    ]
    for control, words in cases:
        with subtests.test(control=control, words=words), pytest.raises(RequestError, match=words):
            AdapterChoice("fox", **control)


def test_regions_that_mean_nothing_are_refused(subtests):
    cases = [
        ({}, "neither a box nor a mask"),
        ({"box": BOX, "mask": PAINTED.mask}, "neither a box nor a mask"),
        ({"box": (0, 0, 1)}, "not four numbers"),
        ({"box": (0.5, 0, 0.5, 1)}, "empty"),
        ({"box": (0, 0, 1, 1.5)}, "bottom of a region"),
        ({"box": (0, 0, 1, None)}, "bottom of a region"),
        ({"mask": "white"}, "not base64"),
        ({"mask": base64.b64encode(b"GIF89a" * 10).decode()}, "not a PNG"),
        ({"mask": png(0, 8)}, "no usable size"),
        ({"mask": png(10_000, 8)}, "no usable size"),
        ({"mask": "A" * 200_000}, "too long"),
        ({"box": BOX, "everywhere": 2}, "everywhere of a region"),
        ({"box": BOX, "prompt": 3}, "prompt of a region"),
        ({"box": BOX, "colour": "red"}, "unknown keys"),
    ]
    for region, words in cases:
        with subtests.test(region=region, words=words), pytest.raises(RequestError, match=words):
            Region.from_dict(region)


def test_a_broken_mask_is_said_to_be_so():
    with pytest.raises(RequestError, match="broken PNG"):
        Region(mask=png(8, 8)).image()


def test_a_mask_of_many_details_is_made_smaller():
    noise = Image.effect_noise((600, 400), 100)
    region = Region.painted(noise)
    assert region.size[0] in (128, 256)
    assert region.size[0] / region.size[1] == pytest.approx(1.5, rel=0.02)


def test_masks_that_no_record_could_hold_are_refused():
    region = Region.painted(Image.effect_noise((200, 200), 100))
    with pytest.raises(RequestError, match="too large together"):
        GenerationRequest("a cat", adapters=tuple(AdapterChoice(str(k), region=region) for k in range(20)))
