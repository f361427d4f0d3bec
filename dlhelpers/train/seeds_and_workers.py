"""What the order and the random numbers of an epoch depend on: seeds, samplers, and workers that are old or new."""

from collections.abc import Iterable
from typing import Any

import torch
from torch.utils.data import DataLoader

# Between the seeds of two ranks: odd and large, since the CPU's numbers use 32 bits of a seed.
APART = 2_654_435_761


def start_epoch(epoch: int, seed: int | None, loader: Iterable, rank: int = 0) -> None:
    """Tell the loader's samplers which epoch it is; with a seed, set seed + epoch, on each rank numbers of its own.

    PyTorch's random numbers are seeded, and the generators that the loader or its samplers were given; those alike on
    each rank, since ranks that share out one order have to agree on it.
    """
    for sampler in samplers(loader):
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)
    if seed is not None:
        seed = int(seed) + epoch  # a NumPy number will do for us, and not for a generator
        torch.manual_seed(seed + rank * APART)  # or all ranks would drop out the same units
        for generator in generators_of(loader):
            generator.manual_seed(seed)
    draw_for_workers(loader)


def draw_for_workers(loader: Iterable) -> None:
    """Draw the random number with which a DataLoader starts new workers where those of the last pass go on working.

    Without it the order of an epoch would depend on whether the workers are old, as in an unbroken run, or new.
    """
    if getattr(loader, "_iterator", None) is not None:  # kept by persistent workers
        torch.empty((), dtype=torch.int64).random_(generator=loader.generator)


def let_go(loader: Iterable) -> None:
    """End a DataLoader's persistent workers, so that its next epoch starts new ones."""
    if isinstance(loader, DataLoader):
        loader._iterator = None


def samplers(loader: Iterable) -> list[Any]:
    """Return what decides on a DataLoader's order: its sampler, batch sampler, and the sampler inside that."""
    batches = getattr(loader, "batch_sampler", None)
    found = (getattr(loader, "sampler", None), batches, getattr(batches, "sampler", None))
    # each once, by what it is: a list cannot be hashed, and compares by its content
    return list({id(part): part for part in found if part is not None}.values())


def generators_of(loader: Iterable) -> list[torch.Generator]:
    """Return the generators that a loader draws from beside the global one."""
    found = [getattr(holder, "generator", None) for holder in (loader, *samplers(loader))]
    return [generator for generator in found if isinstance(generator, torch.Generator)]
