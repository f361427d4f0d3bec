"""What one training step holds in memory, counted before anything runs."""

from dlhelpers.explore.frames import Explorer, name_rows
from dlhelpers.show.plots import PALETTE, new_axes, show

# MB in float32: of the 267,738 parameters of lesson 06's model; of the 50,698 numbers of an image and its layers
PARAMETERS, PER_IMAGE = 1.070952, 0.202792
LIMIT = 20  # MB of a pretended device
STATE = {"SGD": 0, "momentum": 1, "Adam": 2}  # numbers kept for each parameter
TRIES = (
    "What is the largest batch that fits with Adam? And with SGD?",
    "Set 256 images. How many micro-batches bring them under the limit?",
    "Take mixed precision with 64 images, then with 1. When does it save memory?",
)


def explore_memory() -> Explorer:
    """Play with batch size, micro-batches, optimizer and precision: does a step fit under 20 MB?

    The model is that of lesson 06. Counted are its parameters, their gradients, the optimizer state, and the images
    with what each layer gives out, for the largest micro-batch. What backward and the libraries need for a moment is
    not, so a measurement is higher. Mixed precision is taken to halve all that layers give out (in truth, most of
    it), leaves the rest in float32, and makes a copy of each parameter in 16 bits.
    """
    controls = (
        ("batch size (images)", 64, 1, 256),
        ("micro-batches per step", 1, 1, 16),
        ("optimizer", "Adam", "SGD", "momentum"),
        ("precision", "float32", "mixed"),
    )
    contrasts = (256, 1, "Adam", "float32"), (256, 4, "Adam", "float32")
    return Explorer(_draw, controls, TRIES, contrasts)


def _draw(batch_size, micro_batches, optimizer, precision):
    at_once = -(-batch_size // micro_batches)
    mixed = precision == "mixed"
    held = {
        "parameters": PARAMETERS * (1 + mixed / 2),
        "gradients": PARAMETERS,
        "optimizer state": PARAMETERS * STATE[optimizer],
        "activations": PER_IMAGE * at_once / (1 + mixed),
    }
    ax, total = new_axes(5.8, 2.8), 0
    for y, size in enumerate(held.values()):
        ax.barh([y, 4], size, left=total, color=PALETTE[y], hatch="/" * y, edgecolor="white")
        total += size
    rows = *held.items(), ("together", total)
    ax.axvline(LIMIT, color=PALETTE[4])
    names = [f"{kind}: {size:.2f} MB" for kind, size in rows]
    name_rows(ax, names, 60, "MB; the line: the limit")
    verdict = "fit" if total <= LIMIT else "do not fit"
    return show(
        ax,
        f"{batch_size} images, {at_once} at a time, take {total:.2f} MB and {verdict} under the limit of {LIMIT} MB.",
    )
