"""Loader batches as boxes, the optimizer steps that they make, and the rate of a scheduler that counts calls."""

from math import cos, pi

import matplotlib.pyplot as plt

from dlhelpers.explore.frames import Explorer, name_rows
from dlhelpers.show.plots import PALETTE, counted, show

TRIES = (
    "Change one number so that every step of an epoch sees equally many samples.",
    "Tell the scheduler the iterations. For which accumulate does the rate still end at 0?",
    "Tell it the epochs. The rate ends at 0 here, too: what did it do on the way?",
)


def explore_steps() -> Explorer:
    """Play with loader batch, accumulate and epochs: how many optimizer steps, and does the rate reach 0 in time?

    The loop steps after every `accumulate` loader batches and after the last one of an epoch. After each step it calls
    a cosine scheduler, which is told one of the three counts and starts at a rate of 0.1.
    """
    controls = (
        ("samples", 20, 1, 30),
        ("loader batch (samples)", 4, 1, 20),
        ("accumulate (loader batches)", 2, 1, 8),
        ("epochs", 2, 1, 3),
        ("tell the scheduler the", "optimizer steps", "iterations", "epochs"),
    )
    return Explorer(_draw, controls, TRIES, [(20, 4, 2, 2, "iterations"), (20, 4, 2, 2, "epochs")])


def _draw(samples, loader_batch, accumulate, epochs, unit):
    starts = range(0, samples, loader_batch)
    boxes = [(start, min(loader_batch, samples - start)) for start in starts]
    groups = [boxes[k : k + accumulate] for k in range(0, len(boxes), accumulate)]
    sizes = [sum(size for _, size in group) for group in groups]
    steps, counts = epochs * len(groups), {"iterations": epochs * len(boxes), "epochs": epochs}
    told = counts.get(unit, steps)
    rates = [0.05 + 0.05 * cos(pi * call / told) for call in range(steps + 1)]

    heights = {"height_ratios": [epochs, 3], "hspace": 0.9 - 0.1 * epochs}  # faster than a layout
    _, (ax, below) = plt.subplots(2, figsize=(5, 2.3 + 0.4 * epochs), gridspec_kw=heights)
    for epoch in range(epochs):
        for k, group in enumerate(groups):
            look = {"facecolor": PALETTE[1 if k % 2 else 5], "edgecolor": "white", "linewidth": 2}
            ax.broken_barh(group, (epoch - 0.4, 0.8), **look)
            if steps <= 12:
                text = f"{'step ' * (len(groups) < 5)}{epoch * len(groups) + k + 1}"
                middle = group[0][0] + sizes[k] / 2
                ax.text(middle, epoch, text, ha="center", va="center", fontsize=9)
    names = [f"epoch {k + 1}" for k in range(epochs)]
    name_rows(ax, names, samples, "samples; a box: a loader batch; a colour: a step")
    ax.set_xticks([0, samples])
    below.plot(range(steps + 1), rates, "o-", color=PALETTE[0], markersize=4)
    below.set(xlabel="optimizer steps taken", ylabel="learning rate", ylim=(-0.005, 0.11))
    below.set(xlim=(-0.5, steps + 0.5), xticks=[0, steps], yticks=[0, 0.1])
    below.spines[["top", "right"]].set_visible(False)
    last = "" if sizes[-1] == sizes[0] else f", the last of an epoch from {sizes[-1]}"
    return show(
        ax,
        f"{counted(epochs * len(boxes), 'iteration')}, {counted(steps, 'optimizer step')} from"
        f" {counted(sizes[0], 'sample')} each{last}. Told {told}, the scheduler ends at a rate of {rates[-1]:.3f}.",
    )
