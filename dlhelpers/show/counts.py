"""A figure of all counts of a training run at once: samples, micro-batches, batches, optimizer steps, epochs.

For cases small enough to be read box by box. Micro-batches are cut as `micro_batches` cuts them: inside each batch.
"""

from collections.abc import Sequence
from itertools import chain

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from dlhelpers.base.checks import check_whole
from dlhelpers.show.plots import PALETTE, counted, new_axes, sentences

BOX, HIGH, FRAME, GAP = (
    0.92,
    0.6,
    0.1,
    0.5,
)  # a sample, width and height; a frame beyond it; between two frames


def plot_steps(
    epochs: Sequence[Sequence[Sequence[int]]], micro_batch_size: int, *, ax: Axes | None = None
) -> Axes:
    """Draw a box a sample, a frame a micro-batch, a row a batch with its optimizer step, and a block an epoch.

    `epochs` holds for each epoch its batches, and for each batch the numbers of its samples. Returns the axes.
    Raises ValueError for a micro-batch size below 1, and where there is no batch.
    """
    check_whole("micro_batch_size", micro_batch_size, 1, of="samples")
    cut = [[_parts(batch, micro_batch_size) for batch in epoch] for epoch in epochs]
    rows = list(chain.from_iterable(cut))
    if not rows:
        raise ValueError(
            f"{len(epochs)} epochs without a batch: expected at least one batch to draw"
        )
    width = max(_width(parts) for parts in rows)
    ax = new_axes(min(10, 3.2 + 0.5 * width), 0.4 + 0.42 * (len(rows) + len(epochs)), ax)
    middles, step = [], 0
    for k, batches in enumerate(cut):
        top = step + 0.7 * k
        for y, parts in enumerate(batches):
            _draw_batch(ax, parts, top + y, PALETTE[5] if k % 2 else "#9AD0F5")
            middles.append(top + y + HIGH / 2)
            step += 1
            look = {"arrowstyle": "->", "color": PALETTE[4]}
            ax.annotate("", (width + 1.0, middles[-1]), (width + 0.1, middles[-1]), arrowprops=look)
            ax.text(width + 1.15, middles[-1], f"optimizer step {step}", va="center", fontsize=9)
        ax.text(
            -2.6,
            top + len(batches) / 2,
            f"epoch {k + 1}",
            rotation=90,
            ha="center",
            va="center",
            fontsize=10,
        )
    ax.set(xlim=(-3, width + 4.6), ylim=(middles[-1] + 0.7, -0.3))
    ax.set_xlabel("a box: a sample; a frame: a micro-batch; a row: a batch", fontsize=9)
    ax.set_xticks([])
    ax.set_yticks([])
    for middle, name in zip(middles, _names(cut), strict=True):
        ax.text(-0.25, middle, name, ha="right", va="center", fontsize=9)
    ax.spines[:].set_visible(False)
    sentences[ax] = _sentence(cut, micro_batch_size)
    return ax


def _parts(batch: Sequence[int], size: int) -> list[Sequence[int]]:
    return [batch[start : start + size] for start in range(0, len(batch), size)]


def _width(parts: Sequence[Sequence[int]]) -> float:
    return sum(map(len, parts)) + GAP * (len(parts) - 1)


def _names(cut: Sequence[Sequence[object]]) -> list[str]:
    return [f"batch {k + 1}" for batches in cut for k in range(len(batches))]


def _draw_batch(ax: Axes, parts: Sequence[Sequence[int]], y: float, colour: str) -> None:
    """One row: the samples of a batch as numbered boxes, a frame around each micro-batch."""
    x = 0.0
    for part in parts:
        frame = (x - FRAME, y - FRAME), len(part) - 1 + BOX + 2 * FRAME, HIGH + 2 * FRAME
        ax.add_patch(plt.Rectangle(*frame, facecolor="none", edgecolor="#000000", linewidth=1.2))
        for k, sample in enumerate(part):
            ax.add_patch(
                plt.Rectangle(
                    (x + k, y), BOX, HIGH, facecolor=colour, edgecolor="#333333", linewidth=0.6
                )
            )
            ax.text(x + k + BOX / 2, y + HIGH / 2, sample, ha="center", va="center", fontsize=8)
        x += len(part) + GAP


def _sentence(cut: Sequence[Sequence[Sequence[Sequence[int]]]], size: int) -> str:
    batches = list(chain.from_iterable(cut))
    micro = [len(part) for parts in batches for part in parts]
    splits = "; ".join(
        ", ".join("+".join(str(len(part)) for part in parts) for parts in epoch) for epoch in cut
    )
    return (
        f"{counted(len(cut), 'epoch')} with {counted(sum(micro), 'sample')} in all:"
        f" {counted(len(batches), 'batch', 'batches')},"
        f" {counted(len(micro), 'micro-batch', 'micro-batches')} of at most {size},"
        f" {counted(len(batches), 'optimizer step')}. Samples of each batch by micro-batch: {splits}."
    )
