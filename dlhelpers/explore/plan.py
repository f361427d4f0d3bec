"""The plan of a training: how much of a budget of samples it uses, and how much of the memory allowed."""

import torch
from torch import nn

from dlhelpers.explore.frames import Explorer
from dlhelpers.measure.plans import plan
from dlhelpers.show.plots import PALETTE, counted, new_axes, show

SAMPLES, BUDGET, CAP = 2_404, 10_000, 88  # lesson 15: images, samples to be seen, MB
TRIES = (
    "Get both bars to end left of the line, with as many epochs as fit.",
    "Now make the micro-batches smaller. When does that stop paying off, and which part is left?",
    "Double the batch size. How many optimizer steps does that cost, and which parts grow?",
)


class Centre(nn.Module):
    """Shift pixels from 0 to 1 so that they lie around 0, where training goes faster."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return images of values from -0.5 to 0.5."""
        return images - 0.5


def network() -> nn.Sequential:
    """Return the network of lesson 15: images float32 (n, 3, 64, 64) in, three scores each out."""
    return nn.Sequential(
        Centre(),
        nn.Conv2d(3, 24, kernel_size=5, stride=2, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(8),
        nn.Flatten(),
        nn.Linear(384, 32),
        nn.ReLU(),
        nn.Linear(32, 3),
    )


def explore_plan() -> Explorer:
    """Play with the numbers of lesson 15's plan, as `measure.plan` makes it: do budget and memory suffice?"""
    controls = (
        ("batch size (samples)", 256, 1, 512),
        ("micro-batch (samples)", 256, 1, 512),
        ("epochs", 5, 1, 6),
    )
    return Explorer(_draw, controls, TRIES, ((256, 64, 4), (512, 1, 4)))


def _draw(batch_size, micro_batch, epochs):
    made = plan(
        samples=SAMPLES,
        batch_size=batch_size,
        epochs=epochs,
        micro_batch_size=micro_batch,
        shape=(3, 64, 64),
        model=network(),
        optimizer_fn=torch.optim.Adam,
    )
    seen, peak = SAMPLES * epochs, made.peak_bytes / 1e6
    parts = [(name, size / 1e4 / CAP) for name, size in made.peak_parts.items()]
    bars = [(str(k + 1), 100 * SAMPLES / BUDGET) for k in range(epochs)], parts
    ax = new_axes(5.8, 2.4)
    for y, bar in enumerate(bars):
        left = 0
        for k, (name, share) in enumerate(bar):
            ax.barh(y, share, left=left, color=PALETTE[5 - y * k], edgecolor="white")
            if share > 2 * len(name):
                ax.text(left + share / 2, y, name, ha="center", va="center")
            left += share
    ax.axvline(100, color="#B04A00")
    ax.set_yticks((0, 1), ("epochs", "memory"))
    widest = max(130, ax.get_xlim()[1])  # mostly the same, so that the line stays where it is
    ax.set(xlim=(0, widest), ylim=(1.5, -0.5), xlabel="% of what is allowed", frame_on=False)
    return show(
        ax,
        f"{counted(made.optimizer_steps, 'optimizer step')} from {seen:,} samples ({BUDGET:,} are allowed);"
        f" {peak:.1f} MB at the peak of a step ({CAP} MB are allowed).",
    )
