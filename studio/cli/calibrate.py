"""`loom calibrate`: measure what a LoRA does at which strength, so that its slider can be linear in the effect."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lora_loom.pipelines.errors import RequestError
from lora_loom.studio.cli.output import AsJson, Force, plain, print_json, warnings_told

if TYPE_CHECKING:
    from lora_loom.studio.library.card import AdapterCard

FRAMES = ("{}", "a picture of {}", "{}, close up", "{} in the distance")  # prompts made of the trigger words


def command(
    lora: Annotated[str, typer.Argument(metavar="NAME", help="A LoRA of the library.")],
    measure: Annotated[
        Literal["change", "judge"],
        typer.Option(help="change: how far pictures go; judge: how sure the pocket judge is of the concept."),
    ] = "change",
    pictures: Annotated[int, typer.Option(min=1, max=1024, help="Pictures at each of the seven strengths.")] = 16,
    prompt: Annotated[
        list[str] | None, typer.Option(help="What to draw; repeatable (made of the trigger words).")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, max=1000, help="Denoising steps.")] = 20,
    guidance: Annotated[float, typer.Option(help="How strictly the prompt is followed.")] = 3.0,
    seed: Annotated[int, typer.Option(min=0, help="Picture k is drawn from seed + k.")] = 0,
    base: Annotated[str, typer.Option(help="Base model: a name, hub id, folder or file.")] = "pocket",
    library: Annotated[list[Path] | None, typer.Option(help="A folder of LoRAs; repeatable.")] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Draw a LoRA at strengths from 0 to 1.5 and write its response to NAME.response.json beside it."""
    from lora_loom.pipelines.adapters.load import BaseTarget, load_adapter
    from lora_loom.pipelines.measured.calibrate import STRENGTHS, measured_response
    from lora_loom.pipelines.measured.response import fitted
    from lora_loom.studio.library.adapter_library import AdapterLibrary
    from lora_loom.studio.library.responses import save_curve
    from lora_loom.studio.session import Studio, library_roots

    studio = Studio(base, AdapterLibrary(library_roots(library or [])))
    card = studio.library.find_or_add(lora)
    asked = prompts_for(card, prompt or [], pictures, base)
    attribute = _judged(card) if measure == "judge" else None
    target = BaseTarget.from_pipeline(studio.pipeline)
    with warnings_told():
        adapter = load_adapter(card.path, name=card.name, target=target, force=force)
    with _progress(len(STRENGTHS)) as shown:
        response = measured_response(
            studio.pipeline,
            adapter,
            asked,
            attribute=attribute,
            num_inference_steps=steps,
            guidance_scale=guidance,
            first_seed=seed,
            on_strength=shown,
        )
    effects = response.effects()
    curve = fitted(STRENGTHS, effects, measure=measure, pictures=pictures, adapter_sha256=card.sha256, base_model=base)
    if curve is None:
        raise RequestError(
            f"{card.name} has no effect that {measure} could measure",
            found=f"{effects[0]:.3f} at strength 0 and {effects[STRENGTHS.index(1.0)]:.3f} at 1",
            remedy="Name prompts that ask for what the LoRA draws.",
        )
    path = save_curve(curve, card.path)
    if as_json:
        print_json({"path": str(path), "measured": effects, "strengths": list(STRENGTHS), "effects": curve.effects})
        return
    typer.echo(plain(str(path)))
    for strength, effect in zip(curve.strengths, curve.effects, strict=True):
        typer.echo(f"  strength {strength:4.2f}: {effect:7.1%} of the effect")


def prompts_for(card: AdapterCard, given: Sequence[str], count: int, base: str) -> list[str]:
    """One prompt a picture: those given in turn, the pocket world's own for its concepts, or the trigger words."""
    from lora_loom.studio.pocket.concepts import CONCEPTS, prompts

    if not given and base == "pocket" and card.name in CONCEPTS:
        return [text for text, _ in prompts(card.name, count)]
    words = card.trigger or card.title
    texts = list(given) or [frame.format(words) for frame in FRAMES]
    return [texts[k % len(texts)] for k in range(count)]


def _judged(card: AdapterCard) -> Callable[[Any], Sequence[float]]:
    """The pocket judge's probability that a picture shows the concept; raises RequestError for what it never learnt."""
    from lora_loom.studio.pocket.concepts import CONCEPTS
    from lora_loom.studio.pocket.judge import shipped_judge

    judge = shipped_judge()
    concept = CONCEPTS.get(card.name)
    if concept is None or card.name not in judge.spec.classes.get(concept.factor, ()):
        raise RequestError(f"the pocket judge does not know {card.name}", remedy="Use --measure change.")
    place = list(judge.spec.classes[concept.factor]).index(card.name)
    return lambda pictures: [float(each) for each in judge.probabilities(pictures)[concept.factor][:, place]]


@contextlib.contextmanager
def _progress(strengths: int) -> Any:
    """A bar on standard error; standard output stays free for the result."""
    from tqdm import tqdm

    with tqdm(total=strengths, file=sys.stderr, disable=None, unit="strength") as bar:
        yield lambda strength: bar.update()
