"""The batches of an epoch: which order they come in, and how one of them is taken apart."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

# Between the seeds of two ranks: odd and large, since the CPU's numbers use 32 bits of a seed.
APART = 2_654_435_761


def split_batch(batch: object) -> tuple[Any, Tensor]:
    """Return (inputs, targets) of a batch; TypeError for a batch of another form, ValueError for one of no samples."""
    two = isinstance(batch, (tuple, list)) and len(batch) == 2
    if not two or not isinstance(batch[1], Tensor) or not batch[1].ndim:
        form = f"{len(batch)} parts" if isinstance(batch, (tuple, list)) else type(batch).__name__
        hint = (
            "Several inputs go into one part, as a tuple or dict that the model is given whole: have the DataLoader's"
            " collate_fn return ((image, mask), label), or another pair"
        )
        if two:
            hint = "For single samples, give the DataLoader a batch_size"
        raise TypeError(
            f"a batch came as {form}: expected (inputs, targets), two parts, the second a tensor. {hint}"
        )
    if not batch[1].shape[0]:
        raise ValueError(
            "a batch came with 0 samples: expected at least 1; have collate_fn or stream leave it out"
        )
    return batch[0], batch[1]


def micro_batches(batch: object, size: int | None) -> list[tuple[Any, Tensor, float]]:
    """Cut a batch into (inputs, targets, share) of at most `size` samples each; None leaves it whole, with share 1.

    A part of n_i of the batch's n samples has the share n_i / n, so that nothing is scaled wrongly when the last one
    is smaller. What sees a whole batch, as BatchNorm does, sees the parts instead.
    """
    inputs, targets = split_batch(batch)
    n = len(targets)
    if size is None or size >= n:
        return [(inputs, targets, 1)]
    parts = []
    for start in range(0, n, size):
        cut = slice(start, start + size)
        part = targets[cut]
        parts.append((part_of(inputs, cut), part, len(part) / n))
    return parts


def part_of(inputs: Any, cut: slice) -> Any:
    """Return the samples of a part of a batch, whatever the form of its inputs; what is one for all stays whole."""
    if isinstance(inputs, tuple) and hasattr(inputs, "_fields"):
        return type(inputs)(*(part_of(value, cut) for value in inputs))
    if isinstance(inputs, dict):
        return {key: part_of(value, cut) for key, value in inputs.items()}
    if isinstance(inputs, (list, tuple)):
        if all(isinstance(value, (str, bytes, int, float)) for value in inputs):
            return inputs[cut]  # one value a sample, as texts come
        return type(inputs)(part_of(value, cut) for value in inputs)
    sliced = isinstance(inputs, Tensor) or hasattr(inputs, "__getitem__")
    if isinstance(inputs, (str, bytes)) or not sliced or getattr(inputs, "ndim", 1) == 0:
        return inputs
    return inputs[cut]


def start_epoch(epoch: int, seed: int | None, loader: Iterable, rank: int = 0) -> None:
    """Tell the loader's samplers which epoch it is; with a seed, set seed + epoch, on each rank numbers of its own.

    PyTorch's random numbers are seeded, and the generators that the loader or its samplers were given; those of
    samplers alike on each rank, since ranks that share out one order have to agree on it.
    """
    shared = samplers(loader)
    for sampler in shared:
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)
    if seed is not None:
        seed = int(seed) + epoch  # a NumPy number will do for us, and not for a generator
        own = seed + rank * APART  # or all ranks would drop out the same units
        torch.manual_seed(own)
        for holder in (loader, *shared):  # a generator of both is the sampler's
            if isinstance(generator := getattr(holder, "generator", None), torch.Generator):
                generator.manual_seed(own if holder is loader else seed)
    draw_for_workers(loader)


def draw_for_workers(loader: Iterable) -> None:
    """Draw the random number with which a DataLoader starts new workers where those of the last pass go on working.

    Without it the order of an epoch would depend on whether the workers are old, as in an unbroken run, or new.
    """
    if (
        isinstance(loader, DataLoader) and loader._iterator is not None
    ):  # kept by persistent workers
        torch.empty((), dtype=torch.int64).random_(generator=loader.generator)


def let_go(loader: Iterable) -> None:
    """End a DataLoader's persistent workers, so that its next epoch starts new ones."""
    if isinstance(loader, DataLoader):
        loader._iterator = None


def samplers(loader: Iterable) -> list[Any]:
    """Return what decides on a DataLoader's order: its sampler, batch sampler, and the sampler inside that."""
    batches = getattr(loader, "batch_sampler", None)
    found = [getattr(loader, "sampler", None), batches, getattr(batches, "sampler", None)]
    if found[2] is found[0]:
        found.pop()
    return [part for part in found if part is not None]


def generators_of(loader: Iterable) -> list[torch.Generator]:
    """Return the generators that a loader draws from beside the global one."""
    holders = [loader, *samplers(loader)]
    found = {id(g): g for holder in holders if (g := getattr(holder, "generator", None))}
    return [g for g in found.values() if isinstance(g, torch.Generator)]
