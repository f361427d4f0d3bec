"""Two averages of the same answers: that of the batches, and that of the images."""

import numpy as np

from dlhelpers.explore.frames import Explorer
from dlhelpers.show.plots import PALETTE, new_axes, show

RIGHT = [0] * 25 + [1] * 19 + [0] * 31  # lesson 03: the answer "1" to 25 zeros, 19 ones, 31 twos
TRIES = (
    "Make both lines meet. What do the batches have in common then?",
    "Drive the two lines as far apart as you can. Which batch does the damage?",
    "Untick sorted by class. Which line moves, and which one stays?",
)


def explore_averages() -> Explorer:
    """Play with the batch size: a bar is as wide as its batch and as high as its accuracy. Where is their mean?

    The answers are those of lesson 03: the first of its 75 images, in order or shuffled.
    """
    controls = (
        ("batch size (images)", 32, 1, 75),
        ("images", 75, 1, 75),
        ("sorted by class", True),
    )
    return Explorer(_draw, controls, TRIES, [(25, 75, True), (50, 51, True)])


def _draw(batch_size, images, by_class):
    right = np.array(RIGHT[:images])
    if not by_class:
        right = np.random.default_rng(0).permutation(right)
    starts = np.arange(0, images, batch_size)
    sizes = np.minimum(batch_size, images - starts)
    heights = 100 * np.add.reduceat(right, starts) / sizes
    truth, mean = 100 * right.mean(), heights.mean()
    ax = new_axes(5.8, 3.2)
    # a foot below 0 shows a batch that has nothing right
    bars = ax.bar(starts, heights + 3, sizes, -3, align="edge", color=PALETTE[5], edgecolor="white")
    if sizes[-1] < sizes[0]:
        bars[-1].set(facecolor=PALETTE[1], hatch="////")
    red, green = "#B04A00", "#00755A"  # the palette's own, dark enough for words
    ax.axhline(truth, color=green)
    ax.axhline(mean, color=red, linestyle="--")
    lines = (mean, "mean of\nbatch means", red), (truth, "truth", green)
    for (value, name, colour), side in zip(sorted(lines), ("top", "bottom"), strict=True):
        ax.text(1.02 * images, value, f"{name}\n{value:.1f} %", color=colour, va=side)
    roomy = sizes + batch_size > 0.24 * images  # else the words of two batches would touch
    words = [f"{n}\n{y:.1f} %" for n, y in zip(sizes[roomy], heights[roomy], strict=True)]
    ax.set_xticks((starts + sizes / 2)[roomy], words)
    axis = "images in the batch, and its accuracy"
    ax.set(xlim=(0, images), ylim=(-3, 100), xlabel=axis, ylabel="accuracy (%)", frame_on=False)
    return show(
        ax,
        f"The mean of batch means says {mean:.1f} %, the truth is {truth:.1f} %. In the last batch, of {sizes[-1]},"
        f" an image counts {sizes[0] / sizes[-1]:.1f} times as much as in the first.",
    )
