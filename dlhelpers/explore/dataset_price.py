"""What a dataset costs in memory: its images all kept, beside a batch of them."""

import torch

from dlhelpers.base.sizes import bytes_of, human_bytes
from dlhelpers.explore.frames import Explorer, name_rows
from dlhelpers.show.plots import PALETTE, new_axes, show

TRIES = (
    "How many images of 224 x 224 fit into 2 GB as float32? And as uint8, with one byte per number?",
    "Halve the side of the images. What does that do to the price, and why not half?",
    "Move the number of images from one end to the other. Which bar doesn't care?",
)


def explore_price() -> Explorer:
    """Play with side, type and number of images: does a dataset that keeps them all fit into memory?

    Counted are the numbers of colour images, nothing else: of all (eager), and of the one batch of 32 that a lazy
    dataset has in memory at a time.
    """
    controls = (
        ("images", 10_000, 32, 60_000),
        ("side of an image (pixels)", 224, 8, 512),
        ("type of a number", "float32", "uint8", "float16", "float64"),
        ("memory", "2 GB", "8 GB", "32 GB"),
    )
    contrasts = (10_000, 224, "uint8", "2 GB"), (60_000, 32, "float32", "2 GB")
    return Explorer(_draw, controls, TRIES, contrasts)


def _draw(images, side, dtype, memory):
    shape, kind = (3, side, side), getattr(torch, dtype)
    limit = int(memory.removesuffix(" GB"))
    whole, batch = (bytes_of(shape, kind, count) for count in (images, 32))
    ax = new_axes(5.8, 2)
    for y, size in enumerate((whole, batch)):
        for width, look in (
            (size / 1e9, {"facecolor": "white", "edgecolor": PALETTE[4], "hatch": "//"}),
            (min(size / 1e9, limit), {"color": PALETTE[2 * y]}),
        ):
            ax.barh(y, width, height=0.6, **look)
    names = f"eager: all kept\n{human_bytes(whole)}", f"lazy: one batch\n{human_bytes(batch)}"
    ax.axvline(limit, color=PALETTE[4])
    axis = f"GB; the line: the memory, {memory}; hatched: what doesn't fit"
    name_rows(ax, names, 3.5 * limit, axis)
    verdict = "fits" if whole <= limit * 1e9 else "does not fit"
    return show(
        ax,
        f"{images:,} images of 3 x {side} x {side}, {dtype}, take {human_bytes(whole)}, and that {verdict} into"
        f" {memory}. A batch of 32 takes {human_bytes(batch)}.",
    )
