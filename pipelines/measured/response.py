"""How much of its effect an adapter has at which strength: a measured curve, and the slider that it makes linear.

Strength is a factor on weights, and what is seen in a picture does not follow it evenly: little at first, then much,
then no more. With the effect y measured at a few strengths, a monotone cubic through the points (PCHIP; Fritsch and
Carlson, SIAM J. Numer. Anal. 17, 1980) is inverted, so that half the slider is half the effect: the linear strength of
LiON-LoRA (arXiv:2507.05678) without training, for any adapter.
"""

from __future__ import annotations

import bisect
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, cast

from lora_loom.pipelines.checked_json import parse_json
from lora_loom.pipelines.errors import AdapterFileError

LEAST_EFFECT = 1e-6  # a whole effect below this is none
HALVINGS = 60


@dataclass(frozen=True)
class ResponseCurve:
    """Effects at rising strengths from 0, with effect 0 at strength 0 and 1 at strength 1, never falling.

    `measure` says what was taken for the effect, `pictures` over how many at each strength, `adapter_sha256` of which
    file, `base_model` on which base.
    """

    strengths: tuple[float, ...]
    effects: tuple[float, ...]
    measure: str = ""
    pictures: int = 0
    adapter_sha256: str = ""
    base_model: str = ""

    def __post_init__(self) -> None:
        x, y = self.strengths, self.effects
        rising = all(a < b for a, b in itertools.pairwise(x))
        growing = all(a <= b for a, b in itertools.pairwise(y))
        sound = all(math.isfinite(value) for value in (*x, *y))
        if not (sound and len(x) == len(y) >= 2 and x[0] == y[0] == 0.0 and 1.0 in x and rising and growing):
            raise AdapterFileError(
                "a response curve makes no sense",
                expected="rising strengths from 0 with one of 1, and effects that never fall, from 0",
                found=f"strengths {x}, effects {y}"[:200],
                remedy="Measure it again with `loom calibrate`.",
            )

    def effect(self, strength: float) -> float:
        """The effect at a strength; the same on the other side of 0, and level beyond the largest one measured."""
        x = min(abs(strength), self.strengths[-1])
        k = min(bisect.bisect_right(self.strengths, x), len(self.strengths) - 1) - 1
        return math.copysign(self._cubic(k, x), strength)

    def strength(self, effect: float) -> float:
        """The strength that has an effect; the largest one measured for effects that none has."""
        wanted = abs(effect)
        if wanted >= self.effects[-1]:
            return math.copysign(self.strengths[bisect.bisect_left(self.effects, self.effects[-1])], effect)
        k = bisect.bisect_right(self.effects, wanted) - 1
        low, high = self.strengths[k], self.strengths[k + 1]
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if self._cubic(k, middle) < wanted else (low, middle)
        return math.copysign((low + high) / 2, effect) if wanted else 0.0

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> ResponseCurve:
        """The curve that `to_json` gave; raises AdapterFileError for anything else."""
        try:
            data = parse_json(text)
            return cls(
                strengths=_numbers(data["strengths"]),
                effects=_numbers(data["effects"]),
                measure=str(data.get("measure", "")),
                pictures=int(data.get("pictures", 0)),
                adapter_sha256=str(data.get("adapter_sha256", "")),
                base_model=str(data.get("base_model", "")),
            )
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise AdapterFileError(
                "a response curve cannot be read",
                found=str(error)[:200],
                remedy="Measure it again with `loom calibrate`.",
            ) from error

    @cached_property
    def _slopes(self) -> tuple[float, ...]:
        """dy/dx at the points: weighted harmonic means of the slopes beside them, 0 where those are 0."""
        h = [b - a for a, b in itertools.pairwise(self.strengths)]
        d = [(b - a) / step for (a, b), step in zip(itertools.pairwise(self.effects), h, strict=True)]
        inner = [
            (3 * (h[k - 1] + h[k])) / ((2 * h[k] + h[k - 1]) / d[k - 1] + (h[k] + 2 * h[k - 1]) / d[k])
            if d[k - 1] and d[k]
            else 0.0
            for k in range(1, len(d))
        ]
        if not inner:
            return d[0], d[0]
        return _end_slope(h[0], h[1], d[0], d[1]), *inner, _end_slope(h[-1], h[-2], d[-1], d[-2])

    def _cubic(self, k: int, x: float) -> float:
        """The Hermite cubic between point k and the next."""
        h = self.strengths[k + 1] - self.strengths[k]
        t = (x - self.strengths[k]) / h
        y, dy = self.effects, self._slopes
        value = (
            y[k] * (1 + 2 * t) * (1 - t) ** 2
            + h * dy[k] * t * (1 - t) ** 2
            + y[k + 1] * t**2 * (3 - 2 * t)
            - h * dy[k + 1] * t**2 * (1 - t)
        )
        return min(max(value, y[k]), y[k + 1])  # monotone in exact numbers, and so in rounded ones


def fitted(strengths: Sequence[float], values: Sequence[float], **about: Any) -> ResponseCurve | None:
    """The curve of measured values: made monotone by least squares, 0 at strength 0 and 1 at strength 1.

    None where the adapter has no effect at strength 1 that could be told from none. `about` goes into the curve.
    """
    even = _isotonic([value - values[0] for value in values])
    even = [value - even[0] for value in even]
    whole = even[list(strengths).index(1.0)]
    if whole < LEAST_EFFECT:
        return None
    return ResponseCurve(tuple(strengths), tuple(value / whole for value in even), **about)


def _isotonic(values: Sequence[float]) -> list[float]:
    """The closest sequence that never falls, in least squares: neighbours out of order are pooled."""
    pools: list[list[float]] = []  # sum, count
    for value in values:
        pools.append([value, 1.0])
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] > pools[-1][0] / pools[-1][1]:
            total, count = pools.pop()
            pools[-1][0] += total
            pools[-1][1] += count
    return [total / count for total, count in pools for _ in range(int(count))]


def _end_slope(h: float, beyond: float, d: float, next_d: float) -> float:
    """The three-point slope at an end, kept from turning round."""
    return max(((2 * h + beyond) * d - h * next_d) / (h + beyond), 0.0) if d else 0.0


def _numbers(values: object) -> tuple[float, ...]:
    if not isinstance(values, list):
        raise TypeError("not a list of numbers")
    return tuple(float(value) for value in cast("list[Any]", values))
