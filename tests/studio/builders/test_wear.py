"""Worn pictures stay pictures of the same thing; ruined ones do not; the cosine blocks are orthonormal."""

import pytest
import torch

from lora_loom.studio.builders.wear import _cosines, moved, quantised, ruined, worn


@pytest.fixture
def pictures() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.nn.functional.interpolate(torch.rand(24, 3, 4, 4), (32, 32), mode="bicubic").clamp(0, 1) * 2 - 1


def test_the_cosines_are_orthonormal() -> None:
    basis = _cosines(torch.device("cpu"))
    assert torch.allclose(basis @ basis.T, torch.eye(8), atol=1e-5)


def test_quantising_no_picture_changes_none(pictures: torch.Tensor) -> None:
    assert torch.equal(quantised(pictures, 0.0), pictures)
    assert 0 < (quantised(pictures, 1.0) - pictures).abs().mean() < 0.1


def test_moving_by_nothing_is_the_identity(pictures: torch.Tensor) -> None:
    assert torch.allclose(moved(pictures, 0, 0, 0), pictures, atol=1e-5)


@pytest.mark.parametrize("sealed", [False, True])
def test_worn_pictures_are_near_and_in_range(pictures: torch.Tensor, sealed: bool) -> None:
    y = worn(pictures, sealed=sealed)
    assert y.shape == pictures.shape
    assert y.abs().max() <= 1
    assert 0.005 < (y - pictures).abs().mean() < 0.3


def test_ruined_pictures_are_far_from_all(pictures: torch.Tensor) -> None:
    y = ruined(pictures)
    assert y.shape == pictures.shape
    distance = (y[:, None] - pictures[None]).abs().flatten(2).mean(2)  # [ruined pictures]
    assert distance.amin(1).min() > 0.05
