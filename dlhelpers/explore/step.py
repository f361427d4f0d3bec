"""One weight on its loss curve, moved by the steps of gradient descent."""

import numpy as np

from dlhelpers.explore.frames import Explorer
from dlhelpers.show.plots import PALETTE, counted, new_axes, show

START, BOTTOM = 0.0, 3.0  # the weight at first and at best
REACH = 5.0  # of the picture, to each side of the best
TRIES = (
    "Find the rate that lands at the bottom in a single step. What does the ball do just above it?",
    "Find the smallest rate at which the ball never comes closer to the bottom.",
    "Go back to a rate of 0.10 (10 hundredths), take 20 steps, and untick the clearing. Can any rate bring the ball to"
    " rest?",
)


def explore_step() -> Explorer:
    """Play with the learning rate of one weight `w` whose loss is (w - 3)**2, and with the clearing of its gradient."""
    controls = (
        ("learning rate (hundredths)", 10, 1, 120),
        ("steps", 10, 0, 20),
        ("clear the gradient before each step", True),
    )
    return Explorer(_draw, controls, TRIES, [(110, 2, True), (10, 20, False)])


def _draw(hundredths, steps, clear):
    rate, gradient, weights = hundredths / 100, 0.0, [START]
    for _ in range(steps):
        gradient = 2 * (weights[-1] - BOTTOM) + (0 if clear else gradient)
        weights.append(weights[-1] - rate * gradient)
    path = np.array(weights)
    losses = (path - BOTTOM) ** 2
    ax = new_axes(5.8, 3.4)
    curve = np.linspace(BOTTOM - REACH, BOTTOM + REACH, 200)
    ax.plot(curve, (curve - BOTTOM) ** 2, color="#999999")
    ax.plot(path, losses, color=PALETTE[1], linestyle=":", marker="o", markersize=5)
    for k in range(min(steps, 6)):
        ax.annotate(k, (path[k], losses[k]), (0, 7), textcoords="offset points", ha="center")
    ax.plot(path[-1], losses[-1], "o", color=PALETTE[0], markersize=14)
    if abs(path[-1] - BOTTOM) > REACH:
        ax.text(BOTTOM, 0.8 * REACH**2, "the ball is off the picture", ha="center")
    ax.set(xlim=(BOTTOM - REACH, BOTTOM + REACH), ylim=(-1.5, REACH**2), frame_on=False)
    ax.set(xlabel="weight", ylabel="loss")
    return show(
        ax,
        f"At a rate of {rate:.2f} the ball {_manner(hundredths, clear)}. In {counted(steps, 'step')} the weight goes"
        f" from {START:.2f} to {path[-1]:,.2f}, and the loss from {losses[0]:.2f} to {losses[-1]:,.2f}.",
    )


def _manner(hundredths, clear):
    if not clear:
        return "swings like a sledge that nobody brakes"
    manners = {
        49: "rolls down its side",
        50: "lands at the bottom in one step",
        99: "jumps across and comes closer each time",
        100: "jumps from side to side for ever",
    }
    return next((said for most, said in manners.items() if hundredths <= most), "flies off")
