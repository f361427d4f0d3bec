"""Figures of studies, drawn from numbers and lists: batch sizes, speed, runs with several seeds."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from dlhelpers.base.checks import check_kind
from dlhelpers.show.plots import (
    DASHES,
    PALETTE,
    counted,
    finish,
    new_axes,
    numbers,
    plot_lines,
    rounded,
    sentences,
)


def plot_batch_sizes(
    sizes: Sequence[int],
    values: Sequence[float],
    *,
    ylabel: str,
    recommended: int,
    ax: Axes | None = None,
) -> Axes:
    """Draw one value for each batch size, from the smallest to the largest that ran; the recommended one is marked."""
    ax = plot_lines(sizes, {ylabel: values}, xlabel="batch size (samples)", ylabel=ylabel, ax=ax)
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, [str(size) for size in sizes])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_ylim(bottom=0)
    label = f"recommended: {recommended}"
    ax.axvline(recommended, color=PALETTE[4], linestyle=":", label=label)
    ax.legend(frameon=False)
    sentences[ax] += f" Recommended: {recommended}; largest that ran: {sizes[-1]}."
    return ax


def plot_speed(milliseconds: Mapping[str, float], verdict: str, *, ax: Axes | None = None) -> Axes:
    """Draw the milliseconds a batch of each of up to three ways to run, by name, as horizontal bars."""
    ax = new_axes(6.4, 2.2, ax)
    names, values = list(milliseconds), list(milliseconds.values())
    look = {"color": PALETTE[:3], "hatch": ["", "//", ".."], "edgecolor": "white"}
    bars = ax.barh(names, values, height=0.6, **look)
    ax.bar_label(bars, [f"{value:.1f}" for value in values], padding=3)
    ax.invert_yaxis()
    ax.set(xlabel="milliseconds a batch", xlim=(0, 1.15 * max(values)))
    ax.spines[["top", "right"]].set_visible(False)
    parts = ", ".join(f"{name} {value:.1f}" for name, value in milliseconds.items())
    sentences[ax] = f"Milliseconds a batch: {parts}. {verdict}"
    return ax


def plot_runs(
    runs: Mapping[str, Sequence[tuple[Sequence[float], Sequence[float]]]],
    *,
    xlabel: str,
    ylabel: str,
    ax: Axes | None = None,
) -> Axes:
    """Draw each run, a pair (x, y), as a thin line; runs of one name share colour and dash, so their spread is seen.

    Raises ValueError for a name without runs, for a run without values, and for x and y of unequal lengths.
    """
    check_kind("runs", runs, Mapping, "lists of runs by name, as {'small': [(x, y)]}")
    ax = new_axes(6.4, 3.6, ax)
    parts = [f"{ylabel} against {xlabel}."]
    for k, (name, lines) in enumerate(runs.items()):
        if not lines:
            raise ValueError(f"{name!r} has no runs: expected at least one pair of x and y")
        ends = []
        for n, (x, y) in enumerate(lines):
            x, y = numbers(f"x of run {n} of {name!r}", x), numbers(f"y of run {n} of {name!r}", y)
            if not len(x) == len(y) > 0:
                found = f"{len(x)} places and {len(y)} values"
                raise ValueError(f"run {n} of {name!r} has {found}: expected as many, not 0")
            look = {"color": PALETTE[k % 7], "linestyle": DASHES[k % 4]}
            ax.plot(x, y, label=None if n else name, linewidth=1.2, alpha=0.8, **look)
            ends.append(y[-1])
        low, high = rounded(min(ends)), rounded(max(ends))
        parts.append(f"{name}: {counted(len(ends), 'run')}, ending between {low} and {high}.")
    return finish(ax, xlabel, ylabel, " ".join(parts))
