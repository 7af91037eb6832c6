"""Masks hold the share of each cell that lies in the region, and blending is a mean by them."""

import pytest
import torch
from PIL import Image

from lora_loom.pipelines.errors import RequestError
from lora_loom.pipelines.requests.control import Region
from lora_loom.pipelines.runtime.masks import blend, check_proportions, mask_at


def test_a_box_covers_cells_by_their_share():
    mask = mask_at(Region(box=(0.25, 0.5, 0.875, 1.0)), 2, 4)
    assert mask.tolist() == [[0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.5]]
    for rows, columns in ((7, 3), (16, 24), (1, 1)):
        region = Region(box=(0.1, 0.2, 0.7, 0.55))
        assert mask_at(region, rows, columns).mean().item() == pytest.approx(0.6 * 0.35)


def test_a_painted_mask_is_averaged_over_cells():
    picture = Image.new("L", (6, 4), 0)
    picture.paste(255, (3, 0, 6, 2))
    assert mask_at(Region.painted(picture), 2, 2).tolist() == [[0.0, 1.0], [0.0, 0.0]]
    assert mask_at(Region.painted(picture), 1, 1).item() == pytest.approx(0.25)
    assert mask_at(Region.painted(picture), 8, 12)[:4, 6:].min() == 1.0


def test_masks_that_overlap_share():
    whole, first, second = (torch.full((1, 1, 1, 4), value) for value in (0.0, 1.0, 3.0))
    left, most = Region(box=(0.0, 0.0, 0.5, 1.0)), Region(box=(0.25, 0.0, 0.75, 1.0))
    assert blend(whole, [first, second], [left, most], None).flatten().tolist() == [1.0, 2.0, 3.0, 0.0]


def test_proportions_may_be_a_little_off():
    region = Region.painted(Image.new("L", (101, 50)))
    check_proportions(region, 128, 64)
    check_proportions(Region(box=(0, 0, 0.5, 1)), 1, 100)
    with pytest.raises(RequestError, match=r"64 : 64.*101 x 50"):
        check_proportions(region, 64, 64)
