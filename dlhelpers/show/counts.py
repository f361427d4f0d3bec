"""Figures of counts, box by box: the samples of batches, and all counts of a training run at once.

For cases small enough to be read.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from dlhelpers.base.checks import check_whole
from dlhelpers.show.plots import PALETTE, counted, new_axes, sentences

LIGHT = "#9AD0F5"
WIDE, HIGH = 0.92, 0.6  # a sample
FRAME, GAP = 0.1, 0.5  # what a micro-batch's frame stands out, and what lies between two


def plot_batches(batches: Sequence[Sequence[int]], left_out: Sequence[int] = ()) -> Axes:
    """Draw a row for each batch and a numbered box for each sample; those left out stand hatched below.

    Returns the axes.
    """
    rows = {f"batch {k}": batch for k, batch in enumerate(batches, start=1)}
    if left_out:
        rows["left out"] = left_out
    widest = max((len(row) for row in rows.values()), default=1)
    ax = new_axes(min(10, 1.5 + 0.42 * widest), 0.6 + 0.36 * len(rows))
    for y, (name, row) in enumerate(rows.items()):
        look = ("white", "////") if name == "left out" else (PALETTE[5] if y % 2 else LIGHT,)
        for x, sample in enumerate(row):
            _box(ax, (x, y), 0.86, sample, *look)
        # tick labels would take five times as long to draw
        ax.text(-0.2, y + 0.43, name, ha="right", va="center", fontsize=10)
    ax.set(xlim=(-0.1, widest), ylim=(len(rows), -0.15), xlabel="place in the batch (samples)")
    _no_frame(ax)
    sizes = [len(batch) for batch in batches]
    ending = f", the last of {sizes[-1]}" if sizes else ""
    samples = counted(sum(sizes) + len(left_out), "sample")
    made = counted(len(sizes), "batch", "batches")
    sentences[ax] = f"{samples} in {made}{ending}; {len(left_out)} left out."
    return ax


def plot_steps(epochs: Sequence[Sequence[Sequence[int]]], micro_batch_size: int) -> Axes:
    """Draw a box a sample, a frame a micro-batch, a row a batch with its optimizer step, and a block an epoch.

    `epochs` holds for each epoch its batches, and for each batch the numbers of its samples. Micro-batches are cut as
    `micro_batches` cuts them: inside each batch. Returns the axes. Raises ValueError for a micro-batch size below 1.
    """
    check_whole("micro_batch_size", micro_batch_size, 1, of="samples")
    cut = [[_parts(batch, micro_batch_size) for batch in epoch] for epoch in epochs]
    rows = [parts for epoch in cut for parts in epoch]
    width = max(sum(map(len, parts)) + GAP * (len(parts) - 1) for parts in rows)
    ax = new_axes(min(10, 3.2 + 0.5 * width), 0.4 + 0.42 * (len(rows) + len(epochs)))
    step = y = 0
    for k, epoch in enumerate(cut, start=1):
        middle = y + len(epoch) / 2
        ax.text(-2.6, middle, f"epoch {k}", rotation=90, ha="center", va="center", fontsize=10)
        for number, parts in enumerate(epoch, start=1):
            step += 1
            _draw_batch(ax, parts, y, LIGHT if k % 2 else PALETTE[5])
            middle = y + HIGH / 2
            ax.text(-0.25, middle, f"batch {number}", ha="right", va="center", fontsize=9)
            arrow = {"arrowstyle": "->", "color": PALETTE[4]}
            ax.annotate("", (width + 1.0, middle), (width + 0.1, middle), arrowprops=arrow)
            ax.text(width + 1.15, middle, f"optimizer step {step}", va="center", fontsize=9)
            y += 1
        y += 0.7
    ax.set(xlim=(-3, width + 4.6), ylim=(y - 0.7, -0.3))
    ax.set_xlabel("a box: a sample; a frame: a micro-batch; a row: a batch", fontsize=9)
    _no_frame(ax)
    micro = [len(part) for parts in rows for part in parts]
    splits = [", ".join("+".join(str(len(p)) for p in parts) for parts in epoch) for epoch in cut]
    sentences[ax] = (
        f"{counted(len(cut), 'epoch')} with {counted(sum(micro), 'sample')} in all:"
        f" {counted(len(rows), 'batch', 'batches')},"
        f" {counted(len(micro), 'micro-batch', 'micro-batches')} of at most {micro_batch_size},"
        f" {counted(step, 'optimizer step')}. Samples of each batch by micro-batch: {'; '.join(splits)}."
    )
    return ax


def _parts(batch: Sequence[int], size: int) -> list[Sequence[int]]:
    return [batch[start : start + size] for start in range(0, len(batch), size)]


def _draw_batch(ax: Axes, parts: Sequence[Sequence[int]], y: float, colour: str) -> None:
    """One row: the samples of a batch as numbered boxes, a frame around each micro-batch."""
    x = 0.0
    for part in parts:
        corner, width = (x - FRAME, y - FRAME), len(part) - 1 + WIDE + 2 * FRAME
        look = {"facecolor": "none", "edgecolor": "#000000", "linewidth": 1.2}
        ax.add_patch(plt.Rectangle(corner, width, HIGH + 2 * FRAME, **look))
        for k, sample in enumerate(part):
            _box(ax, (x + k, y), HIGH, sample, colour)
        x += len(part) + GAP


def _box(
    ax: Axes,
    corner: tuple[float, float],
    height: float,
    number: int,
    colour: str,
    hatch: str = "",
) -> None:
    """A box with a sample's number in its middle."""
    look = {"facecolor": colour, "hatch": hatch, "edgecolor": "#333333", "linewidth": 0.6}
    ax.add_patch(plt.Rectangle(corner, WIDE, height, **look))
    middle = corner[0] + WIDE / 2, corner[1] + height / 2
    ground = {"facecolor": colour, "edgecolor": "none", "pad": 0.6} if hatch else None
    look = {"ha": "center", "va": "center", "fontsize": 8, "bbox": ground}
    ax.text(*middle, number, in_layout=False, **look)  # inside, so it needs no room to be found


def _no_frame(ax: Axes) -> None:
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
