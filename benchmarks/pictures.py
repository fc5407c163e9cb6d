"""A picture of each case, drawn by matplotlib where it is installed (`COSO_EXTRAS=test,dev,bench`)."""

from __future__ import annotations

from pathlib import Path

from benchmarks.measure import Result

OURS, OTHERS = "#1f77b4", "#b0b0b0"


def draw(result: Result, path: Path) -> bool:
    """Draw medians as bars, the middle half as whiskers; or, of a row of values, how they grow. False: not drawn."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("svg")
    # The same numbers give the same file, with text as text.
    matplotlib.rcParams.update({"svg.hashsalt": "coso", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 0.6 + 0.35 * len(result.values)), layout="constrained")
    names = list(result.values)[::-1]
    medians = [result.median(name) for name in names]
    spread = [[], []]  # type: list[list[float]]
    for name, median in zip(names, medians, strict=True):
        low, high = result.quartiles(name)
        spread[0].append(median - low)
        spread[1].append(high - median)
    colours = [OURS if name.startswith("coso") else OTHERS for name in names]
    axes.barh(names, medians, xerr=spread, color=colours, error_kw={"linewidth": 0.8})
    axes.set_title(result.title, loc="left", fontsize=9)
    axes.set_xlabel(result.unit)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return True
