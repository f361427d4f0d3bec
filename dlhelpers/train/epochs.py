"""Begin an epoch: which one it is decides on the order of the samples and on the random numbers.

A sampler that is not told of the epoch gives every epoch the same order, which is easily forgotten.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch.utils.data import DataLoader

from dlhelpers.train.ranks import current

APART = 2_654_435_761  # between the seeds of two ranks: odd and large, since the CPU's numbers use 32 bits of a seed


def start_epoch(epoch: int, seed: int | None, loader: Iterable) -> None:
    """Tell the loader's samplers which epoch it is; with a seed, set seed + epoch, on each rank numbers of its own.

    PyTorch's random numbers are seeded, and the generators that the loader or its samplers were given; those of
    samplers alike on each rank, since ranks that share out one order have to agree on it.
    """
    for sampler in samplers(loader):
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)
    if seed is not None:
        _seed(epoch, int(seed), loader)  # a NumPy number will do, for us and not for a generator
    draw_for_workers(loader)


def _seed(epoch: int, seed: int, loader: Iterable) -> None:
    shared = _generators(samplers(loader))
    for generator in shared:
        generator.manual_seed(seed + epoch)
    ranks = current()
    seed += epoch + (
        ranks.rank * APART if ranks else 0
    )  # else all ranks would drop out the same units
    torch.manual_seed(seed)
    for generator in _generators([loader]):
        if generator not in shared:
            generator.manual_seed(seed)


def draw_for_workers(loader: Iterable) -> None:
    """Draw the random number with which a DataLoader starts new workers where those of the last pass go on working.

    Without it the order of an epoch would depend on whether the workers are old, as in an unbroken run, or new.
    """
    if (
        isinstance(loader, DataLoader) and loader._iterator is not None
    ):  # only persistent workers are kept
        torch.empty((), dtype=torch.int64).random_(generator=loader.generator)


def samplers(loader: Iterable) -> list[Any]:
    """Return what decides on a DataLoader's order: its sampler, batch sampler, and the sampler inside that."""
    batches = getattr(loader, "batch_sampler", None)
    found = (getattr(loader, "sampler", None), batches, getattr(batches, "sampler", None))
    return list({id(part): part for part in found if part is not None}.values())


def generators_of(loader: Iterable) -> list[torch.Generator]:
    """Return the generators that a loader draws from beside the global one."""
    return _generators([loader, *samplers(loader)])


def _generators(holders: list[Any]) -> list[torch.Generator]:
    found = (getattr(holder, "generator", None) for holder in holders)
    return list(
        {
            id(generator): generator
            for generator in found
            if isinstance(generator, torch.Generator)
        }.values()
    )
