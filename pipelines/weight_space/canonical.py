"""The canonical form of an update: its thin singular value decomposition, computed on the factors.

    B A = U S V^T        B [m r], A [r n]  ->  U [m k], S [k], V [n k],  k = rank of the update

(B, A) and (B G^-1, G A) are one update for any invertible G; what compares or cuts single ranks must not depend on G,
so it starts here. Thin QR of both factors leaves an r x r matrix to decompose: 4 (m + n) r^2 + 20 r^3 operations.
Everything runs in float64 on r x r matrices; factors come back in float32.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lora_loom.pipelines.adapters.factors import LoraFactors
from lora_loom.pipelines.weight_space.decompose import frobenius, thin_qr, thin_svd

RELATIVE_FLOOR = 1e-6  # singular values below this share of the largest are rounding of the float32 factors


@dataclass(frozen=True)
class Spectrum:
    """U S V^T of one update in float64, S falling; `inputs` is [in] or [in kh kw], which V's rows flatten.

    An update of zeros has k = 0.
    """

    u: Tensor  # [m k], orthonormal columns
    s: Tensor  # [k]
    v: Tensor  # [n k], orthonormal columns
    inputs: tuple[int, ...]

    @property
    def rank(self) -> int:
        return self.s.shape[0]

    @property
    def norm(self) -> float:
        """The Frobenius norm of the update."""
        return frobenius(self.s)

    def cut(self, rank: int) -> Spectrum:
        """The best update of at most this rank (Eckart and Young)."""
        return Spectrum(self.u[:, :rank], self.s[:rank], self.v[:, :rank], self.inputs)


def canonical(factors: LoraFactors) -> Spectrum:
    """The canonical form of an update."""
    q_b, r_b = thin_qr(factors.up.double())
    q_a, r_a = thin_qr(factors.down.flatten(1).double().T)
    return spectrum(q_b, r_b @ r_a.T, q_a, tuple(factors.down.shape[1:]))


def spectrum(q_out: Tensor, core: Tensor, q_in: Tensor, inputs: tuple[int, ...]) -> Spectrum:
    """The canonical form of Q_out core Q_in^T: [m p] [p q] [n q]^T, Q of orthonormal columns."""
    x, s, y = thin_svd(core)
    k = int((s > RELATIVE_FLOOR * s[0]).sum()) if s.numel() else 0
    return Spectrum(q_out @ x[:, :k], s[:k], q_in @ y[:, :k], inputs)


def balanced(form: Spectrum) -> LoraFactors:
    """float32 factors B = U sqrt(S), A = sqrt(S) V^T: of all factors of the update those of the smallest numbers."""
    root = form.s.sqrt()
    return _factors(form.u * root, form.v * root, form.inputs)


def orthonormal_down(form: Spectrum) -> LoraFactors:
    """float32 factors B = U S, A = V^T, so that A has orthonormal rows (FedSVD, arXiv:2505.12805): the form on disk.

    With it the gradient of B is bounded by that of the update where training goes on.
    """
    return _factors(form.u * form.s, form.v, form.inputs)


def _factors(up: Tensor, down: Tensor, inputs: tuple[int, ...]) -> LoraFactors:
    if not up.shape[1]:  # an update of zeros: one rank says so
        up, down = up.new_zeros(len(up), 1), down.new_zeros(len(down), 1)
    return LoraFactors(down.T.float().reshape(-1, *inputs).contiguous(), up.float().contiguous())
