"""Measuring influence during a run: from the predictions of passes that keep adapters apart, else by probes.

A plan whose passes each open one adapter says for free what the prediction is without it: its combination leaves that
pass out. Where a pass opens all adapters at once, a probe computes it again with one of them shut.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor

from lora_loom.pipelines.measured.influence import Influence
from lora_loom.pipelines.plan import Combine, Gates, Pass, Predictions

Probe = Callable[[Sequence[Pass]], Tensor]  # passes -> predictions [n b' ...] of the rows that decide


class InfluenceMeter:
    """What each of `names` changed at every step seen so far; `points` steps are probed where nothing is free."""

    def __init__(self, names: Sequence[str], points: int) -> None:
        self.names = tuple(names)
        self.points = points
        self._seen: dict[str, dict[int, Tensor]] = {name: {} for name in names}
        self._shut: dict[str, set[int]] = defaultdict(set)
        self._probed: dict[str, int] = defaultdict(int)
        self._num_steps = 0
        self.finished: list[dict[str, Influence]] = []  # of earlier runs

    def begin(self) -> None:
        """Start another run."""
        if self._num_steps:
            self.finished.append(self._of_this_run())
        self._seen = {name: {} for name in self.names}
        self._shut.clear()
        self._probed.clear()
        self._num_steps = 0

    def observe(self, predictions: Predictions, combined: Tensor, combine: Combine, probe: Probe) -> None:
        """Look at one call of the denoiser, answered with `combined` [b ...]."""
        index = predictions.state.index
        if not predictions.conditional or any(each.region for each in predictions.passes):
            return
        if index < self._num_steps:  # the second call of a second-order step
            return
        self._num_steps = index + 1
        due: list[str] = []
        for name in self.names:
            opening = [k for k, each in enumerate(predictions.passes) if each.weight and _opens(each, name)]
            if not opening:
                self._shut[name].add(index)
            elif _kept_apart(predictions.passes, opening, name):
                self._seen[name][index] = _change(predictions, combined, combine(_without(predictions, opening)))
            elif self._is_due(name, predictions) and len(predictions.passes) == 1:
                due.append(name)
        if due:
            (only,) = predictions.passes
            found = probe([_shut(only, name) for name in due])
            for name, eps in zip(due, found, strict=True):
                self._seen[name][index] = _change(predictions, combined, eps)
                self._probed[name] += 1

    def _is_due(self, name: str, predictions: Predictions) -> bool:
        done, state = self._probed[name], predictions.state
        if done >= self.points:
            return False
        return state.index >= max(
            min(1, state.num_inference_steps - 1), done * state.num_inference_steps // self.points
        )

    def found(self) -> dict[str, Influence]:
        """By name, the mean over all runs; adapters that could not be measured are left out."""
        runs = [*self.finished, *([self._of_this_run()] if self._num_steps else [])]
        return {
            name: Influence.mean([run[name] for run in runs if name in run])
            for name in self.names
            if any(name in run for run in runs)
        }

    def _of_this_run(self) -> dict[str, Influence]:
        return {
            name: Influence.of(
                {index: float(share) for index, share in self._seen[name].items()}, self._shut[name], self._num_steps
            )
            for name in self.names
            if self._seen[name] or self._shut[name]
        }


def text_gates_without(text_passes: Sequence[Gates]) -> list[Gates]:
    """The gates that probes encode prompts with."""
    return [_less(gates, name) for gates in text_passes for name in gates]


def _opens(each: Pass, name: str) -> bool:
    return bool(each.gates.get(name) or each.encoded_with.get(name))


def _kept_apart(passes: Sequence[Pass], opening: Sequence[int], name: str) -> bool:
    """Whether leaving these passes out leaves out this adapter and nothing else."""
    others = [each for k, each in enumerate(passes) if k not in opening and each.weight]
    along = {other for k in opening for other, gate in passes[k].gates.items() if gate and other != name}
    return bool(others) and all(each.gates.get(other) for other in along for each in others)


def _without(predictions: Predictions, left_out: Sequence[int]) -> Predictions:
    """The predictions lacking some passes, with a memory whose changes go nowhere."""
    kept = [k for k in range(len(predictions.passes)) if k not in left_out]
    return replace(
        predictions,
        noise_preds=predictions.noise_preds[kept],
        weights=predictions.weights[kept],
        passes=[predictions.passes[k] for k in kept],
        memory=dict(predictions.memory),
    )


def _shut(each: Pass, name: str) -> Pass:
    return replace(each, gates=_less(each.gates, name), text_gates=_less(each.encoded_with, name))


def _less(gates: Gates, name: str) -> Gates:
    return {other: gate for other, gate in gates.items() if other != name}


def _change(predictions: Predictions, combined: Tensor, eps: Tensor) -> Tensor:
    """||combined - eps|| / ||combined|| over the rows that decide; a tensor, as reading it would wait for a GPU."""
    own = combined[predictions.deciding].float()
    its = (eps if len(eps) == len(own) else eps[predictions.deciding]).float()
    return (own - its).square().sum().sqrt() / own.square().sum().sqrt().clamp_min(1e-20)
