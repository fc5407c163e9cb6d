"""The report as one self-contained page: the matrix as a picture, each cell leading to what was tried and seen."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape

from coso.verify.ground import group
from coso.verify.probe import PROBES
from coso.verify.report import KINDS, Report, cgroup_version, recap
from coso.verify.run import Result

CELL, GAP, LABEL, HEAD = 18, 3, 190, 78
FEW = 40  # checks that stand in one block
# Shape as well as colour tells results apart.
SIGNS = {"pass": "✓", "fail": "✕", "error": "!", "skip": "–"}
WORDS = {"pass": "held", "fail": "breached", "error": "could not be tried", "skip": "does not apply"}

STYLE = """
:root { color-scheme: light dark; --pass: #2f8f5b; --fail: #c93c37; --error: #b7791f; --skip: #9aa3ad; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h3 { margin: 2rem 0 .2rem; font-size: 1.05rem; }
.matrix { display: flex; flex-wrap: wrap; align-items: flex-start; gap: 0 2rem; }
svg { max-width: 100%; height: auto; display: block; margin: 1.5rem 0; }
svg text { font: 12px ui-monospace, monospace; fill: currentColor; }
svg .sign { fill: #fff; text-anchor: middle; font-size: 11px; }
svg a:focus rect, svg a:hover rect { stroke: currentColor; stroke-width: 2; }
.pass { fill: var(--pass); } .fail { fill: var(--fail); } .error { fill: var(--error); } .skip { fill: var(--skip); }
table { border-collapse: collapse; } td, th { padding: .15rem .8rem .15rem 0; text-align: left; vertical-align: top; }
td b { display: inline-block; color: #fff; border-radius: 3px; padding: 0 .4rem; font-weight: 600; }
b.pass { background: var(--pass); } b.fail { background: var(--fail); }
b.error { background: var(--error); } b.skip { background: var(--skip); }
tr:target { outline: 3px solid Highlight; } small { opacity: .75; } p { margin: .2rem 0; }
"""


def page(reports: Sequence[Report]) -> str:
    """The page for one runtime or several."""
    title = "Isolation of " + ", ".join(report.runtime for report in reports)
    counted = max((len(report.results) for report in reports), default=0)
    machine = f"Linux {os.uname().release}, cgroup {cgroup_version()}"
    parts = [
        "<!doctype html>",
        f'<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>',
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>',
        f"<h1>{escape(title)}</h1>",
        f"<p>{counted} checks on {escape(machine)}. Each runtime started its containers as its users get them by",
        "default, but for the options that a check names. Choose a cell to see what was tried and what was seen.</p>",
        _recaps(reports),
        picture(reports),
        *_details(reports),
        "</html>",
    ]
    return "\n".join(parts) + "\n"


def _recaps(reports: Sequence[Report]) -> str:
    rows = "".join(
        f"<tr><th>{escape(report.runtime)}</th><td>{escape(report.version)}</td><td>{escape(recap(report))}</td></tr>"
        for report in reports
    )
    legend = " ".join(f'<b class="{kind}">{SIGNS[kind]}</b> {WORDS[kind]}' for kind in KINDS)
    return f"<table>{rows}<tr><td colspan=3>{legend}</td></tr></table>"


def picture(reports: Sequence[Report]) -> str:
    """The matrix: a row for each check, a column for each runtime, in two blocks so that it fits a screen."""
    shown = [report for report in reports if report.results]
    rows = len(shown[0].results) if shown else 0
    half = (rows + 1) // 2 if rows > FEW else rows
    blocks = [_block(shown, range(first, min(first + half, rows))) for first in range(0, rows, half or 1)]
    return "\n".join(['<div class="matrix">', *blocks, "</div>"])


def _block(reports: Sequence[Report], rows: range) -> str:
    step = CELL + GAP
    wide, high = LABEL + step * len(reports) + HEAD, HEAD + step * len(rows)
    parts = [f'<svg viewBox="0 0 {wide} {high}" width="{wide}" role="img" aria-label="Results by check and runtime">']
    for column, report in enumerate(reports):
        x = LABEL + column * step + CELL
        parts.append(f'<text transform="translate({x - 4} {HEAD - 8}) rotate(-50)">{escape(report.runtime)}</text>')
    for line, row in enumerate(rows):
        y = HEAD + line * step
        name = escape(reports[0].results[row].check.id)
        parts.append(f'<a href="#{name}"><text x="0" y="{y + 13}">{name}</text></a>')
        for column, report in enumerate(reports):
            parts.append(_cell(report.runtime, report.results[row], LABEL + column * step, y))
    return "\n".join([*parts, "</svg>"])


def _cell(runtime: str, result: Result, x: int, y: int) -> str:
    name, kind = result.check.id, result.result
    words = escape(f"{runtime}, {name}: {WORDS[kind]}{'. ' if result.reason else ''}{result.reason}")
    return (
        f'<a href="#{escape(name)}-{escape(runtime)}"><title>{words}</title>'
        f'<rect class="{kind}" x="{x}" y="{y}" width="{CELL}" height="{CELL}" rx="3"/>'
        f'<text class="sign" x="{x + CELL / 2}" y="{y + 13}">{SIGNS[kind]}</text></a>'
    )


def _details(reports: Sequence[Report]) -> list[str]:
    parts: list[str] = []
    first = next((report.results for report in reports if report.results), ())
    places = {result.check.id: index for index, result in enumerate(first)}
    for together in group([result.check for result in first], lambda check: check.area):
        parts.append(f"<h2>{escape(together[0].area)}</h2>")
        for check in together:
            given = f"<p><small>with {escape(' '.join(check.given))}</small></p>" if check.given else ""
            parts.append(f'<h3 id="{escape(check.id)}">{escape(check.id)}: {escape(check.title)}</h3>')
            parts.append(f"<p>{escape(_tried(check.probe))}</p>{given}")
            parts.append(f"<p><small>{escape(check.severity)} · {escape(check.source)}</small></p><table>")
            parts += [_row(report, report.results[places[check.id]]) for report in reports if report.results]
            parts.append("</table>")
    return parts


def _tried(probe: str) -> str:
    name, _, argument = probe.partition(":")
    if name == "host":
        return "Looked at from the host."
    question = (PROBES[name].__doc__ or "").split("\n\n")[0]
    return f"{question} ({argument})" if argument else question


def _row(report: Report, result: Result) -> str:
    kind = result.result
    return (
        f'<tr id="{escape(result.check.id)}-{escape(report.runtime)}"><th>{escape(report.runtime)}</th>'
        f'<td><b class="{kind}">{SIGNS[kind]} {WORDS[kind]}</b></td><td>{escape(result.reason)}</td></tr>'
    )
