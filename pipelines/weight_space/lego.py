"""LEGO: the ranks of all updates as units, clustered, one rank a cluster (LoRA-LEGO, arXiv:2409.16167).

A unit is one rank b a^T in the canonical gauge, b = sqrt(s) u and a = sqrt(s) v, so that clusters do not depend on how
the factors were trained; (b, a) and (-b, -a) are one unit, so distances take the closer sign. A cluster becomes the
mean of its units, scaled to the norm of the update that they make together: with as many clusters as units this is
the exact sum, and twins add up. Everything runs on inner products [R R] of the R units.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lora_loom.pipelines.adapters.factors import LoraFactors
from lora_loom.pipelines.weight_space.canonical import canonical
from lora_loom.pipelines.weight_space.stack import Weighted

MAX_ROUNDS = 50


def lego(updates: Sequence[Weighted], rank: int) -> LoraFactors:
    """The LEGO merge of updates of one layer to at most `rank` ranks."""
    forms = [(weight, canonical(factors)) for weight, factors in updates]
    roots = [(form.s * abs(weight)).sqrt() for weight, form in forms]
    b = torch.cat([form.u * root for (_, form), root in zip(forms, roots, strict=True)], dim=1)  # [m R]
    a = torch.cat(
        [form.v * root * (1.0 if weight > 0 else -1.0) for (weight, form), root in zip(forms, roots, strict=True)],
        dim=1,
    )  # [n R]
    inputs = forms[0][1].inputs
    if b.shape[1]:
        outputs, into = b.T @ b, a.T @ a
        mixing = centroids(outputs, into, min(rank, b.shape[1]))  # [R k]
        b, a = b @ mixing, a @ mixing
    else:
        b, a = b.new_zeros(len(b), 1), a.new_zeros(len(a), 1)
    return LoraFactors(a.T.float().reshape(-1, *inputs).contiguous(), b.float().contiguous())


def centroids(outputs: Tensor, into: Tensor, k: int) -> Tensor:
    """How the k centroids are mixed from the units [R k], from b^T b and a^T a, both [R R]."""
    gram = outputs + into
    owner, sign = clusters(gram, k)
    mixing = torch.zeros(len(gram), k, dtype=gram.dtype, device=gram.device)
    for cluster in range(k):
        members = (owner == cluster).nonzero().flatten()
        mixing[members, cluster] = sign[members] / len(members)
        own = torch.outer(sign[members], sign[members])
        together = float((outputs[members][:, members] * into[members][:, members]).sum())
        mean = float((outputs[members][:, members] * own).mean() * (into[members][:, members] * own).mean())
        if mean > 0.0:  # |mean b|^2 |mean a|^2: opposite units may leave nothing to scale
            mixing[:, cluster] *= (max(together, 0.0) / mean) ** 0.25
    return mixing


def clusters(gram: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """k-means of the units from their inner products: the cluster [R] of each and the sign [R] it goes in with.

    Starts from the longest unit and then whichever is farthest from those chosen, so nothing is random, and no cluster
    ends up empty.
    """
    length = gram.diagonal()
    chosen = [int(length.argmax())]
    nearest = _gap(gram, length, chosen[0])
    while len(chosen) < k:
        nearest[chosen] = -1.0
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, _gap(gram, length, chosen[-1]))
    owner = torch.stack([_gap(gram, length, unit) for unit in chosen]).argmin(dim=0)
    owner[chosen] = torch.arange(k, device=gram.device)
    sign = torch.where(gram[torch.tensor(chosen, device=gram.device)[owner], torch.arange(len(gram))] < 0, -1.0, 1.0)
    sign = sign.to(gram.dtype)
    for _ in range(MAX_ROUNDS):
        mean = torch.zeros(len(gram), k, dtype=gram.dtype, device=gram.device)
        mean[torch.arange(len(gram)), owner] = sign
        mean = mean / mean.abs().sum(dim=0).clamp_min(1.0)
        product = gram @ mean  # [R k]: <unit, centroid>
        gaps = length[:, None] - 2.0 * product.abs() + (mean * product).sum(dim=0)
        moved = gaps.argmin(dim=1)
        for cluster in range(k):
            sizes = moved.bincount(minlength=k)
            if not sizes[cluster]:  # emptied: it takes the unit that is farthest from its own centroid
                lonely = gaps.gather(1, moved[:, None]).squeeze(1).masked_fill(sizes[moved] == 1, -1.0)
                moved[lonely.argmax()] = cluster
        flipped = torch.where(product.gather(1, moved[:, None]).squeeze(1) < 0, -1.0, 1.0).to(gram.dtype)
        if torch.equal(moved, owner) and torch.equal(flipped, sign):
            break
        owner, sign = moved, flipped
    return owner, sign


def _gap(gram: Tensor, length: Tensor, unit: int) -> Tensor:
    """Squared distances [R] of all units to one, by the closer sign."""
    return length + length[unit] - 2.0 * gram[unit].abs()
