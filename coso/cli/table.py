"""What lists and details look like: aligned columns, `--format`, `-q`, times and sizes as people say them."""

from __future__ import annotations

import os
import sys

from coso.flags import Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

GAP = 3
# The options that listings have in common.
FORMAT = Option("format", "", "TEMPLATE", "table, json, or a Go template: '{{.ID}} {{.Repository}}'")
NO_TRUNC = Option("no-trunc", "", "", "do not shorten ids and texts")
QUIET = Option("quiet", "q", "", "ids only")
FILTER = Option("filter", "f", "KEY=VALUE", "show only what fits", repeated=True)


def show(rows: list[dict[str, Any]], columns: dict[str, str], form: str = "", *, quiet: str = "") -> None:
    """Print rows: with `quiet` that field of each alone, else as `form` says, else the columns, aligned.

    `columns` maps fields to headings; a form may begin with `table`, or be `json`.
    """
    lines: list[str]
    if quiet and not form:
        lines = [str(row[quiet]) for row in rows]
    elif form == "json":
        from coso.cli.template import render

        lines = [render("{{json .}}", row) for row in rows]
    elif form in ("", "table") or form.startswith("table "):
        lines = _table(rows, columns, form.removeprefix("table").strip())
    else:
        from coso.cli.template import Row, render

        form = unescaped(form)
        lines = [render(form, Row(row)) for row in rows]
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def unescaped(form: str) -> str:
    r"""A form with tabs and line ends where a shell has left `\t` and `\n`."""
    return form.replace("\\t", "\t").replace("\\n", "\n")


def _table(rows: list[dict[str, Any]], columns: dict[str, str], form: str) -> list[str]:
    if form:
        from coso.cli.template import Headings, Row, render

        form = unescaped(form)
        # The headings by the same template: each field's heading in place of its value.
        every = {name: heading_of(name, columns) for name in [*columns, *(rows[0] if rows else {})]}
        grid = [render(form, Headings(every)).split("\t"), *(render(form, Row(row)).split("\t") for row in rows)]
    else:
        grid = [list(columns.values()), *([str(row[name]) for name in columns] for row in rows)]
    widths = [max(len(line[at]) if at < len(line) else 0 for line in grid) for at in range(max(map(len, grid)))]
    bold = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    lines = ["".join(cell.ljust(widths[at] + GAP) for at, cell in enumerate(line)).rstrip() for line in grid]
    return [f"\033[1m{lines[0]}\033[0m" if bold else lines[0], *lines[1:]]


def heading_of(field: str, columns: dict[str, str]) -> str:
    """A field's heading: that of its column, or its name in capitals, words apart."""
    starts = [at for at, letter in enumerate(field) if letter.isupper() and at and not field[at - 1].isupper()]
    spaced = "".join(f" {letter}" if at in starts else letter for at, letter in enumerate(field))
    return columns.get(field) or spaced.upper()


def details(items: list[Any], form: str = "") -> None:
    """Print what `inspect` shows: all of it as JSON, or each item by a template."""
    import json

    if form and form != "json":
        from coso.cli.template import render

        for item in items:
            sys.stdout.write(render(unescaped(form), item) + "\n")
        return
    sys.stdout.write(json.dumps(items, indent=None if form else 4, ensure_ascii=False) + "\n")


def size(number: int | float) -> str:
    """Bytes as Docker says them: three digits, powers of 1000."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 999.5 or unit == "TB":
            break
        number /= 1000
    return f"{number:.3g}{unit}" if unit != "B" else f"{int(number)}B"


def binary_size(number: int | float) -> str:
    """Bytes in powers of 1024, as `stats` shows memory."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if number < 1024 or unit == "TiB":
            break
        number /= 1024
    return f"{number:.4g}{unit}"


STEPS: tuple[tuple[float, float, str], ...] = (
    (60, 1, "second"),
    (3600, 60, "minute"),
    (36 * 3600, 3600, "hour"),
    (14 * 86400, 86400, "day"),
    (60 * 86400, 7 * 86400, "week"),
    (2 * 365 * 86400, 30 * 86400, "month"),
    (float("inf"), 365 * 86400, "year"),
)


def span(seconds: float) -> str:
    """A time span in words, as Docker has it: `5 minutes`, `About an hour`."""
    if seconds < 1:
        return "Less than a second"
    if 60 <= seconds < 120:
        return "About a minute"
    if 3600 <= seconds < 7200 and round(seconds / 3600) == 1:
        return "About an hour"
    unit, word = next((unit, word) for limit, unit, word in STEPS if seconds < limit)
    count = round(seconds / unit) if word == "hour" else int(seconds / unit)
    return f"{count} {word}{'s' if count != 1 else ''}"


def ago(seconds: float) -> str:
    """How long ago a moment of the past was, in words."""
    from time import time

    return f"{span(max(0, time() - seconds))} ago"


def ask(question: str, *, force: bool) -> bool:
    """Whether the person agrees; without a terminal to ask at, only with `force`."""
    if force:
        return True
    sys.stderr.write(f"WARNING! {question}\nAre you sure you want to continue? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
