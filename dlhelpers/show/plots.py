"""Figures that say in words what they show: each helper draws on an `ax`, and `show` adds the sentence.

The sentence, made from the same numbers as the picture, is the image's alt text and its plain-text form, so it reaches
a screen reader, a terminal and the regression test alike. Colours are those of M. Okabe and K. Ito (2008), which
colour-blind readers can tell apart; lines differ in dash and marker too.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from weakref import WeakKeyDictionary

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from torch import Tensor

from dlhelpers.base.checks import check_kind, check_whole, shown

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")
DASHES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D")
sentences: WeakKeyDictionary[Axes, str] = WeakKeyDictionary()  # what `show` says of each drawing


class Picture:
    """A drawn figure as a notebook shows it: an HTML image with alt text, and the same sentence as plain text."""

    def __init__(self, ax: Axes, alt: str):
        buffer = io.BytesIO()
        ax.figure.savefig(buffer, format="png", dpi=144, bbox_inches="tight", facecolor="white")
        plt.close(ax.figure)  # or the notebook would show it a second time
        width = (
            int.from_bytes(buffer.getvalue()[16:20], "big") * 2 // 3
        )  # stored sharper than it is shown
        data = base64.b64encode(buffer.getvalue()).decode()
        self.alt = alt
        look = f'alt="{escape(alt)}" width="{width}" style="max-width:100%"'
        self.html = f'<img {look} src="data:image/png;base64,{data}">'

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self.html}

    def __repr__(self) -> str:
        return f"Figure: {self.alt}"


def show(ax: Axes, sentence: str | None = None) -> Picture:
    """Return the figure of `ax` for display; `sentence` replaces what the plot says of itself.

    Raises ValueError for a figure that says nothing.
    """
    check_kind("ax", ax, Axes, "the axes of a figure, as a plot returns them")
    sentence = sentences.get(ax) if sentence is None else sentence
    check_kind("sentence", sentence, (str, type(None)), "a text that says what the picture shows")
    if not sentence:
        raise ValueError(
            "this figure has no sentence: pass one that says, with its numbers, what the picture shows"
        )
    return Picture(ax, sentence)


def plot_images(
    images: Sequence[Tensor],
    captions: Sequence[object],
    *,
    columns: int = 8,
    ax: Axes | None = None,
) -> Axes:
    """Draw images (C, H, W), values 0 to 1, row by row, each with its caption below; return the axes."""
    if len(images) != len(captions) or not len(images):
        raise ValueError(
            f"{len(images)} images and {len(captions)} captions: expected one caption an image, at least 1"
        )
    check_whole("columns", columns, 1)
    rows = -(-len(images) // columns)
    ax = new_axes(columns, 1.35 * rows, ax)
    for k, (image, caption) in enumerate(zip(images, captions, strict=True)):
        check_kind(f"image {k}", image, Tensor, "a tensor (C, H, W)")
        x, y = k % columns, 1.35 * (k // columns)
        picture = image.permute(1, 2, 0).squeeze(-1).clamp(0, 1).numpy()
        ax.imshow(picture, cmap="gray", vmin=0, vmax=1, extent=(x, x + 0.92, y + 0.92, y))
        ax.add_patch(
            plt.Rectangle((x, y), 0.92, 0.92, fill=False, edgecolor="#999999", linewidth=0.6)
        )
        ax.text(x + 0.46, y + 1.0, str(caption), ha="center", va="top", fontsize=9)
    ax.set(xlim=(0, columns), ylim=(1.35 * rows, 0), aspect="equal")
    ax.axis("off")
    sentences[ax] = f"{len(images)} images, with captions {', '.join(map(str, captions))}."
    return ax


def plot_batches(
    batches: Sequence[Sequence[int]], left_out: Sequence[int] = (), *, ax: Axes | None = None
) -> Axes:
    """Draw one row a batch and one numbered box a sample; samples left out stand hatched below. Return the axes."""
    rows = [*batches, left_out] if left_out else list(batches)
    widest = max((len(row) for row in rows), default=1)
    ax = new_axes(min(10, 1.5 + 0.42 * widest), 0.6 + 0.36 * len(rows), ax)
    for y, row in enumerate(rows):
        out = y == len(batches)
        for x, sample in enumerate(row):
            look = (
                {"facecolor": "white", "hatch": "////"}
                if out
                else {"facecolor": PALETTE[5] if y % 2 else "#9AD0F5"}
            )
            ax.add_patch(
                plt.Rectangle((x, y), 0.92, 0.86, edgecolor="#333333", linewidth=0.6, **look)
            )
            if widest <= 40:
                box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6} if out else None
                ax.text(x + 0.46, y + 0.45, sample, ha="center", va="center", fontsize=8, bbox=box)
    ax.set(xlim=(-0.1, widest), ylim=(len(rows), -0.15), xlabel="place in the batch (samples)")
    names = [f"batch {k + 1}" for k in range(len(batches))] + ["left out"] * bool(left_out)
    ax.set_yticks([y + 0.43 for y in range(len(rows))], names)
    ax.set_xticks([])
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    sizes = [len(batch) for batch in batches]
    ending = f", the last of {sizes[-1]}" if sizes else ""
    sentences[ax] = (
        f"{counted(sum(sizes) + len(left_out), 'sample')} in {counted(len(sizes), 'batch', 'batches')}{ending};"
        f" {len(left_out)} left out."
    )
    return ax


def plot_lines(
    x: Sequence[float],
    series: Mapping[str, Sequence[float]],
    *,
    xlabel: str,
    ylabel: str,
    markers: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw each series over `x` with its own colour, dash and marker; labels carry the units. Return the axes.

    A NaN leaves a gap. Raises ValueError for a series whose length is not that of `x`, or with nothing to draw.
    """
    check_kind("series", series, Mapping, "lists of numbers by name, as {'train': [1.2, 0.9]}")
    if isinstance(x, Mapping) or not len(x):
        raise ValueError(f"x is {shown(x)}: expected a list of at least one number")
    ax = new_axes(6.4, 3.6, ax)
    parts = [f"{ylabel} against {xlabel}, {rounded(x[0])} to {rounded(x[-1])}."]
    for k, (name, values) in enumerate(series.items()):
        if len(values) != len(x):
            found = f"{len(values)} values for {len(x)} places on the x axis"
            raise ValueError(f"series {name!r} has {found}: expected as many")
        there = [value for value in values if value == value]  # NaN is not equal to itself
        if not there:
            raise ValueError(
                f"series {name!r} has nothing to draw: expected at least one number that is not NaN"
            )
        look = {
            "color": PALETTE[k % 7],
            "linestyle": DASHES[k % 4],
            "marker": MARKERS[k % 4] if markers else None,
        }
        ax.plot(x, values, label=name, markersize=4, **look)
        low, high = min(there), max(there)
        span = (
            f"{rounded(low)} throughout"
            if low == high
            else f"between {rounded(low)} and {rounded(high)}"
        )
        ends = "" if low == high else f", from {rounded(there[0])} to {rounded(there[-1])}"
        parts.append(f"{name}: {span}{ends}.")
    return finish(ax, xlabel, ylabel, " ".join(parts))


def plot_history(history: Any, name: str = "loss", *, ax: Axes | None = None) -> Axes:
    """Draw a loss or metric over the finished epochs, one line for each phase; return the axes."""
    if not hasattr(history, "to_dict"):
        raise TypeError(f"history is {shown(history)}: expected a History, as fit returns it")
    check_kind("name", name, str, "'loss', or a metric's")
    columns, finished = history.to_dict(), [r for r in history if r.complete]
    found = dict.fromkeys(f"{r.phase}_{name}" for r in finished if name in ("loss", *r.metrics))
    if not found:
        raise KeyError(
            f"no {name!r} in this history: it has {', '.join(columns) or 'no finished epoch'}"
        )
    epochs = sorted({r.epoch for r in finished})  # the rows of to_dict
    lines = {column.replace("_", " "): columns[column] for column in found}
    ax = plot_lines(epochs, lines, xlabel="epoch", ylabel=name, ax=ax)
    ax.xaxis.get_major_locator().set_params(integer=True)
    return ax


def new_axes(width: float, height: float, ax: Axes | None = None) -> Axes:
    """Return `ax` where it is given, else the axes of a new figure of this size in inches."""
    if ax is not None:
        check_kind("ax", ax, Axes, "the axes to draw on, or None for a new figure")
        return ax
    return plt.subplots(figsize=(width, height), layout="constrained")[1]


def finish(ax: Axes, xlabel: str, ylabel: str, sentence: str) -> Axes:
    """Give a drawing of lines what each ends with: labels, a grid, a legend, and its sentence."""
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    sentences[ax] = sentence
    return ax


def rounded(value: float) -> str:
    """Return a number as a sentence shows it: whole ones with commas, others with three digits."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.3g}"


def counted(count: int, one: str, more: str = "") -> str:
    """Return "1 batch" or "2 batches": a count and its noun, whose plural is `more` where it is irregular."""
    return f"{count} {one if count == 1 else more or one + 's'}"
