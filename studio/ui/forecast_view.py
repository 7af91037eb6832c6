"""The forecast as HTML: who will dominate, a sentence a pair, what may help at a click, and what is not known."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from lora_loom.pipelines.compatibility.report import AdapterReport, PairReport, Remedy, Report
from lora_loom.pipelines.registry import methods
from lora_loom.studio.forecast.forecasts import StackForecast
from lora_loom.studio.library.card import AdapterCard
from lora_loom.studio.ui.markup import attributes, button, strand, text
from lora_loom.studio.ui.remedy import PLAIN

MAX_PAIRS = 6  # sentences shown at once; the others fold
DOMINANT = 1.5  # times an equal share of the change from which one is said to dominate
ALIKE = 1.1  # times as strong as the faintest below which nothing is worth a word
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
        return _panel(
            forecast.key, "", ["There is nothing to compare: it takes two LoRAs that can be examined.", *notes]
        )
    said = [each.sentence for adapter in report.adapters for each in adapter.findings]
    if report.together is not None:
        said += [each.sentence for each in report.together.findings]
    body = _dominance(report, forecast, cards) + _pairs(report.pairs) + _sentences(said)
    if remedies:
        rows = "".join(_remedy(forecast.key, index, remedy, index in used) for index, remedy in remedies)
        body += f'<h3>What may help</h3><ul class="loom-remedies">{rows}</ul>'
    return _panel(forecast.key, body, [*notes, *_limits(report, method)])


def asking_view(words: str) -> str:
    """The offer of a forecast that is not made unasked."""
    press = button("Look at the weights", "foresee", title="See how these LoRAs will get along")
    return _panel("", f'<p class="loom-quiet">{text(words)} {press}</p>', [])


def waiting_view(before: str) -> str:
    """The view while an examination runs: the one before, faded, or that it runs."""
    inside = before or _panel("", '<p class="loom-quiet">Looking at the weights…</p>', [])
    return f'<div class="loom-stale" aria-busy="true">{inside}</div>'


def failed_view(why: str) -> str:
    """The view where no forecast can be made, with the reason as a plain line."""
    return _panel("", f'<p class="loom-quiet">{text(why, 600)}</p>', [])


def _panel(key: str, body: str, notes: Sequence[str]) -> str:
    return (
        f"<section {attributes(class_='loom-forecast', data_key=key)}><h2>Forecast <small>from the weights, before "
        f"anything is drawn</small></h2>{body}{_sentences(notes)}</section>"
    )


def _dominance(report: Report, forecast: StackForecast, cards: Mapping[str, AdapterCard]) -> str:
    """A bar of the shares of the change to the denoiser; of that to the text encoders where none touches it."""
    examined = [each for each in report.adapters if not each.skipped]
    drawing = [each for each in examined if each.norm]
    shown = drawing or examined
    words_only = [
        f"{each.name} changes how the prompt is read, and nothing else." for each in examined if not each.norm
    ]
    if len(shown) < 2:
        return _sentences(words_only)
    parts = ends = ""
    for each in shown:
        name = forecast.names[each.name]
        colour = f"loom-strand-{strand(cards[name].category if name in cards else '')}"
        share = f"{each.dominance:.0%}"
        parts += (
            f"<span {attributes(class_=colour, title=f'{each.name}: {share} of the change')} "
            f'style="flex-grow:{max(each.dominance, 0.005):.4f}"></span>'
        )
        ends += f'<span class="{colour}"><i></i>{text(each.name)} <b>{share}</b></span>'
    label = attributes(role="img", aria_label="Who will dominate: shares of the change to the model")
    return (
        f'<p class="loom-leader">{text(_leader(shown))}</p><div class="loom-shares" {label}>{parts}</div>'
        f'<div class="loom-legend">{ends}</div>'
        f"{_sentences(words_only)}"
    )


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


def _pairs(pairs: Sequence[PairReport]) -> str:
    ordered = sorted(pairs, key=lambda pair: ("red", "amber", "green").index(pair.level))
    first, rest = ordered[:MAX_PAIRS], ordered[MAX_PAIRS:]
    more = ""
    if rest:
        rows = "".join(map(_pair, rest))
        more = f'<details><summary>{len(rest)} more pairs</summary><ul class="loom-pairs">{rows}</ul></details>'
    return f'<ul class="loom-pairs">{"".join(map(_pair, first))}</ul>{more}'


def _pair(pair: PairReport) -> str:
    further = [each.sentence for each in pair.findings if each.sentence != pair.sentence]
    more = "".join(f"<small>{text(sentence)}</small>" for sentence in further[:2])
    said = SAID[pair.level]
    level = attributes(class_=f"loom-dot loom-{pair.level}", role="img", aria_label=said, title=said)
    return f"<li><i {level}></i><span>{text(pair.sentence)}{more}</span></li>"


def _remedy(key: str, index: int, remedy: Remedy, used: bool) -> str:
    effects = "; ".join(f"{each.what}: {each.before:.2f} → {each.after:.2f}" for each in remedy.effects)
    by = "" if remedy.method == PLAIN else f" ({_title(remedy.method)})"
    press = (
        '<span class="loom-used">✓ in use</span>'
        if used
        else button("Use", "remedy", title=f"{remedy.title}{by}: change the stack and method so", value=index, key=key)
    )
    return (
        f"<li><span><b>{text(remedy.title)}{text(by)}</b> {text(remedy.why)}"
        f"<small>{text(effects) or 'What it does, only pictures can tell.'}</small></span>{press}</li>"
    )


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


def _sentences(sentences: Sequence[str]) -> str:
    return "".join(f'<p class="loom-note">{text(each, 600)}</p>' for each in sentences)


def _title(method: str) -> str:
    known = methods().get(method)
    return known.title if known else method
