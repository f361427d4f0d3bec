"""An epoch dealt out to ranks: who takes which place, in which step, and what becomes of the rest."""

from dlhelpers.data.sampling import split_epoch
from dlhelpers.explore.frames import Explorer, name_rows
from dlhelpers.show.plots import PALETTE, counted, new_axes, show

TRIES = (
    "Take 12 samples. Deal out steps of 6 as 1 x 6, 2 x 3, 3 x 2 and 6 x 1 (ranks x batch size). Which positions are in"
    " the first step?",
    'Back to 4 ranks: what\'s the most samples that "drop" can leave out, and the most that "pad" can use twice?',
    'With "exact", 4 ranks and batches of 2, find a number of samples that leaves three ranks with nothing to do in the'
    " last step. What would rank 0 wait for?",
)


def explore_ranks() -> Explorer:
    """Play with samples, ranks, batch size and policy: which rank takes which place of the epoch's order, and when?"""
    controls = (
        ("samples", 10, 1, 24),
        ("ranks", 4, 1, 6),
        ("batch size of a rank", 2, 1, 6),
        ("policy", "exact", "pad", "drop"),
    )
    return Explorer(_draw, controls, TRIES, [(10, 4, 2, "pad"), (10, 4, 2, "drop")])


def _draw(samples, ranks, batch_size, policy):
    splits = [split_epoch(samples, rank=k, world=ranks, policy=policy) for k in range(ranks)]
    most, taken = len(splits[0]), sum(map(len, splits))
    steps = -(-most // batch_size)
    last = [max(len(split) - (steps - 1) * batch_size, 0) for split in splits] if steps else [0]
    gap = 0.4 * batch_size**0.5  # between two steps
    ax = new_axes(5.8, 0.9 + 0.36 * (ranks + (taken < samples)))
    for rank, split in enumerate(splits):
        for k in range(len(split)):
            again = rank + k * ranks >= samples
            _box(ax, k + k // batch_size * gap, rank, split.position(k), PALETTE[rank], again)
    for k in range(taken, samples):
        _box(ax, k - taken, ranks, k, "white", True)
    middles = [
        k * (batch_size + gap) + min(batch_size, most - k * batch_size) / 2 for k in range(steps)
    ]
    shown = range(steps) if steps < 9 else (0, steps - 1)
    ax.set_xticks([middles[k] for k in shown], [f"step {k + 1}" for k in shown])
    names = [f"rank {k}" for k in range(ranks)] + ["left out"] * (taken < samples)
    wide = max(most + max(steps - 1, 0) * gap, samples - taken, 6)
    axis = "numbers: positions in the epoch's order; hatched: used twice, or left out"
    name_rows(ax, names, wide, axis)
    ax.tick_params(length=0)
    end = f", the last with {counted(sum(last), 'sample')} from {counted(sum(map(bool, last)), 'rank')}"
    return show(
        ax,
        f"{counted(samples, 'sample')} on {counted(ranks, 'rank')}: {max(samples - taken, 0)} left out,"
        f" {max(taken - samples, 0)} taken twice. {counted(steps, 'optimizer step')}{end if steps else ''}.",
    )


def _box(ax, x, y, place, colour, hatched):
    edge = "#777777" if colour == "white" else "white"
    ax.barh(y, 0.94, 0.86, x, color=colour, edgecolor=edge, hatch="////" if hatched else "")
    ink = "white" if colour in (PALETTE[0], PALETTE[4]) else "black"
    # on a hatch, too, a number can be read
    look = {"facecolor": colour, "edgecolor": "none", "pad": 1}
    ax.text(x + 0.47, y, place, ha="center", va="center", fontsize=9, color=ink, bbox=look)
