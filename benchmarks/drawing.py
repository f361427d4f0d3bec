"""Draw what a benchmark measured: a dot for each median, a line between the quartiles, a panel for each question."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from dlhelpers.show import PALETTE

BY_POWERS = (
    20  # times from the lowest to the highest value, from where on the axis counts by powers of ten
)


def draw(kept: Mapping[str, Any], path: Path) -> None:
    """Draw all panels of a benchmark's JSON below each other, with the machine under them, and write a PNG file."""
    heights = [0.9 + 0.32 * len(panel["rows"]) for panel in kept["panels"]]
    plt.switch_backend("Agg")
    size = (7.5, sum(heights))
    figure, several = plt.subplots(len(heights), figsize=size, squeeze=False, height_ratios=heights)
    for panel, ax in zip(kept["panels"], several[:, 0], strict=True):
        draw_panel(panel, ax)
    parts = (
        kept["machine"]["chip"],
        f"{kept['machine']['cores']} cores",
        f"torch {kept['versions']['torch']}",
    )
    figure.text(0.01, 0.0, ", ".join((*parts, kept["date"])), fontsize=7, va="bottom")
    figure.tight_layout(rect=(0, 0.3 / sum(heights), 1, 1))
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def draw_panel(panel: Mapping[str, Any], ax: Axes) -> None:
    """Draw one panel: ours as blue dots, others as orange squares, on an axis from zero or by powers of ten."""
    rows = panel["rows"].values()
    lowest, highest = min(row["low"] for row in rows), max(row["high"] for row in rows)
    for name, row in panel["rows"].items():
        colour, marker = (PALETTE[0], "o") if name in panel["ours"] else (PALETTE[1], "s")
        ax.plot([row["low"], row["high"]], [name, name], color=colour, linewidth=2)
        ax.plot(row["median"], name, marker, color=colour)
        place = (row["median"], name), (0, 5)
        words = f"{row['median']:,.0f}" if row["median"] >= 1000 else f"{row['median']:.3g}"
        ax.annotate(words, *place, textcoords="offset points", ha="center", fontsize=7)
    if lowest > 0 and highest > BY_POWERS * lowest:
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter("{x:,g}")
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.margins(x=0.1)
    else:
        ax.set_xlim(min(0, 1.1 * lowest), 1.1 * highest)
    ax.set_ylim(len(rows) - 0.5, -0.7)
    ax.grid(axis="x", alpha=0.3)
    ax.set_title(fill(panel["title"], 60), loc="left", fontsize=10)
    ax.set_xlabel(panel["unit"])


def draw_bars(bars: Mapping[str, float], unit: str, sentence: str, path: Path) -> None:
    """Draw numbers by name as bars, and write a PNG file that has the chart in words in its metadata."""
    plt.switch_backend("Agg")
    figure, ax = plt.subplots(figsize=(7.5, 0.8 + 0.5 * len(bars)), layout="constrained")
    names = [fill(name, 40) for name in bars]
    drawn = ax.barh(names, list(bars.values()), height=0.6, color=PALETTE[0])
    ax.bar_label(drawn, [f"{value:.1f}" for value in bars.values()], padding=3)
    ax.axvline(1, color="#777777", linestyle="--")  # as fast as the peer
    ax.invert_yaxis()
    ax.set_xlabel(unit)
    ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110, metadata={"Software": None, "Description": sentence})
    plt.close(figure)
