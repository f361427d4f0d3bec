"""Figures of studies, drawn from numbers and lists: runs with several seeds, and the phases of a few steps."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from dlhelpers.show.plots import (
    DASHES,
    PALETTE,
    counted,
    finish,
    new_axes,
    rounded,
    sentences,
)


def plot_runs(
    runs: Mapping[str, Sequence[tuple[Sequence[float], Sequence[float]]]],
    *,
    xlabel: str,
    ylabel: str,
    ax: Axes | None = None,
) -> Axes:
    """Draw each run, a pair (x, y), as a thin line; runs of one name share colour and dash, so their spread is seen."""
    ax = ax or new_axes()
    parts = [f"{ylabel} against {xlabel}."]
    for k, (name, lines) in enumerate(runs.items()):
        look = {"color": PALETTE[k % 7], "linestyle": DASHES[k % 4], "linewidth": 1.2, "alpha": 0.8}
        for n, (x, y) in enumerate(lines):
            ax.plot(x, y, label=None if n else name, **look)
        ends = [y[-1] for _, y in lines]
        low, high = rounded(min(ends)), rounded(max(ends))
        parts.append(f"{name}: {counted(len(ends), 'run')}, ending between {low} and {high}.")
    return finish(ax, xlabel, ylabel, " ".join(parts))


def plot_timeline(spans: Mapping[str, Sequence[tuple[float, float]]], verdict: str) -> Axes:
    """Draw a lane of (start, length) in milliseconds for each phase, the first hatched."""
    ax = new_axes(6.4, 1 + 0.35 * len(spans))
    for row, parts in enumerate(spans.values()):
        look = {"facecolor": PALETTE[row]}
        if row == 0:
            look = {"facecolor": "white", "edgecolor": "#777777", "hatch": "/////"}
        ax.broken_barh(parts, (row - 0.4, 0.8), **look)
    ax.set_yticks(range(len(spans)), list(spans))
    ax.invert_yaxis()
    ax.set_title(verdict.partition(",")[0], loc="left", fontsize=10, fontweight="bold")
    ax.set_xlabel("milliseconds")
    ax.spines[["top", "right"]].set_visible(False)
    sentences[ax] = verdict
    return ax
