"""A share counted by an imperfect judge, corrected for what the judge is known to get wrong, with its interval.

Rogan and Gladen (1978): p = (q + sp - 1) / (se + sp - 1), where q is the share that the judge counted, se the chance
that it sees a present concept (sensitivity) and sp the chance that it does not see an absent one (specificity).
"""

from dataclasses import dataclass

import numpy as np

from lora_loom.pipelines.errors import LoomError

RESAMPLES = 4000


@dataclass(frozen=True)
class Counted:
    """`hits` of `n`."""

    hits: int
    n: int

    def __post_init__(self) -> None:
        if self.n < 1 or not 0 <= self.hits <= self.n:
            raise ValueError(f"hits must be in [0, n] and n at least 1; got {self.hits} of {self.n}")

    @property
    def share(self) -> float:
        return self.hits / self.n


@dataclass(frozen=True)
class Corrected:
    """The corrected share and its 95 % interval, all in [0, 1]; `raw` is what the judge counted."""

    value: float
    ci_low: float
    ci_high: float
    raw: float


def rogan_gladen(share: float, sensitivity: float, specificity: float) -> float:
    """The corrected share, clipped to [0, 1].

    Raises LoomError when the judge says yes to absent concepts as often as to present ones: it then tells nothing.
    """
    youden = sensitivity + specificity - 1
    if youden <= 0:
        raise LoomError(
            "a share cannot be corrected for a judge that is no better than chance",
            expected="sensitivity + specificity > 1",
            found=f"{sensitivity:.3f} + {specificity:.3f}",
        )
    return min(1.0, max(0.0, (share + specificity - 1) / youden))


def corrected_share(judged: Counted, present: Counted, absent: Counted, seed: int = 0) -> Corrected:
    """Correct `judged` by a judge that saw `present.hits` of `present.n` concepts that were there.

    `absent` counts those it rightly did not see where they were not. The interval carries the uncertainty of all three
    samples: each share is drawn from its posterior under Jeffreys' prior, `RESAMPLES` times with a fixed seed. (A plain
    bootstrap would give no width at all to a judge that was right in every case.) Draws in which the judge would be no
    better than chance are left out.
    """
    rng = np.random.default_rng(seed)
    q, se, sp = (
        rng.beta(c.hits + 0.5, c.n - c.hits + 0.5, RESAMPLES) for c in (judged, present, absent)
    )  # [resamples]
    youden = se + sp - 1
    drawn = np.clip((q + sp - 1)[youden > 0] / youden[youden > 0], 0, 1)
    value = rogan_gladen(judged.share, present.share, absent.share)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Corrected(value, min(value, float(low)), max(value, float(high)), judged.share)
