"""When a learning-rate scheduler moves on: after each epoch or each optimizer step, and never without being told.

PyTorch's schedulers count calls of `step()` and do not know what a call stands for. One that was told the number of
epochs and is moved on at each step has finished long before training has.
"""

from typing import Any

from torch.optim.lr_scheduler import ReduceLROnPlateau


def check_scheduler(scheduler: Any, unit: str, epochs: int, batches: int) -> None:
    """ValueError for an unknown unit, and for a scheduler told of another number of steps than it will take.

    `batches` are those of an epoch, on the longest of several ranks; 0 for a stream, which cannot be checked.
    """
    if unit not in ("epoch", "step"):
        raise ValueError(
            f"scheduler_unit is {unit!r}: expected 'epoch' or 'step', how often the scheduler moves on"
        )
    if scheduler is None:
        return
    if isinstance(scheduler, ReduceLROnPlateau) and unit == "step":
        raise ValueError(
            "scheduler_unit is 'step', but ReduceLROnPlateau asks how an epoch went: use 'epoch'"
        )
    start, end = getattr(scheduler, "start_factor", 1), getattr(scheduler, "end_factor", 0)
    if start < end:
        return  # a warm-up, which ends when it likes
    number = told(scheduler)
    if number is None or not batches:
        return
    takes, other = epochs, epochs * batches
    if unit == "step":
        takes, other = other, takes
    ahead = scheduler.last_epoch + takes
    mixed_up = number == other and number not in (takes, ahead)
    runs_out = hasattr(scheduler, "total_steps") and ahead > number
    if mixed_up or runs_out:
        raise ValueError(
            f"{type(scheduler).__name__} was told of {number} steps, but scheduler_unit={unit!r} moves it on {takes}"
            f" times ({epochs} epochs of {batches} batches) after the {scheduler.last_epoch} it has taken: build it"
            f" with {ahead}, or change scheduler_unit"
        )


def told(scheduler: Any) -> int | None:
    """Return the number of steps that a scheduler was told, None where it was not."""
    for name in ("total_steps", "T_max", "total_iters"):
        if hasattr(scheduler, name):
            return getattr(scheduler, name)
    return None
