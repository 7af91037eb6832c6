"""The doctor's report as one self-contained page: sentences, a strip over depth, a dominance bar, remedies, a table."""

from __future__ import annotations

import html

from lora_loom.pipelines.compatibility.report import PairReport, Remedy, Report

_STYLE = """
:root{color-scheme:light dark;--ink:#23252d;--quiet:#6b6f7b;--line:#e3e0da;--paper:#f5f4f1;--card:#fff;--green:#2c7a52;
--amber:#d9972b;--red:#b3403a;--a:#4f46c8;--b:#c2477f}
@media(prefers-color-scheme:dark){:root{--ink:#e8e8ec;--quiet:#9a9eab;--line:#343743;--paper:#14151a;--card:#1d1f26;
--green:#4fae7d;--amber:#e2ab4d;--red:#dd6f68;--a:#8f87f0;--b:#e07fab}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:960px;margin:0 auto;padding:36px 20px 70px}h1{font-size:26px;margin:0 0 18px}
h2{font-size:18px;margin:0 0 8px}
section{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:18px 20px;margin:0 0 16px}
p{margin:0 0 10px}small,.quiet{color:var(--quiet);font-size:12.5px}ul{margin:0 0 8px;padding-left:20px}
.strip{display:flex;gap:2px;height:22px;margin:10px 0 2px}.strip i{flex:1;border-radius:3px}
.bar{display:flex;height:18px;border-radius:9px;overflow:hidden;margin:10px 0 2px}
.bar i:first-child{background:var(--a)}
.bar i:last-child{background:var(--b)}.green{background:var(--green)}.amber{background:var(--amber)}
.red{background:var(--red)}
.ends{display:flex;justify-content:space-between;color:var(--quiet);font-size:12.5px}.dot{display:inline-block;width:11px;
height:11px;border-radius:50%;margin-right:8px}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:13px}
th,td{text-align:right;padding:4px 8px;border-top:1px solid var(--line);font-variant-numeric:tabular-nums}
th:first-child,td:first-child{text-align:left}code{overflow-wrap:anywhere}summary{cursor:pointer}
"""


def page(report: Report) -> str:
    """The whole page; names from files are escaped, nothing is loaded from elsewhere."""
    names = " + ".join(f"{each.name} {each.strength:g}" for each in report.adapters)
    parts = [f"<h1>{_text(names)}</h1>", *(_pair(pair) for pair in report.pairs), _together(report)]
    parts += [_remedies(report), _adapters(report)]
    parts += [f'<p class="quiet">{_text(note)}</p>' for note in report.notes]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Loom doctor: {_text(names)}</title><style>{_STYLE}</style><main>{''.join(parts)}</main></html>\n"
    )


def _pair(pair: PairReport) -> str:
    cells = "".join(
        f'<i class="{stage.level}" title="{_text(stage.name)}: {stage.level}, {stage.share:.0%} of their change"></i>'
        for stage in pair.strip
    )
    ends = [_text(pair.strip[0].name), _text(pair.strip[-1].name)] if pair.strip else ["", ""]
    a, b = pair.dominance
    rest = [each.sentence for each in pair.findings if each.sentence != pair.sentence]
    more = f"<ul>{''.join(f'<li>{_text(sentence)}</li>' for sentence in rest)}</ul>" if rest else ""
    bar = f'<div class="bar"><i style="width:{a:.2%}"></i><i style="width:{b:.2%}"></i></div>'
    return (
        f'<section><h2><span class="dot {pair.level}"></span>{_text(pair.sentence)}</h2>{more}'
        f'<div class="strip" role="img" aria-label="how they get along over the depth">{cells}</div>'
        f'<div class="ends"><span>{ends[0]}</span><span>through the model</span><span>{ends[1]}</span></div>{bar}'
        f'<div class="ends"><span>{_text(pair.a)} {a:.0%}</span><span>who will dominate</span>'
        f"<span>{_text(pair.b)} {b:.0%}</span></div>{_table(pair)}</section>"
    )


def _table(pair: PairReport) -> str:
    heads = ("layers", "share", "cosine", "written, a in b", "b in a", "driven, a in b", "b in a", "both", "log2 a/b")
    rows = [("all", 1.0, pair.whole), *((f"{c.group}, {c.depth}", c.share, c.signals) for c in pair.cells)]
    lines = "".join(
        f"<tr><td>{_text(name)}</td><td>{share:.0%}</td><td>{s.cosine:+.3f}</td><td>{s.out_ab:.2f}</td>"
        f"<td>{s.out_ba:.2f}</td><td>{s.in_ab:.2f}</td><td>{s.in_ba:.2f}</td><td>{max(s.both_ab, s.both_ba):.2f}</td>"
        f"<td>{'' if s.log2_ratio is None else f'{s.log2_ratio:+.2f}'}</td></tr>"
        for name, share, s in rows
    )
    head = "".join(f"<th>{each}</th>" for each in heads)
    table = f'<div class="wide"><table><tr>{head}</tr>{lines}</table></div>'
    return f'<details><summary class="quiet">Figures</summary>{table}</details>'


def _together(report: Report) -> str:
    together = report.together
    if together is None:
        return ""
    said = [each.sentence for each in together.findings]
    said.append(f"Their sum is {together.pressure:.2f} times as strong as the strongest alone.")
    if together.loss_risk is not None:
        said.append(f"About {together.loss_risk:.0%} of pictures would lack a concept ({together.loss_risk_from}).")
    return f"<section><h2>All together</h2><ul>{''.join(f'<li>{_text(each)}</li>' for each in said)}</ul></section>"


def _remedies(report: Report) -> str:
    if not report.remedies:
        return ""
    return f"<section><h2>What may help</h2>{''.join(map(_remedy, report.remedies))}</section>"


def _remedy(remedy: Remedy) -> str:
    effects = "; ".join(f"{each.what}: {each.before:.2f} → {each.after:.2f}" for each in remedy.effects)
    return (
        f"<p><b>{_text(remedy.title)}.</b> {_text(remedy.why)}<br><small>{_text(effects) or 'Only pictures can tell.'}"
        f"</small><br><code>{_text(recipe(remedy))}</code></p>"
    )


def recipe(remedy: Remedy) -> str:
    """A remedy in one line."""
    loras = ", ".join(f"{each.name} {each.strength:g}" for each in remedy.adapters)
    settings = ", ".join(f"{name} {value}" for name, value in remedy.settings.items())
    return f"{loras}; {remedy.method}{f' with {settings}' if settings else ''}"


def _adapters(report: Report) -> str:
    rows = "".join(
        f"<tr><td>{_text(each.name)}</td><td>{each.strength:g}</td><td>{each.layers}</td><td>{each.rank}</td>"
        f"<td>{each.effective_rank:.1f}</td><td>{each.norm:.3g}</td><td>{each.text_norm:.3g}</td>"
        f"<td>{_beside(each.base.intruders if each.base else None)}</td>"
        f"<td>{_beside(each.base.safe_strength if each.base else None)}</td></tr>"
        for each in report.adapters
        if not each.skipped
    )
    heads = ("LoRA", "strength", "layers", "rank", "effective rank", "norm", "on text", "intruders", "safe up to")
    head = "".join(f"<th>{each}</th>" for each in heads)
    said = "".join(f"<li>{_text(f.sentence)}</li>" for each in report.adapters for f in each.findings)
    said = f"<ul>{said}</ul>" if said else ""
    return f'<section><h2>Each alone</h2>{said}<div class="wide"><table><tr>{head}</tr>{rows}</table></div></section>'


def _beside(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"


def _text(value: str) -> str:
    return html.escape(value, quote=True)
