"""When a learning-rate scheduler moves on: after each epoch or each optimizer step, and never without being told.

PyTorch's schedulers count calls of `step()` and do not know what a call stands for. One that was told the number of
epochs and is moved on at each step has finished long before training has.
"""

from collections.abc import Iterable
from typing import Any

from torch.optim.lr_scheduler import ReduceLROnPlateau

from dlhelpers.history import EpochResult


def check_scheduler(scheduler: Any, unit: str, epochs: int, loader: Iterable) -> None:
    """ValueError for an unknown unit, and for a scheduler told of another number of steps than it will take."""
    if unit not in ("epoch", "step"):
        raise ValueError(f"scheduler_unit is {unit!r}: expected 'epoch' or 'step', how often the scheduler moves on")
    told = next((getattr(scheduler, n) for n in ("total_steps", "T_max", "total_iters") if hasattr(scheduler, n)), None)
    batches = len(loader) if hasattr(loader, "__len__") else None
    if told is None or batches is None:
        return
    takes, other = (epochs * batches, epochs) if unit == "step" else (epochs, epochs * batches)
    ahead = scheduler.last_epoch + takes
    if (told == other != takes) or (hasattr(scheduler, "total_steps") and ahead > told):
        raise ValueError(
            f"{type(scheduler).__name__} was told of {told} steps, but scheduler_unit={unit!r} moves it on {takes}"
            f" times ({epochs} epochs of {batches} batches): build it with {takes}, or change scheduler_unit"
        )


def step_after_epoch(scheduler: Any, result: EpochResult) -> None:
    """Move a scheduler on after an epoch; ReduceLROnPlateau alone asks how well the epoch went, by its loss."""
    if isinstance(scheduler, ReduceLROnPlateau):
        scheduler.step(result.loss)
    else:
        scheduler.step()
