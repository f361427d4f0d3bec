"""The samples of batches drawn as boxes, for cases small enough to be read."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from dlhelpers.show.plots import counted, new_axes, sentences

WIDE, HIGH = 0.92, 0.6  # a sample


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
        look = {"color": colour, "hatch": hatch, "edgecolor": "#333333", "linewidth": 0.6}
        boxes = ax.bar(range(len(row)), HIGH, WIDE, y, align="edge", **look)
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
