"""Host and device as two lanes: who hands over, who works, and what a read makes wait."""

import numpy as np

from dlhelpers.explore.frames import Explorer, name_rows
from dlhelpers.show.plots import PALETTE, new_axes, show

KERNELS, HAND_OVER = 16, 3  # of four steps, and the ms that the host needs to hand over each
TRIES = (
    "Go from 4 reads per step to none. Which lane stops waiting, and how much time does that save?",
    "Make the kernels 1 ms long. Which lane is the slow one now, and what does one read per step cost?",
    "Back to 6 ms, without reads: which lead gives the time of 4 reads per step, and which is enough to keep the device"
    " busy?",
)


def explore_reads() -> Explorer:
    """Play with reads per step, the length of a kernel and the host's lead: who waits for whom?

    A step has four kernels. The loss is read once at the end, in any case.
    """
    controls = (
        ("reads per step", 1, 0, 4),
        ("kernel (ms)", 6, 1, 12),
        ("host may lead by (kernels)", 8, 1, 16),
    )
    return Explorer(_draw, controls, TRIES, ((4, 6, 8), (0, 6, 8)))


def _draw(reads, kernel_ms, lead):
    """Draw four steps: the host hands kernels over one by one, the device works through them in order."""
    begins, ends, free = [], [0] * lead, 0
    for k in range(KERNELS):
        # the host is free again, and the queue has room
        begins.append(max(free, ends[-lead]))
        free = begins[-1] + HAND_OVER
        ends.append(max(free, ends[-1]) + kernel_ms)
        if (k % 4 + 1) * reads // 4 > k % 4 * reads // 4:
            free = ends[-1]
    total, ends = ends[-1], np.array(ends[lead:])
    ax = new_axes(5.8, 2)
    ax.barh((0, 1), total, color="white", edgecolor="#777777", hatch="/////")
    colours = np.repeat([PALETTE[0], PALETTE[1], PALETTE[5], PALETTE[2]], 4)
    for lane, starts, length in ((0, begins, HAND_OVER), (1, ends - kernel_ms, kernel_ms)):
        ax.barh([lane] * KERNELS, length, left=starts, color=colours, edgecolor="white")
    axis = "ms, up to the time of 4 reads per step; a colour for each step; hatched: waiting"
    name_rows(ax, ("host", "device"), KERNELS * (HAND_OVER + kernel_ms), axis)
    idle, waits = total - KERNELS * kernel_ms, total - KERNELS * HAND_OVER
    return show(
        ax,
        f"4 steps take {total} ms. The device waits for {idle} ms of it, the host for {waits} ms.",
    )
