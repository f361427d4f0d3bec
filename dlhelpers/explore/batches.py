"""Which sample lands in which batch, and in which epoch."""

from random import Random

from dlhelpers.explore.frames import Explorer
from dlhelpers.show import plot_batches, show

MOST = 24  # of each: every place is then drawn within 0.3 seconds
TRIES = (
    "Keep 20 samples. Which batch sizes fill every row? There are six.",
    "Tick drop_last and set batches of 6. Then change only the epoch: who is left out?",
    "Now change only the batch size. Which size loses most, and still has a batch?",
)


def explore_batches() -> Explorer:
    """Play with samples, batch size, drop_last and epoch: which sample lands in which batch of a shuffled loader?"""
    controls = (
        ("samples", 20, 1, MOST),
        ("batch size (samples)", 6, 1, MOST),
        ("epoch", 1, 1, 5),
        ("drop_last", False),
    )
    return Explorer(_draw, controls, TRIES, [(20, 6, 1, True), (20, 11, 1, True)])


def _draw(samples, batch_size, epoch, drop_last):
    order = Random(epoch).sample(range(samples), samples)
    batches = [order[k : k + batch_size] for k in range(0, samples, batch_size)]
    left_out = batches.pop() if drop_last and samples % batch_size else []
    return show(plot_batches(batches, left_out))
