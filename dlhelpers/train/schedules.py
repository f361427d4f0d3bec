"""When a learning-rate scheduler moves on: after each epoch or each optimizer step, and never without being told.

PyTorch's schedulers count calls of `step()` and do not know what a call stands for. One that was told the number of
epochs and is moved on at each step has finished long before training has.
"""

from collections.abc import Iterable
from typing import Any

from torch.optim.lr_scheduler import ConstantLR, ReduceLROnPlateau

from dlhelpers.train.ranks import current


def check_scheduler(scheduler: Any, unit: str, epochs: int, loader: Iterable) -> None:
    """ValueError for an unknown unit, and for a scheduler told of another number of steps than it will take.

    Several ranks take as many steps an epoch as the longest loader has batches; all have to tell that number.
    """
    told, batches = _told(scheduler), _batches(loader)
    if (ranks := current()) is not None:
        batches, numbers = int(ranks.highest(batches)[0]), ranks.gather(told)
        if len(set(numbers)) > 1:
            raise ValueError(
                f"the ranks' schedulers were told of {', '.join(map(str, numbers))} steps: their learning rates would"
                f" part. An epoch takes {batches}, as many as the longest rank has batches: tell all that number"
            )
    if unit not in ("epoch", "step"):
        raise ValueError(
            f"scheduler_unit is {unit!r}: expected 'epoch' or 'step', how often the scheduler moves on"
        )
    if asks_loss(scheduler) and unit == "step":
        raise ValueError(
            "scheduler_unit is 'step', but ReduceLROnPlateau asks how an epoch went: use 'epoch'"
        )
    if isinstance(scheduler, ConstantLR) or getattr(scheduler, "start_factor", 1) < getattr(
        scheduler, "end_factor", 0
    ):
        return  # a warm-up, which ends when it likes
    if told is None or not batches:
        return
    takes, other = (epochs * batches, epochs) if unit == "step" else (epochs, epochs * batches)
    ahead = scheduler.last_epoch + takes
    if (told == other and told not in (takes, ahead)) or (
        hasattr(scheduler, "total_steps") and ahead > told
    ):
        raise ValueError(
            f"{type(scheduler).__name__} was told of {told} steps, but scheduler_unit={unit!r} moves it on {takes}"
            f" times ({epochs} epochs of {batches} batches) after the {scheduler.last_epoch} it has taken: build it"
            f" with {ahead}, or change scheduler_unit"
        )


def _told(scheduler: Any) -> int | None:
    """The number of steps that a scheduler was told, None where it was not."""
    return next(
        (
            getattr(scheduler, n)
            for n in ("total_steps", "T_max", "total_iters")
            if hasattr(scheduler, n)
        ),
        None,
    )


def _batches(loader: Iterable) -> int:
    """The batches of an epoch on this rank, 0 for a stream."""
    try:
        return len(loader)
    except TypeError:
        return 0


def asks_loss(scheduler: Any) -> bool:
    """Say whether a scheduler asks at each step how well the epoch went, as ReduceLROnPlateau alone does."""
    return isinstance(scheduler, ReduceLROnPlateau)
