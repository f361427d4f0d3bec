"""Samples drawn as boxes: those of batches, and those of a training run, by micro-batch, batch, step and epoch.

For cases small enough to be read.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes

from dlhelpers.show.plots import counted, new_axes, sentences

BARE = {"xticks": [], "yticks": [], "frame_on": False}
WIDE, HIGH = 0.92, 0.6  # a sample
FRAME, GAP = 0.1, 0.5  # what a micro-batch's frame stands out, and what lies between two


def plot_batches(batches: Sequence[Sequence[int]], left_out: Sequence[int] = ()) -> Axes:
    """Draw a row for each batch and a numbered box for each sample; those left out stand hatched below.

    Returns the axes.
    """
    rows = {f"batch {k}": batch for k, batch in enumerate(batches, start=1)}
    if left_out:
        rows["left out"] = left_out
    widest = max(map(len, rows.values()))
    ax = new_axes(min(5.8, 1.5 + 0.42 * widest), min(4.8, 0.6 + 0.36 * len(rows)))
    for y, (name, row) in enumerate(rows.items()):
        _draw_boxes(ax, row, 0, y, hatched=name == "left out")
        # tick labels would take five times as long to draw
        ax.text(-0.2, y + HIGH / 2, name, ha="right", va="center", fontsize=10)
    ax.set(**BARE, xlim=(-0.1, widest), ylim=(len(rows), -0.15))
    ax.set_xlabel("place in the batch (samples)")
    sizes = [len(batch) for batch in batches]
    ending = f", the last of {sizes[-1]}" if sizes else ""
    samples = counted(sum(sizes) + len(left_out), "sample")
    made = counted(len(sizes), "batch")
    sentences[ax] = f"{samples} in {made}{ending}; {len(left_out)} left out."
    return ax


def plot_steps(epochs: Sequence[Sequence[Sequence[int]]], micro_batch_size: int) -> Axes:
    """Draw a box a sample, a frame a micro-batch, a row a batch with its optimizer step, and a block an epoch.

    `epochs` holds for each epoch its batches, and for each batch the numbers of its samples. Micro-batches are cut as
    `micro_batches` cuts them: inside each batch. Returns the axes.
    """
    cut = [[_parts(batch, micro_batch_size) for batch in epoch] for epoch in epochs]
    rows = [parts for epoch in cut for parts in epoch]
    width = max(sum(map(len, parts)) + GAP * (len(parts) - 1) for parts in rows)
    ax = new_axes(min(10, 3.2 + 0.5 * width), 0.4 + 0.42 * (len(rows) + len(epochs)))
    step = y = 0
    for k, epoch in enumerate(cut, start=1):
        middle = y + len(epoch) / 2
        ax.text(-2.6, middle, f"epoch {k}", rotation=90, ha="center", va="center", fontsize=10)
        for number, parts in enumerate(epoch, start=1):
            x = 0
            for part in parts:
                frame = x - FRAME, HIGH + 2 * FRAME, len(part) - 1 + WIDE + 2 * FRAME, y - FRAME
                ax.bar(*frame, align="edge", fill=False, linewidth=1.2)
                _draw_boxes(ax, part, x, y)
                x += len(part) + GAP
            step += 1
            middle = y + HIGH / 2
            ax.text(-0.25, middle, f"batch {number}", ha="right", va="center", fontsize=9)
            ax.text(
                width,
                middle,
                f"\N{RIGHTWARDS ARROW} optimizer step {step}",
                va="center",
                fontsize=9,
            )
            y += 1
        y += 0.7
    ax.set(**BARE, xlim=(-3, width + 4.6), ylim=(y - 0.7, -0.3))
    ax.set_xlabel("a box: a sample; a frame: a micro-batch; a row: a batch", fontsize=9)
    micro = [len(part) for parts in rows for part in parts]
    splits = [", ".join("+".join(str(len(p)) for p in parts) for parts in epoch) for epoch in cut]
    sentences[ax] = (
        f"{counted(len(cut), 'epoch')} with {counted(sum(micro), 'sample')} in all:"
        f" {counted(step, 'batch')},"
        f" {counted(len(micro), 'micro-batch')} of at most {micro_batch_size},"
        f" {counted(step, 'optimizer step')}. Samples of each batch by micro-batch: {'; '.join(splits)}."
    )
    return ax


def _parts(batch: Sequence[int], size: int) -> list[Sequence[int]]:
    return [batch[start : start + size] for start in range(0, len(batch), size)]


def _draw_boxes(
    ax: Axes, samples: Sequence[int], x: float, y: float, hatched: bool = False
) -> None:
    """A row of boxes from (x, y) on, each with the number of a sample in its middle."""
    colour, hatch = ("white", "////") if hatched else ("#9AD0F5", "")
    places = [x + k for k in range(len(samples))]
    look = {"color": colour, "hatch": hatch, "edgecolor": "#333333", "linewidth": 0.6}
    boxes = ax.bar(places, HIGH, WIDE, y, align="edge", **look)
    ground = {"facecolor": colour, "edgecolor": "none", "pad": 0.6}  # keeps off the hatch
    # inside, so a number needs no room to be found
    ax.bar_label(boxes, samples, label_type="center", fontsize=8, bbox=ground, in_layout=False)
