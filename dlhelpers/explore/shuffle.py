"""A sorted file and the batches of an epoch, in the colours of their classes: what blocks and a window mix."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgba_array

from dlhelpers.data.sampling import BlockShuffleSampler
from dlhelpers.explore.frames import Explorer
from dlhelpers.show.plots import PALETTE, counted, show

TRIES = (
    "Keep the window at 1, and change the block until the batches are mixed. What does it cost?",
    "Back to blocks of 24. What's the smallest window that gives 2.9 classes per batch? How many samples does it hold?",
    "Untick sorted by class: now the file has been shuffled once. What's the smallest window that mixes the batches?",
)


def explore_shuffle() -> Explorer:
    """Play with block and window over a file of 240 samples: how mixed are the batches, and what do they cost?

    Blocks come in random order, and those of a window are mixed. The colour of a sample is its class.
    """
    controls = (
        ("block (samples)", 24, 1, 240),
        ("window (blocks)", 1, 1, 20),
        ("sorted by class", True),
    )
    return Explorer(_draw, controls, TRIES, ((24, 5, True), (24, 1, False)))


def _draw(block, window, by_class):
    labels = np.repeat([0, 1, 2], 80)
    if not by_class:
        labels = np.random.default_rng(0).permutation(labels)
    order = list(BlockShuffleSampler(240, block=block, window=window))
    batches = labels[order].reshape(20, 12)
    counts = (batches[..., None] == range(3)).sum(axis=1)
    classes, blocks = (counts > 0).sum(axis=1).mean(), -(-240 // block)

    heights = {"height_ratios": [1, 5], "hspace": 0.8}  # faster than a layout
    _, (file, ax) = plt.subplots(2, figsize=(5.8, 2.9), gridspec_kw=heights)
    colours = to_rgba_array(PALETTE[:3])
    file.imshow(colours[labels][None], aspect="auto", extent=(0, 240, 0, 1))
    if block > 3:  # else the borders would hide the samples
        file.vlines(range(block, 240, block), 0, 1, color="white", linewidth=2)
    file.set(xticks=[0, 240], yticks=[], frame_on=False)
    file.set_xlabel("position in the file; lines: block borders", labelpad=-8)
    foot = counts.cumsum(axis=1) - counts
    places = np.repeat(range(1, 21), 3)
    each = np.tile(colours, (20, 1))
    ax.bar(places, counts.ravel(), bottom=foot.ravel(), color=each, edgecolor="white")
    ax.set(xlim=(0.4, 20.6), xticks=[1, 20], yticks=[0, 12], frame_on=False)
    ax.set(xlabel="batch of the epoch; one colour per class", ylabel="samples")
    held = min(240, block * window)
    return show(
        ax,
        f"A batch of 12 holds {classes:.1f} of 3 classes on average. An epoch makes {counted(blocks, 'disk request')}"
        f" and holds at most {counted(held, 'sample')} at a time.",
    )
