"""Figures of studies (batch sizes, speed, runs with several seeds), each with the sentence that `plots.show` adds."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from dlhelpers.base.checks import check_kind
from dlhelpers.show.plots import (
    DASHES,
    PALETTE,
    counted,
    finish,
    new_axes,
    plot_lines,
    rounded,
    sentences,
)

COLUMNS = {"samples_per_second": ("samples a second", 1), "peak_memory": ("peak memory (MB)", 1e6)}


def plot_batch_sizes(
    study: Any, column: str = "samples_per_second", *, ax: Axes | None = None
) -> Axes:
    """Draw samples a second, or peak memory in MB, over the batch sizes that ran; the recommended size is marked.

    Raises KeyError for another column.
    """
    if column not in COLUMNS:
        raise KeyError(f"no column {column!r}: expected one of {', '.join(COLUMNS)}")
    label, unit = COLUMNS[column]
    sizes = [trial.batch_size for trial in study.fitting]
    values = [getattr(trial, column) / unit for trial in study.fitting]
    ax = plot_lines(sizes, {label: values}, xlabel="batch size (samples)", ylabel=label, ax=ax)
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, [str(size) for size in sizes])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_ylim(bottom=0)
    ax.axvline(
        study.recommended,
        color=PALETTE[4],
        linestyle=":",
        label=f"recommended: {study.recommended}",
    )
    ax.legend(frameon=False)
    sentences[ax] += f" Recommended: {study.recommended}; largest that ran: {study.largest}."
    return ax


def plot_speed(speed: Any, *, ax: Axes | None = None) -> Axes:
    """Draw the milliseconds a batch of the loader alone, the model alone, and both together as horizontal bars."""
    ax = new_axes(6.4, 2.2, ax)
    names, values = list(speed.milliseconds), list(speed.milliseconds.values())
    bars = ax.barh(
        names, values, height=0.6, color=PALETTE[:3], hatch=["", "//", ".."], edgecolor="white"
    )
    ax.bar_label(bars, [f"{value:.1f}" for value in values], padding=3)
    ax.invert_yaxis()
    ax.set(xlabel="milliseconds a batch", xlim=(0, 1.15 * max(values)))
    ax.spines[["top", "right"]].set_visible(False)
    parts = ", ".join(f"{name} {value:.1f}" for name, value in speed.milliseconds.items())
    sentences[ax] = f"Milliseconds a batch: {parts}. {speed.verdict}"
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
        for n, (x, y) in enumerate(lines):
            if not len(x) == len(y) > 0:
                found = f"{len(x)} places and {len(y)} values"
                raise ValueError(f"run {n} of {name!r} has {found}: expected as many, not 0")
            look = {
                "color": PALETTE[k % 7],
                "linestyle": DASHES[k % 4],
                "linewidth": 1.2,
                "alpha": 0.8,
            }
            ax.plot(x, y, label=None if n else name, **look)
        ends = [y[-1] for _, y in lines]
        low, high = rounded(min(ends)), rounded(max(ends))
        parts.append(f"{name}: {counted(len(ends), 'run')}, ending between {low} and {high}.")
    return finish(ax, xlabel, ylabel, " ".join(parts))
