"""Is the slider linear and alone: `python -m lora_loom.studio.builders.measure_linearity NAMES`.

For each LoRA the response is measured on some prompts and seeds, and its slider is then tried on others: R^2 of a
straight line through the effect at settings from 0 to 1, beside that of the plain strength. For pairs of PocketCompose
under `lion`, one LoRA stands at 1 while the slider of the other moves: cross-talk is the largest change of the first
one's attribute as a share of its own range. Writes `docs/results/lion_linearity.json`. What was measured is kept, so
that an interrupted run goes on.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lora_loom.pipelines.adapters.load import BaseTarget, load_adapter
from lora_loom.pipelines.families import FusionPipeline
from lora_loom.pipelines.generate import generate_batch
from lora_loom.pipelines.measured.calibrate import STRENGTHS, Response, measured_response
from lora_loom.pipelines.measured.response import ResponseCurve, fitted
from lora_loom.pipelines.request import AdapterChoice, GenerationRequest
from lora_loom.studio.pocket import adapters_path, base_path
from lora_loom.studio.pocket.concepts import concept, prompts
from lora_loom.studio.pocket.judge import Judge, sealed_judge, shipped_judge
from lora_loom.studio.results import Row, write_results
from lora_loom.studio.testbed.sets import LoraSet, sets_of

SETTINGS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
SWEEP = (0.0, 0.5, 1.0)
RESAMPLES = 500
R2_LINE, CROSS_TALK_LINE = 0.98, 0.10
NO_RANGE = 99.0  # the share of a LoRA that has no range of its own in the set


def straightness(settings: Sequence[float], effects: Sequence[float]) -> float:
    """R^2 of the straight line of least squares through the effects at the settings."""
    return float(np.corrcoef(settings, effects)[0, 1] ** 2)


def interval(value: Callable[[Sequence[int]], float], n: int) -> tuple[float, float]:
    """95 % of the bootstrap over n pictures of a value that is computed from some of them."""
    rng = np.random.default_rng(0)
    values = [value(rng.integers(0, n, n).tolist()) for _ in range(RESAMPLES)]
    return float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975))


def linearity_rows(name: str, learnt: Response, at_sliders: Response, at_strengths: Response) -> list[Row]:
    """R^2 of the calibrated slider and of the plain strength of one LoRA, from held-out pictures."""
    rows: list[Row] = []
    for slider, tried in (("calibrated", at_sliders), ("strength", at_strengths)):
        low, high = interval(lambda some, tried=tried: straightness(SETTINGS, tried.effects(some)), len(tried.wholes))
        value = straightness(SETTINGS, tried.effects())
        line = R2_LINE if slider == "calibrated" else None
        rows.append(
            {
                "adapter": name,
                "what": "R2",
                "slider": slider,
                "effects": " ".join(f"{effect:.3f}" for effect in tried.effects()),
                "calibrated_on": len(learnt.wholes),
                "value": round(value, 4),
                "ci_low": round(low, 4),
                "ci_high": round(high, 4),
                "n": len(tried.wholes),
                "line": line,
                "holds": None if line is None else value >= line,
            }
        )
    return rows


def cross_talk_row(
    asked: str, swept: str, other: str, without: Sequence[float], during: Sequence[Sequence[float]]
) -> Row:
    """The largest change of `other`'s attribute [n] over the sweep, as a share of its own range.

    `without` was measured with both LoRAs off, `during` at each setting of the sweep with `other` at 1.
    """

    def share(some: Sequence[int]) -> float:
        means = [float(np.mean([values[k] for k in some])) for values in (without, *during)]
        own = means[1] - means[0]
        change = max(abs(mean - means[1]) for mean in means[1:])
        return min(change / own, NO_RANGE) if own > 0 else NO_RANGE

    n = len(without)
    value, (low, high) = share(range(n)), interval(share, n)
    return {
        "set": asked,
        "what": "cross-talk",
        "swept": swept,
        "attribute": other,
        "means": " ".join(f"{float(np.mean(values)):.3f}" for values in (without, *during)),
        "value": round(value, 4),
        "ci_low": round(low, 4),
        "ci_high": round(high, 4),
        "n": n,
        "line": CROSS_TALK_LINE,
        "holds": value < CROSS_TALK_LINE,
    }


def measure_one(pipe: Any, path: Path, count: int, steps: int) -> dict[str, Any]:
    """The responses of one LoRA: on the prompts that calibrate it, and on others at its sliders and its strengths."""
    name = path.stem
    adapter = load_adapter(path, name=name, target=BaseTarget.from_pipeline(pipe))

    def response(strengths: Sequence[float], part: int) -> Response:
        asked = [text for text, _ in prompts(name, count, seed=part)]
        how: dict[str, Any] = {"num_inference_steps": steps, "first_seed": 10_000 * part}
        return measured_response(pipe, adapter, asked, strengths, **how)

    learnt = response(STRENGTHS, 1)
    curve = fitted(STRENGTHS, learnt.effects())
    assert curve is not None
    return {
        "curve": curve.to_json(),
        "learnt": vars(learnt),
        "at_sliders": vars(response([curve.strength(s) for s in SETTINGS], 2)),
        "at_strengths": vars(response(SETTINGS, 2)),
    }


def measure_pair(
    pipe: Any, judge: Judge, asked: LoraSet, curves: dict[str, ResponseCurve], count: int, steps: int
) -> list[Row]:
    """Each LoRA of a set swept while the other stands at 1, under lion."""

    def probability(strengths: dict[str, float], of: str) -> list[float]:
        requests = [
            GenerationRequest(
                prompt=asked.prompt,
                adapters=tuple(AdapterChoice(name, strength) for name, strength in strengths.items()),
                method="lion",
                num_inference_steps=steps,
                seed=seed,
            )
            for seed in asked.seeds(count)
        ]
        pictures = np.stack([np.asarray(image) for image in generate_batch(pipe, requests, pipe.adapters).images])
        factor = concept(of).factor
        place = list(judge.spec.classes[factor]).index(of)
        return [float(each) for each in judge.probabilities(pictures)[factor][:, place]]

    rows: list[Row] = []
    for swept, other in (asked.members, asked.members[::-1]):
        without = probability(dict.fromkeys(asked.members, 0.0), other)
        during = [probability({swept: curves[swept].strength(s), other: 1.0}, other) for s in SWEEP]
        rows.append(cross_talk_row(asked.name, swept, other, without, during))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="LoRAs to measure; all by default")
    parser.add_argument("--base", type=Path, default=base_path())
    parser.add_argument("--adapters", type=Path, default=adapters_path())
    parser.add_argument("--count", type=int, default=12, help="pictures at each setting")
    parser.add_argument("--pairs", type=int, default=4, help="sets of two to measure cross-talk in")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--judge", choices=("development", "sealed"), default="sealed")
    parser.add_argument("--work", type=Path, default=Path("outputs/lion_linearity"), help="where parts are kept")
    parser.add_argument("--quick", action="store_true", help="print the figures, write no result")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    names = arguments.names or sorted(path.stem for path in arguments.adapters.glob("*.safetensors"))
    pipe = FusionPipeline.from_pretrained(str(arguments.base))
    pipe.set_progress_bar_config(disable=True)
    rows: list[Row] = []
    curves: dict[str, ResponseCurve] = {}
    for name in names:
        held = _kept(
            arguments.work / f"{name}.{arguments.count}.{arguments.steps}.json",
            lambda name=name: measure_one(
                pipe, arguments.adapters / f"{name}.safetensors", arguments.count, arguments.steps
            ),
        )
        curves[name] = ResponseCurve.from_json(held["curve"])
        responses = [Response(**held[part]) for part in ("learnt", "at_sliders", "at_strengths")]
        rows += linearity_rows(name, *responses)
        print(*(json.dumps(row) for row in rows[-2:]), sep="\n", flush=True)
    judge = sealed_judge() if arguments.judge == "sealed" else shipped_judge()
    for name in names:
        pipe.load_lora_weights(str(arguments.adapters / f"{name}.safetensors"), adapter_name=name)
    pairs = [each for each in sets_of("test", (2,)) if set(each.members) <= set(names)][: arguments.pairs]
    for asked in pairs:
        rows += _kept(
            arguments.work / f"{asked.name}.{arguments.count}.{arguments.steps}.{arguments.judge}.json",
            lambda asked=asked: measure_pair(pipe, judge, asked, curves, arguments.count, arguments.steps),
        )
        print(*(json.dumps(row) for row in rows[-2:]), sep="\n", flush=True)
    if not arguments.quick:
        options = f"--count {arguments.count} --pairs {arguments.pairs} --steps {arguments.steps}"
        command = f"python -m lora_loom.studio.builders.measure_linearity {' '.join(names)} {options}"
        write_results("lion_linearity", f"{command} --judge {arguments.judge}", rows)


def _kept(path: Path, make: Callable[[], Any]) -> Any:
    """What was measured before under this name, or what is measured now."""
    if not path.exists():
        path.write_text(json.dumps(make()))
    return json.loads(path.read_text())


if __name__ == "__main__":
    main()
