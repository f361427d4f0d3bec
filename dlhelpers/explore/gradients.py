"""The gradients of batches, as arrows around the gradient of the whole dataset."""

import numpy as np

from dlhelpers.explore.frames import Explorer
from dlhelpers.show.plots import PALETTE, new_axes, show

SAMPLES, BATCHES, RATE = 1_000, 24, 0.1
TRIES = (
    "Take batches of 1, 4, 16 and 64 points. What does four times the batch do to the miss?",
    "At 0 steps, find a batch of which no arrow points backwards. Where are its arrows at 15 steps?",
    "Move only the steps. Which shrinks faster, the orange arrow or the miss?",
)


def explore_gradients() -> Explorer:
    """Play with the batch size: 24 batches, an arrow each. How far do they point from the gradient of all points?

    A line y = a x + b is fitted to 1,000 noisy points by the mean squared error. It has two weights, so a gradient is
    an arrow in the plane. Steps that were already taken are steps on all points, at the rate 0.1.
    """
    controls = (("batch size (points)", 4, 1, 256), ("steps already taken", 0, 0, 20))
    return Explorer(_draw, controls, TRIES, [(64, 0), (4, 15)])


def _draw(batch_size, steps):
    random = np.random.default_rng(0)
    x, noise = random.normal(size=(2, SAMPLES))
    y, weights = noise - 2 * x - 1, np.zeros(2)

    def each():
        return 2 * (weights[0] * x + weights[1] - y) * np.stack([x, np.ones(SAMPLES)])

    for _ in range(steps):
        weights -= RATE * each().mean(1)
    full = each().mean(1)
    arrows = each()[:, random.integers(SAMPLES, size=(BATCHES, batch_size))].mean(2).T
    miss = np.linalg.norm(arrows - full, axis=1).mean()
    back = arrows @ full < 0
    ax = new_axes(4.6, 3.1)
    look = {"angles": "xy", "scale_units": "xy", "scale": 1}
    for chosen, colour, width in (
        (arrows[~back], PALETTE[5], 0.004),
        (arrows[back], PALETTE[3], 0.004),
        (full[None], PALETTE[4], 0.013),
    ):
        ax.quiver(*np.zeros_like(chosen.T), *chosen.T, color=colour, width=width, **look)
    axis = "along the slope; orange: all points, pink: backwards"
    ax.set(xlim=(-4, 10), ylim=(-4, 6), aspect="equal", xlabel=axis, ylabel="along the intercept")
    length = np.linalg.norm(full)
    return show(
        ax,
        f"A batch of {batch_size} misses the gradient of all points, {length:.2f} long, by {miss:.2f} on average:"
        f" {miss / length:,.0%} of it. Of {BATCHES} batches, {back.sum()} point backwards.",
    )
