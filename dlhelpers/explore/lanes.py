"""Workers and the device side by side: who makes which batch when, and who waits."""

import numpy as np

from dlhelpers.explore.frames import Explorer, name_rows
from dlhelpers.show.plots import PALETTE, new_axes, show

TRIES = (
    "Set num_workers to 0. Who waits, and how much time does one worker save?",
    "How many workers do you need before the device waits only for the first batch?",
    "Tick the slow batches. What does a larger prefetch_factor save with 2 workers, and with 1?",
)


def explore_lanes() -> Explorer:
    """Play with load time, train time, workers and prefetch_factor: how long does an epoch take, and who waits?

    Each worker has a core of its own and starts in no time, and the loop waits for each step.
    """
    controls = (
        ("load a batch (ms)", 160, 1, 400),
        ("train on a batch (ms)", 120, 1, 400),
        ("num_workers", 1, 0, 4),
        ("prefetch_factor", 2, 1, 4),
        ("every 5th batch loads 5 times as long", False),
    )
    return Explorer(_draw, controls, TRIES, [(160, 120, 0, 2, False), (160, 120, 2, 2, False)])


def _draw(load_ms, train_ms, workers, prefetch, uneven):
    """Draw an epoch of 12 batches: a lane for each process that loads, and one for the device.

    As in a DataLoader, workers take turns. Each has `prefetch` batches ordered in advance, and whenever the loop takes
    a batch, a further one is ordered. Without workers the loop loads each batch itself, after a step.
    """
    loads = [load_ms * (5 if uneven and k % 5 == 0 else 1) for k in range(1, 13)]
    lanes, ahead = workers or 1, workers * prefetch or 1
    loading, training = [(0, 0)] * lanes, [(0, 0)] * ahead  # from and to, in ms
    for load in loads:
        # a worker begins when it is free and the batch has been ordered
        begin = max(loading[-lanes][1], training[-ahead][0]) if workers else training[-1][1]
        taken = max(begin + load, training[-1][1])
        loading.append((begin, begin + load))
        training.append((taken, taken + train_ms))
    ax = new_axes(5.8, 1.2 + 0.42 * lanes)
    turns = np.arange(12)
    for y, spans, colour in (
        (turns % lanes, loading, PALETTE[5]),
        (turns * 0 + lanes, training, PALETTE[1]),
    ):
        starts, ends = np.array(spans[-12:]).T
        # what the batches leave free of these bars is waiting
        ax.barh(y[-lanes:], ends[-lanes:], color="white", edgecolor="#777777", hatch="/////")
        bars = ax.barh(y, ends - starts, left=starts, color=colour, edgecolor="white")
        ax.bar_label(bars, turns + 1, label_type="center", fontsize=8, in_layout=False)
    names = [f"worker {k + 1}" for k in range(workers)] or ["main process"]
    in_turns = sum(loads) + 12 * train_ms
    axis = "ms (the axis ends where an epoch without workers would); hatched: waiting"
    name_rows(ax, [*names, "device"], in_turns, axis)
    waits = sum(end for _, end in loading[-lanes:]) - sum(loads)
    return show(
        ax,
        f"An epoch of 12 batches takes {ends[-1]:,} ms. The device waits for {ends[-1] - 12 * train_ms:,} ms of it, the"
        f" loading side for {waits:,} ms.",
    )
