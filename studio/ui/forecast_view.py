"""The forecast as HTML: who will dominate, a sentence a pair, what may help at a click, and what is not known."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from lora_loom.pipelines.forecast.report import AdapterReport, PairReport, Remedy, Report
from lora_loom.pipelines.registry import methods
from lora_loom.studio.forecast.forecasts import StackForecast
from lora_loom.studio.library.card import AdapterCard
from lora_loom.studio.templates import render, template_macros
from lora_loom.studio.ui.markup import category_colour
from lora_loom.studio.ui.remedy import PLAIN

PANEL = "ui/forecast_panel.html.j2"
MAX_PAIRS = 6  # sentences shown at once; the others fold
DOMINANT = 1.5  # times an equal share of the change from which one is said to dominate
ALIKE = 1.1  # times as strong as the faintest below which nothing is worth a word
NOTHING = "There is nothing to compare: it takes two LoRAs that can be examined."
SAID = {"green": "Fine", "amber": "With care", "red": "A problem"}


def forecast_view(
    forecast: StackForecast,
    cards: Mapping[str, AdapterCard],
    remedies: Sequence[tuple[int, Remedy]],
    used: Collection[int],
    method: str,
) -> str:
    """A forecast with the remedies on offer, by number; `used` are those in force, `method` is the one chosen."""
    report = forecast.report
    notes = [*forecast.notes]
    notes += report.notes if report else ()
    if report is None or not report.pairs:
        return template_macros(PANEL).panel(forecast.key, "", [NOTHING, *notes])
    said = [each.sentence for adapter in report.adapters for each in adapter.findings]
    if report.together is not None:
        said += [each.sentence for each in report.together.findings]
    shown, words_only = _examined(report)
    ordered = sorted(report.pairs, key=lambda pair: ("red", "amber", "green").index(pair.level))
    body = render(
        "ui/forecast_view.html.j2",
        key=forecast.key,
        leader=_leader(shown) if shown else "",
        shares=[(each.name, _strand(forecast.names[each.name], cards), each.dominance) for each in shown],
        words_only=words_only,
        first=[_pair(pair) for pair in ordered[:MAX_PAIRS]],
        rest=[_pair(pair) for pair in ordered[MAX_PAIRS:]],
        said=said,
        remedies=[_remedy(index, remedy, index in used) for index, remedy in remedies],
    )
    return template_macros(PANEL).panel(forecast.key, body, [*notes, *_limits(report, method)])


def asking_view(words: str) -> str:
    """The offer of a forecast that is not made unasked."""
    return template_macros(PANEL).asking(words)


def waiting_view(before: str) -> str:
    """The view while an examination runs: the one before, faded, or that it runs."""
    return template_macros(PANEL).stale(before or template_macros(PANEL).line("Looking at the weights…"))


def failed_view(why: str) -> str:
    """The view where no forecast can be made, with the reason as a plain line."""
    return template_macros(PANEL).line(why)


def _examined(report: Report) -> tuple[list[AdapterReport], list[str]]:
    """Whose shares of the change to the denoiser are shown, and a sentence for each LoRA that leaves it alone.

    They are the shares of that to the text encoders where none touches the denoiser; none where it is one LoRA.
    """
    examined = [each for each in report.adapters if not each.skipped]
    shown = [each for each in examined if each.norm] or examined
    words_only = [
        f"{each.name} changes how the prompt is read, and nothing else." for each in examined if not each.norm
    ]
    return shown if len(shown) > 1 else [], words_only


def _strand(name: str, cards: Mapping[str, AdapterCard]) -> int:
    return category_colour(cards[name].category if name in cards else "")


def _leader(shown: Sequence[AdapterReport]) -> str:
    """Who dominates, in a sentence."""
    first = max(shown, key=lambda each: each.dominance)
    last = min(shown, key=lambda each: each.dominance)
    if not last.dominance:
        return f"{first.name} will dominate."
    times = (first.dominance / last.dominance) ** 0.5  # shares are of squared norms
    if first.dominance * len(shown) >= DOMINANT:
        return f"{first.name} will dominate: it is {times:.1f} times as strong as {last.name}."
    if times < ALIKE:
        return "None will dominate: they change the model about alike."
    return f"None will clearly dominate: {first.name} is {times:.1f} times as strong as {last.name}."


def _pair(pair: PairReport) -> tuple[PairReport, str, list[str]]:
    """The pair, its level in words, and what else is said of it."""
    further = [each.sentence for each in pair.findings if each.sentence != pair.sentence]
    return pair, SAID[pair.level], further[:2]


def _remedy(index: int, remedy: Remedy, used: bool) -> tuple[int, Remedy, str, str, bool]:
    """The remedy with its number, the method it goes with, what it does to the figures, and whether it is in use."""
    effects = "; ".join(f"{each.what}: {each.before:.2f} → {each.after:.2f}" for each in remedy.effects)
    by = "" if remedy.method == PLAIN else f" ({_title(remedy.method)})"
    return index, remedy, by, effects, used


def _limits(report: Report, method: str) -> list[str]:
    """What a person must not read into it."""
    found: list[str] = []
    if method != PLAIN:
        found.append(f"Told for Merge, which adds LoRAs up; {_title(method)} weaves them in another way.")
    risk = report.together.loss_risk if report.together else None
    if risk is None:
        found.append(
            "Not calibrated on pictures of this base yet: it tells how the weights meet, not what a picture shows."
        )
    else:
        assert report.together is not None
        found.append(f"About {risk:.0%} of pictures by Merge would lack a concept ({report.together.loss_risk_from}).")
    return found


def _title(method: str) -> str:
    known = methods().get(method)
    return known.title if known else method
