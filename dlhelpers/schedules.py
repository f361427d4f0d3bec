"""When a learning-rate scheduler moves on: after each epoch or each optimizer step, and never without being told.

PyTorch's schedulers count calls of `step()` and do not know what a call stands for. One that was told the number of
epochs and is moved on at each step has finished long before training has.
"""

from collections.abc import Iterable
from typing import Any

from torch.optim.lr_scheduler import ConstantLR, ReduceLROnPlateau


def check_scheduler(scheduler: Any, unit: str, epochs: int, loader: Iterable) -> None:
    """ValueError for an unknown unit, and for a scheduler told of another number of steps than it will take."""
    if unit not in ("epoch", "step"):
        raise ValueError(f"scheduler_unit is {unit!r}: expected 'epoch' or 'step', how often the scheduler moves on")
    if asks_loss(scheduler) and unit == "step":
        raise ValueError("scheduler_unit is 'step', but ReduceLROnPlateau asks how an epoch went: use 'epoch'")
    if isinstance(scheduler, ConstantLR) or getattr(scheduler, "start_factor", 1) < getattr(scheduler, "end_factor", 0):
        return  # a warm-up, which ends when it likes
    told = next((getattr(scheduler, n) for n in ("total_steps", "T_max", "total_iters") if hasattr(scheduler, n)), None)
    if told is None:
        return
    try:
        batches = len(loader)
    except TypeError:  # a stream
        return
    takes, other = (epochs * batches, epochs) if unit == "step" else (epochs, epochs * batches)
    ahead = scheduler.last_epoch + takes
    if (told == other and told not in (takes, ahead)) or (hasattr(scheduler, "total_steps") and ahead > told):
        raise ValueError(
            f"{type(scheduler).__name__} was told of {told} steps, but scheduler_unit={unit!r} moves it on {takes}"
            f" times ({epochs} epochs of {batches} batches) after the {scheduler.last_epoch} it has taken: build it"
            f" with {ahead}, or change scheduler_unit"
        )


def asks_loss(scheduler: Any) -> bool:
    """Say whether a scheduler asks at each step how well the epoch went, as ReduceLROnPlateau alone does."""
    return isinstance(scheduler, ReduceLROnPlateau)
