"""Refuse at the door what would let ranks hang, or train on the wrong samples in silence.

What one rank alone can see is told to all, so that all stop with the same message and none waits for another.
"""

import warnings
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, IterableDataset

from dlhelpers.data.sampling import split_epoch
from dlhelpers.train.epochs import samplers
from dlhelpers.train.ranks import Ranks, agree

SETTINGS = (
    "seed",
    "shuffle",
    "drop_last",
    "policy",
    "block",
    "window",
    "epoch",
)  # of torch's sampler and ours


def check_ranks(
    loader: Iterable, phase: str, model: nn.Module, check: Callable[[], None], ranks: Ranks
) -> None:
    """Make one rank's `check` that of all, and refuse a loader that does not split or splits otherwise than the rest.

    Raises ValueError on every rank: for a model that is not wrapped, a loader without a sampler that splits, one made
    for another place, samplers that differ in length or settings, and more ranks than samples.
    """
    fault = splitter = None
    with warnings.catch_warnings():
        if not ranks.first:
            warnings.simplefilter("ignore")  # once is enough
        try:
            _check_wrapped(model, phase, ranks)
            splitter = splits_by(loader, phase, ranks) if _can_tell(loader) else None
            _check_share(splitter, phase, ranks)
            check()
        except Exception as error:  # whatever it is, the others must not wait
            fault = (
                str(error)
                if isinstance(error, (ValueError, TypeError))
                else f"{type(error).__name__}: {error}"
            )
    for rank, words in enumerate(ranks.gather(fault)):
        if words:
            raise ValueError(f"rank {rank} of {ranks.world}: {words}")
    agree(**_facts(splitter, phase))


def _check_wrapped(model: nn.Module, phase: str, ranks: Ranks) -> None:
    if phase == "train" and not isinstance(model, DistributedDataParallel):
        raise ValueError(
            f"there are {ranks.world} ranks, and the model is {type(model).__name__}: each would train one of its own."
            " Wrap it before you make the optimizer: model = DistributedDataParallel(model)"
        )


def splits_by(loader: Iterable, phase: str, ranks: Ranks) -> Any:
    """Return the sampler that splits a DataLoader between ranks; ValueError where none does."""
    splitter = next(
        (part for part in samplers(loader) if None not in place_of(part) and place_of(part)[1] > 1),
        None,
    )
    if splitter is None:
        raise ValueError(
            f"there are {ranks.world} ranks, and each would take all samples of the {phase} loader, whose sampler"
            f" {type(loader.sampler).__name__} does not split them. Use sampler=BlockShuffleSampler(len(dataset),"
            " rank=ranks.rank, world=ranks.world), or torch's DistributedSampler(dataset), instead of shuffle=True"
        )
    return splitter


def place_of(sampler: Any) -> tuple[int | None, int | None]:
    """Return (rank, world) of a sampler that splits, as torch's or ours name them; None for one that does not."""
    return getattr(sampler, "rank", None), getattr(
        sampler, "world", getattr(sampler, "num_replicas", None)
    )


def total_of(sampler: Any) -> int | None:
    """Return how many samples all ranks share, None where the sampler does not say."""
    if hasattr(sampler, "samples"):
        return int(sampler.samples)
    return len(sampler.dataset) if hasattr(sampler, "dataset") else None


def pads(sampler: Any) -> bool:
    """Say whether a sampler takes a few samples twice, so that all ranks have as many."""
    return getattr(sampler, "policy", "" if getattr(sampler, "drop_last", True) else "pad") == "pad"


def drops(sampler: Any) -> bool:
    """Say whether a sampler leaves out a few samples, so that all ranks have as many."""
    return (
        getattr(sampler, "policy", "drop" if getattr(sampler, "drop_last", False) else "") == "drop"
    )


def own_samples(loader: Iterable) -> int | None:
    """Return how many samples this rank takes before a sampler that pads begins to repeat; None where it does not."""
    for sampler in samplers(loader):
        rank, world = place_of(sampler)
        total = total_of(sampler)
        if None not in (rank, world, total) and pads(sampler):
            return split_epoch(total, rank=rank, world=world, policy="exact").count
    return None


def _check_share(splitter: Any, phase: str, ranks: Ranks) -> None:
    """ValueError for another rank's sampler, or a rank without samples; a warning where validation loses any."""
    place, samples = place_of(splitter), total_of(splitter)
    if splitter is not None and place != (ranks.rank, ranks.world):
        raise ValueError(
            f"the {phase} loader's sampler was made for rank {place[0]} of {place[1]}, and this is rank {ranks.rank} of"
            f" {ranks.world}: make it with rank=ranks.rank and the number of ranks"
        )
    if samples is not None and samples < ranks.world and not pads(splitter):
        raise ValueError(
            f"the {phase} loader shares {samples} samples between {ranks.world} ranks, so that some have none: start"
            " fewer processes, or let the sampler pad"
        )
    if phase != "train" and samples and samples % ranks.world and drops(splitter):
        lost = samples % ranks.world
        warnings.warn(
            f"the {phase} loader's sampler leaves out {lost} of {samples} samples: use policy='exact'",
            stacklevel=6,
        )


def _can_tell(loader: Iterable) -> bool:
    """Whether a loader has a sampler to look at: a stream splits itself, and is taken at its word."""
    return isinstance(loader, DataLoader) and not isinstance(loader.dataset, IterableDataset)


def _facts(sampler: Any, phase: str) -> dict[str, object]:
    """What every rank's sampler must have in common."""
    facts = {
        f"the_length_of_the_{phase}_dataset": total_of(sampler),
        f"the_{phase}_sampler": type(sampler).__name__,
    }
    settings = {
        f"the_{name}_of_the_{phase}_sampler": getattr(sampler, name, None) for name in SETTINGS
    }
    return {**facts, **settings}
