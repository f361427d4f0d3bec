"""A batch taken apart: into its inputs and targets, and into micro-batches that fit on a device one after the other."""

from typing import Any

from torch import Tensor


def split_batch(batch: object) -> tuple[Any, Tensor]:
    """Return (inputs, targets) of a batch; TypeError for a batch of another form."""
    several = isinstance(batch, (tuple, list))
    if not several or len(batch) != 2 or not isinstance(batch[1], Tensor) or not batch[1].ndim:
        form = f"{len(batch)} parts" if several else type(batch).__name__
        raise TypeError(
            f"a batch came as {form}: expected (inputs, targets), two parts, the second a tensor with a row for each"
            " sample. Several inputs go into one part, as a tuple or dict that the model is given whole: have the"
            " DataLoader's collate_fn return ((image, mask), label), or another pair. For single samples, give the"
            " DataLoader a batch_size"
        )
    return batch[0], batch[1]


def micro_batches(batch: object, size: int | None) -> list[tuple[Any, Tensor, float]]:
    """Cut a batch into (inputs, targets, share) of at most `size` samples each; None leaves it whole, with share 1.

    A part of n_i of the batch's n samples has the share n_i / n, so that nothing is scaled wrongly when the last one
    is smaller. What sees a whole batch, as BatchNorm does, sees the parts instead.
    """
    inputs, targets = split_batch(batch)
    if size is None:
        return [(inputs, targets, 1)]
    parts, n = [], len(targets)
    for start in range(0, n, size):
        cut = slice(start, start + size)
        part = targets[cut]
        parts.append((part_of(inputs, cut), part, len(part) / n))
    return parts


def part_of(inputs: Any, cut: slice) -> Any:
    """Return the samples of a part of a batch, whatever the form of its inputs; what is one for all stays whole."""
    if isinstance(inputs, Tensor):
        return inputs[cut] if inputs.ndim else inputs
    if isinstance(inputs, dict):
        return {key: part_of(value, cut) for key, value in inputs.items()}
    if not isinstance(inputs, (list, tuple)):
        return inputs
    if all(isinstance(value, (str, bytes)) for value in inputs):
        return inputs[cut]  # one for each sample, as texts come
    parts = [part_of(value, cut) for value in inputs]
    return type(inputs)(*parts) if hasattr(inputs, "_fields") else type(inputs)(parts)
