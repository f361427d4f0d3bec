"""Which sample lands in which batch, and in which epoch."""

from random import Random

from ipywidgets import Checkbox, IntSlider

from dlhelpers.data.counting import batches_per_epoch
from dlhelpers.explore.frames import WithTwin, explorer
from dlhelpers.show.boxes import plot_batches
from dlhelpers.show.plots import Picture, show

MOST = 24  # of each slider: every place is then drawn within 0.3 seconds


def explore_batches(samples: int = 20, batch_size: int = 6) -> WithTwin:
    """Return sliders for samples, batch size, drop_last and epoch above a drawing of that epoch's batches.

    A slider goes up to 24, and a larger number stands there.
    """
    return explorer(
        draw_epoch,
        samples=IntSlider(samples, 1, MOST),
        batch_size=IntSlider(batch_size, 1, MOST),
        drop_last=Checkbox(False),
        epoch=IntSlider(1, 1, 5),
    )


def draw_epoch(samples: int, batch_size: int, drop_last: bool = False, epoch: int = 1) -> Picture:
    """Return the picture of one shuffled epoch: which sample lands in which batch, and which in none."""
    order = Random(epoch).sample(range(samples), samples)
    whole = batches_per_epoch(samples, batch_size, drop_last=drop_last)
    batches = [order[k * batch_size : (k + 1) * batch_size] for k in range(whole)]
    left_out = order[whole * batch_size :] if drop_last else []
    return show(plot_batches(batches, left_out))
