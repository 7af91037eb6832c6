"""Updates of every low-rank kind as one exact product up @ down, of the smallest rank that their form allows.

Convolutions are flattened: `down` is [r in*kh*kw]. LyCORIS kinds after arXiv:2309.14859 section 3 and the reference
code.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

Rows = tuple[tuple[int, int], ...]


class Product(NamedTuple):
    """The matrix up @ down: `up` [m r], `down` [r n]."""

    up: Tensor
    down: Tensor


def dense(matrix: Tensor) -> Product:
    """Any matrix as a product of rank min(m, n), one factor being the identity."""
    m, n = matrix.shape
    identity = torch.eye(min(m, n), dtype=matrix.dtype, device=matrix.device)
    return Product(identity, matrix) if m <= n else Product(matrix, identity)


def shortest(product: Product) -> Product:
    """The same matrix by a product of rank at most min(m, n)."""
    (m, rank), n = product.up.shape, product.down.shape[1]
    return dense(product.up @ product.down) if rank > min(m, n) else product


def with_core(core: Tensor, up: Tensor, down: Tensor) -> Product:
    """Tucker form of a convolution: core [p q kh kw], up [m p], down [q n] give [m n*kh*kw] of rank p."""
    return Product(up, torch.einsum("pqkl,qn->pnkl", core, down).flatten(1))


def hadamard(first: Product, second: Product) -> Product:
    """LoHa: the elementwise product of two matrices, by the Khatri-Rao product of their factors.

    (U1 D1 * U2 D2)[m, n] = sum over i, j of U1[m, i] U2[m, j] D1[i, n] D2[j, n], so its rank is at most r1 r2.
    """
    (m, r1), (r2, n) = first.up.shape, second.down.shape
    if r1 * r2 >= min(m, n):
        return dense((first.up @ first.down) * (second.up @ second.down))
    up = torch.einsum("mi,mj->mij", first.up, second.up).flatten(1)
    down = torch.einsum("in,jn->ijn", first.down, second.down).flatten(0, 1)
    return Product(up, down)


def kronecker(first: Product, second: Product) -> Product:
    """LoKr: the Kronecker product of two matrices: (U1 D1) x (U2 D2) = (U1 x U2) (D1 x D2), the mixed-product rule."""
    first, second = shortest(first), shortest(second)
    return Product(torch.kron(first.up, second.up), torch.kron(first.down, second.down))


def take_rows(product: Product, rows: Rows) -> Product:
    """Some rows of the matrix, without those ranks that only served other rows.

    A trainer that gives each part of a fused layer its own LoRA stores them as one block-diagonal `up`.
    """
    up = torch.cat([product.up[start:end] for start, end in rows])
    used = up.any(dim=0)
    used[0] |= ~used.any()  # an untrained part is zero: one rank says so
    return Product(up, product.down) if bool(used.all()) else Product(up[:, used], product.down[used])
