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
import torch
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.text import Text
from torch import Tensor

from dlhelpers.base.checks import check_kind

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")
# Where a page is known to be dark, a drawing's lightness turns around and its hues stay: one image serves both themes.
# A page that strips styles shows it on white. .93 makes white the ground of a dark JupyterLab.
DARK = """<style>
:is([data-jp-theme-light=false], [data-theme=dark], [theme=dark], .vscode-dark) .dl-drawing
{filter: invert(.93) hue-rotate(180deg) !important}
</style>"""
GREY = "#767676"  # to be read on white and on black
DASHES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D")
WIDE, HIGH = 0.92, 0.6  # the box of a sample
sentences: WeakKeyDictionary[Axes, str] = WeakKeyDictionary()  # what `show` says of each drawing


class Picture:
    """A drawn figure as a notebook shows it: an HTML image with alt text, and the same sentence as plain text."""

    def __init__(self, ax: Axes, alt: str):
        buffer = io.BytesIO()
        photographs = bool(ax.figure.findobj(AxesImage))  # keep their colours in any theme
        ground, kind = ("none", "dl-photographs") if photographs else ("white", "dl-drawing")
        for word in ax.figure.findobj(Text) if photographs else ():
            word.set_color(GREY)
        ax.figure.savefig(buffer, format="png", dpi=144, bbox_inches="tight", facecolor=ground)
        plt.close(ax.figure)  # or the notebook would show it a second time
        pixels = int.from_bytes(buffer.getvalue()[16:20], "big")  # the width, in a PNG's header
        width = pixels * 2 // 3  # stored sharper than it is shown
        data = base64.b64encode(buffer.getvalue()).decode()
        self.alt = alt
        look = f'alt="{escape(alt)}" class="{kind}" width="{width}" style="max-width:100%;border-radius:8px"'
        self.html = f'{DARK}<img {look} src="data:image/png;base64,{data}">'

    def __repr__(self) -> str:
        return f"Figure: {self.alt}"

    def _repr_html_(self) -> str:
        return self.html


def show(ax: Axes, sentence: str = "", *, title: str = "") -> Picture:
    """Return the figure of `ax` for display, under a title that says what to see in it.

    `sentence`, the picture in words with its numbers, replaces what the plot says of itself. Raises ValueError for a
    figure that says nothing.
    """
    sentence = sentence or sentences.get(ax, "")
    if not sentence:
        raise ValueError(
            "this figure has no sentence: pass one that says, with its numbers, what the picture shows"
        )
    if title:
        ax.set_title(title, loc="left", fontweight="bold", pad=12)
        sentence = f"{title}. {sentence}"
    return Picture(ax, sentence)


def plot_images(images: Sequence[Tensor], captions: Sequence[object], *, columns: int = 8) -> Axes:
    """Draw images row by row, each with its caption below; return the axes.

    An image is a tensor (C, H, W), with 1 or 3 channels. Floating-point values go from 0 to 1 and are cut off
    beyond, bytes from 0 to 255.
    """
    rows = -(-len(images) // columns)
    ax = new_axes(columns, 1.35 * rows)
    for k, (image, caption) in enumerate(zip(images, captions, strict=True)):
        check_kind(
            f"image {k}",
            image,
            Tensor,
            "a tensor (C, H, W); of a sample (image, label) it is sample[0]",
        )
        pixels = image.detach().cpu().movedim(0, 2)
        if pixels.dtype == torch.uint8:
            pixels = pixels / 255
        x, y = k % columns, 1.35 * (k // columns)
        place = (x, x + 0.92, y + 0.92, y)
        ax.imshow(pixels.clamp(0, 1).numpy(), cmap="gray", vmin=0, vmax=1, extent=place)
        ax.text(x + 0.46, y + 1.0, str(caption), ha="center", va="top", fontsize=9)
    ax.set(xlim=(0, columns), ylim=(1.35 * rows, 0), aspect="equal")
    ax.axis("off")
    sentences[ax] = f"{len(images)} images, with captions {', '.join(map(str, captions))}."
    return ax


def plot_batches(batches: Sequence[Sequence[int]], left_out: Sequence[int] = ()) -> Axes:
    """Draw a row for each batch and a numbered box for each sample; those left out stand hatched below.

    Returns the axes.
    """
    rows = {f"batch {k}": batch for k, batch in enumerate(batches)}
    if left_out:
        rows["left out"] = left_out
    widest = max(map(len, rows.values()))
    ax = new_axes(min(5.8, 1.5 + 0.42 * widest), min(4.8, 0.6 + 0.36 * len(rows)))
    for y, (name, row) in enumerate(rows.items()):
        colour, hatch = ("white", "////") if name == "left out" else ("#9AD0F5", "")
        boxes = ax.bar(
            range(len(row)),
            HIGH,
            WIDE,
            y,
            align="edge",
            color=colour,
            hatch=hatch,
            edgecolor="#333333",
            linewidth=0.6,
        )
        ground = {"facecolor": colour, "edgecolor": "none", "pad": 0.6}  # keeps off the hatch
        # inside, so a number needs no room to be found
        ax.bar_label(boxes, row, label_type="center", fontsize=8, bbox=ground, in_layout=False)
        # tick labels would take five times as long to draw
        ax.text(-0.2, y + HIGH / 2, name, ha="right", va="center", fontsize=10)
    ax.set(xticks=[], yticks=[], frame_on=False, xlim=(-0.1, widest), ylim=(len(rows), -0.15))
    ax.set_xlabel("place in the batch (samples)")
    sizes = [len(batch) for batch in batches]
    ending = f", the last of {sizes[-1]}" if sizes else ""
    samples = counted(sum(sizes) + len(left_out), "sample")
    made = counted(len(sizes), "batch")
    sentences[ax] = f"{samples} in {made}{ending}; {len(left_out)} left out."
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

    A NaN leaves a gap.
    """
    ax = ax or new_axes()
    parts = [f"{ylabel} against {xlabel}, {rounded(x[0])} to {rounded(x[-1])}."]
    for k, (name, values) in enumerate(series.items()):
        [line] = ax.plot(x, values, DASHES[k % 4], color=PALETTE[k % 7], label=name, markersize=4)
        if markers:
            line.set_marker(MARKERS[k % 4])
        # NaN is not equal to itself; where there is nothing else, it is what is told
        there = [value for value in values if value == value] or values
        low, high = min(there), max(there)
        if low == high:
            parts.append(f"{name}: {rounded(low)} throughout.")
        else:
            span = f"between {rounded(low)} and {rounded(high)}"
            parts.append(f"{name}: {span}, from {rounded(there[0])} to {rounded(there[-1])}.")
    return finish(ax, xlabel, ylabel, " ".join(parts))


def plot_history(history: Any, name: str = "loss") -> Axes:
    """Draw a loss or metric over the finished epochs, one line for each phase; return the axes.

    history  as `fit` returns it
    name     "loss", or a metric's name
    Raises KeyError for a name that the history lacks.
    """
    columns = history.to_dict()
    found = {c.replace("_", " "): columns[c] for c in columns if c.endswith(f"_{name}")}
    if not found:
        there = ", ".join(columns) or "no finished epoch"
        raise KeyError(f"no {name!r} in this history: it has {there}")
    epochs = sorted({result.epoch for result in history if result.complete})  # the rows of to_dict
    ax = plot_lines(epochs, found, xlabel="epoch", ylabel=name)
    ax.xaxis.get_major_locator().set_params(integer=True)
    return ax


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


def plot_timeline(
    spans: Mapping[str, Sequence[tuple[float, float]]],
    memory: Sequence[tuple[float, float]],
    verdict: str,
) -> Axes:
    """Draw a lane of (start, length) in milliseconds for each phase, the first hatched, and the bytes held below."""
    rows = len(spans)
    size = (6.4, 1.8 + 0.35 * rows)
    figure, (ax, below) = plt.subplots(
        2, figsize=size, sharex=True, layout="constrained", height_ratios=[rows, 3]
    )
    for row, parts in enumerate(spans.values()):
        look = {"facecolor": PALETTE[row]}
        if row == 0:
            look = {"facecolor": "white", "edgecolor": "#777777", "hatch": "/////"}
        ax.broken_barh(parts, (row - 0.4, 0.8), **look)
    ax.set_yticks(range(rows), list(spans))
    ax.invert_yaxis()
    ax.set_title(verdict.partition(",")[0], loc="left", fontsize=10, fontweight="bold")
    moments, held = zip(*memory, strict=True)
    below.fill_between(moments, [size / 1e6 for size in held], step="post", color=PALETTE[5])
    below.set(xlabel="milliseconds", ylabel="MB held")
    for one in (ax, below):
        one.spines[["top", "right"]].set_visible(False)
    sentences[ax] = f"{verdict} The most that is held: {max(held) / 1e6:.1f} MB."
    return ax


def new_axes(width: float = 6.4, height: float = 3.6) -> Axes:
    """Return the axes of a new figure of this size in inches."""
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


def counted(count: int, noun: str) -> str:
    """Return "1 batch" or "2 batches": a count and its noun."""
    ending = "es" if noun.endswith("batch") else "s"
    return f"{count} {noun}" if count == 1 else f"{count} {noun}{ending}"
