"""Energies and agreements from the rank space are those of the outputs themselves."""

import pytest
import torch

from lora_loom.pipelines.gating.evidence import FEATURES, Basis, company_of, gather

RANKS, WIDTH = (2, 3, 1), 7
EXACT = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture
def layer():
    generator = torch.Generator().manual_seed(0)
    h, up = torch.randn(4, 5, 6, generator=generator), torch.randn(6, WIDTH, generator=generator)
    return h, up, torch.rand(4, 5, generator=generator) + 0.5


def outputs(spoken, up, ranks=RANKS):
    return torch.stack(
        [h @ b for h, b in zip(spoken.split(ranks, -1), up.split(ranks), strict=True)], dim=2
    )  # [b t n d_out]


def test_the_features_are_those_of_the_outputs(layer):
    h, up, base = layer
    strengths = torch.ones(4, 3)
    found = gather(h, base, Basis.of(up, RANKS), strengths)
    y = outputs(h, up)
    energy = y.square().sum(-1)
    torch.testing.assert_close(found.energy, energy, **EXACT)
    level = energy.mean(1, keepdim=True)
    others = y.sum(2, keepdim=True) - y
    salience = energy / level
    expected = {
        "salience": salience.log(),
        "contrast": (salience / salience.mean(-1, keepdim=True)).log(),
        "share": (energy / energy.sum(-1, keepdim=True)).log(),
        "loudness": (level / level.sum(-1, keepdim=True)).log().expand_as(energy),
        "agreement": torch.cosine_similarity(y, others, dim=-1),
        "size": (energy / base[..., None]).log(),
    }
    assert tuple(expected) == FEATURES
    for index, values in enumerate(expected.values()):
        torch.testing.assert_close(found.features[..., index], values.clamp(-6, 6), rtol=1e-3, atol=1e-4)


def test_the_order_of_adapters_is_the_order_of_their_evidence(layer):
    h, up, base = layer
    strengths = torch.tensor([[1.0, 0.5, -2.0]]).expand(4, 3)
    found = gather(h, base, Basis.of(up, RANKS), strengths)
    order = [2, 0, 1]
    h_parts, up_parts = h.split(RANKS, -1), up.split(RANKS)
    other = gather(
        torch.cat([h_parts[k] for k in order], -1),
        base,
        Basis.of(torch.cat([up_parts[k] for k in order]), [RANKS[k] for k in order]),
        strengths[:, order],
    )
    torch.testing.assert_close(other.features, found.features[:, :, order], **EXACT)
    torch.testing.assert_close(other.company, found.company[..., order])


def test_the_basis_of_an_adapter_does_not_matter(layer):
    h, up, base = layer
    ones = torch.ones(4, 3)
    found = gather(h, base, Basis.of(up, RANKS), ones)
    mixed = torch.block_diag(
        *(torch.randn(r, r, generator=torch.Generator().manual_seed(r)) + 2 * torch.eye(r) for r in RANKS)
    )
    other = gather(h @ mixed, base, Basis.of(torch.linalg.inv(mixed) @ up, RANKS), ones)
    torch.testing.assert_close(other.features, found.features, rtol=1e-3, atol=1e-3)


def test_an_adapter_that_is_off_changes_nothing_for_the_others(layer):
    h, up, base = layer
    off = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0, 1.0])
    found = gather(h * off, base, Basis.of(up, RANKS), torch.tensor([[1.0, 0.0, 1.0]]).expand(4, 3))
    without = [0, 1, 5]
    alone = gather(h[..., without], base, Basis.of(up[without], (2, 1)), torch.ones(4, 2))
    torch.testing.assert_close(found.features[:, :, [0, 2]], alone.features, **EXACT)
    assert (found.features[:, :, 1] == 0).all()


def test_company_is_what_there_is_beside_one():
    strengths = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.25, 0.0], [1.0, -1.0, 1.0]])
    expected = [[[0.0, 1.0, 1.0]], [[0.25, 1.0, 1.0]], [[1.0, 1.0, 1.0]]]
    assert company_of(strengths).tolist() == expected
