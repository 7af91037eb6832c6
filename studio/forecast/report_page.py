"""The doctor's report as one self-contained page: sentences, a strip over depth, a dominance bar, remedies, a table."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from lora_loom.pipelines.forecast.report import AdapterReport, PairReport, Remedy, Report
from lora_loom.studio.templates import render

STYLE = Path(__file__).with_suffix(".css")
PAIR_HEADS = ("layers", "share", "cosine", "written, a in b", "b in a", "driven, a in b", "b in a", "both", "log2 a/b")
ADAPTER_HEADS = ("LoRA", "strength", "layers", "rank", "effective rank", "norm", "on text", "intruders", "safe up to")


def page(report: Report) -> str:
    """The whole page; names from files are escaped, nothing is loaded from elsewhere."""
    return render(
        "forecast/report_page.html.j2",
        names=" + ".join(f"{each.name} {each.strength:g}" for each in report.adapters),
        style=Markup(STYLE.read_text(encoding="utf-8")),
        pairs=[(pair, _rest(pair), _figures(pair)) for pair in report.pairs],
        pair_heads=PAIR_HEADS,
        together=_together(report),
        remedies=[(remedy, _effects(remedy), recipe(remedy)) for remedy in report.remedies],
        said=[found.sentence for each in report.adapters for found in each.findings],
        adapters=[_alone(each) for each in report.adapters if not each.skipped],
        adapter_heads=ADAPTER_HEADS,
        notes=report.notes,
    )


def _rest(pair: PairReport) -> list[str]:
    return [each.sentence for each in pair.findings if each.sentence != pair.sentence]


def _figures(pair: PairReport) -> list[tuple[str, ...]]:
    """A row for the whole, then one for each group of layers and depth."""
    rows = [("all", 1.0, pair.whole), *((f"{c.group}, {c.depth}", c.share, c.signals) for c in pair.cells)]
    return [
        (
            name,
            f"{share:.0%}",
            f"{s.cosine:+.3f}",
            *(f"{each:.2f}" for each in (s.out_ab, s.out_ba, s.in_ab, s.in_ba, max(s.both_ab, s.both_ba))),
            "" if s.log2_ratio is None else f"{s.log2_ratio:+.2f}",
        )
        for name, share, s in rows
    ]


def _together(report: Report) -> list[str]:
    together = report.together
    if together is None:
        return []
    said = [each.sentence for each in together.findings]
    said.append(f"Their sum is {together.pressure:.2f} times as strong as the strongest alone.")
    if together.loss_risk is not None:
        said.append(f"About {together.loss_risk:.0%} of pictures would lack a concept ({together.loss_risk_from}).")
    return said


def _effects(remedy: Remedy) -> str:
    return "; ".join(f"{each.what}: {each.before:.2f} → {each.after:.2f}" for each in remedy.effects)


def recipe(remedy: Remedy) -> str:
    """A remedy in one line."""
    loras = ", ".join(f"{each.name} {each.strength:g}" for each in remedy.adapters)
    settings = ", ".join(f"{name} {value}" for name, value in remedy.settings.items())
    return f"{loras}; {remedy.method}{f' with {settings}' if settings else ''}"


def _alone(each: AdapterReport) -> tuple[str, ...]:
    base = each.base
    return (
        each.name,
        f"{each.strength:g}",
        str(each.layers),
        str(each.rank),
        f"{each.effective_rank:.1f}",
        f"{each.norm:.3g}",
        f"{each.text_norm:.3g}",
        _beside(base.intruders if base else None),
        _beside(base.safe_strength if base else None),
    )


def _beside(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"
