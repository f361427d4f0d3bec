"""Several processes that train one model: which of them this is, what they add up, and how they keep in step.

torchrun starts the processes, called ranks; the script opens the group, wraps its model in torch's
DistributedDataParallel and gives its DataLoader a sampler that splits. The loops find the group by themselves; one
that the script opens without `process_group` needs gloo beside NCCL, as torch chooses where no backend is named. When
a rank fails, torchrun ends the others. A process that works alone is rank 0 of 1, and exchanges nothing.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from time import sleep
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, IterableDataset

from dlhelpers.data.sampling import split_epoch
from dlhelpers.machine.devices import Device, pick_device
from dlhelpers.train.micro_batching import split_batch
from dlhelpers.train.seeds_and_workers import samplers

ADDRESS = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what a launcher tells each process
STORE = "dlhelpers/store"  # under which rank 0 tells where its store is
PARENT = os.getppid()  # the launcher, where there is one


@dataclass(frozen=True)
class Ranks:
    """This process's place: `rank`, from 0, of `world` processes. What goes around are numbers of the host."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which alone draws the bar, writes files and prints."""
        return self.rank == 0

    def sums(self, *numbers: float) -> list[float]:
        """Return each number's sum over all ranks, in float64; every rank has to call it."""
        return self.sums_later(*numbers)()

    def sums_later(self, *numbers: float) -> Callable[[], list[float]]:
        """Begin to add up as `sums` does, and return a function that waits for the sums."""
        together = torch.tensor(numbers, dtype=torch.float64)
        if self.world == 1:
            return together.tolist
        _end_without_launcher()
        exchange = dist.all_reduce(together, async_op=True)

        def wait() -> list[float]:
            exchange.wait()
            return together.tolist()

        return wait

    def gather(self, value: object) -> list[Any]:
        """Return the values of all ranks, in order; every rank has to call it."""
        values: list[Any] = [value] * self.world
        if self.world > 1:
            _end_without_launcher()
            dist.all_gather_object(values, value)
        return values


def current() -> Ranks:
    """Return this process's place among several, rank 0 of 1 where it works alone."""
    if not dist.is_available() or not dist.is_initialized():
        return Ranks()
    return Ranks(dist.get_rank(), dist.get_world_size())


@contextmanager
def process_group(
    device: Device = "cpu", *, timeout: timedelta = timedelta(minutes=10)
) -> Iterator[Ranks]:
    """Join the processes that a launcher started, and leave them at the end; without a launcher be a group of one.

    device   "cpu" takes the backend gloo, "cuda" NCCL, with gloo beside it for numbers of the host
    timeout  the longest that a rank waits for another
    Raises what torch.distributed says where a variable or a backend is missing, or the port is in use.
    """
    backend = "cpu:gloo,cuda:nccl" if torch.device(device).type == "cuda" else "gloo"
    place: dict[str, Any] = {}
    if "WORLD_SIZE" not in os.environ:
        place = {"store": dist.HashStore(), "rank": 0, "world_size": 1}
    elif os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        place = _own_store(timeout)
    dist.init_process_group(backend, timeout=timeout, **place)
    try:
        yield current()
    finally:
        # gloo's threads drop the tensors of the last exchange a little later, and abort a Python that is ending then.
        sleep(0.1)  # see pytorch issue 190489
        dist.destroy_process_group()


def rank_device() -> torch.device:
    """Return this rank's device, and make it the current one: the GPU of its number on this machine, or the CPU."""
    device = pick_device()
    if device.type == "cpu" or device.index is not None:
        return device
    number = int(os.environ.get("LOCAL_RANK", 0))
    torch.accelerator.set_device_index(number)
    return torch.device(device.type, number)


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model inside DistributedDataParallel, or the model itself: what a checkpoint should hold."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def in_step(
    batches: Iterable[Any], ranks: Ranks, model: nn.Module
) -> Iterator[tuple[Any, Callable[[], float]]]:
    """Yield this rank's batches, each with a function that gives the weight of its loss, until no rank has any left.

    It waits for the sizes of the other ranks' batches, so ask it late: they travel while the model computes outputs.
    DistributedDataParallel takes the mean of all ranks' gradients, so a rank with n of the step's samples weighs its
    loss by n x ranks / samples: then every sample counts the same. A rank that has run out takes its last batch again
    with weight 0, since the others wait for its gradients; BatchNorm's averages are put back after it.
    """
    if ranks.world == 1:
        for batch in batches:
            yield batch, lambda: 1
        return
    batches, last, end = iter(batches), None, object()
    while True:
        batch = next(batches, end)
        size = 0 if batch is end else len(split_batch(batch)[1])
        together = ranks.sums_later(size)
        if size:
            last = batch
            yield batch, lambda mine=size * ranks.world, of=together: mine / of()[0]
        elif not together()[0]:
            return
        else:
            kept = [(buffer, buffer.clone()) for buffer in model.buffers()]
            yield last, lambda: 0
            for buffer, before in kept:
                buffer.copy_(before)


def gradients_travel(model: nn.Module, now: bool) -> AbstractContextManager:
    """Return a context in which gradients go to the other ranks, or stay here until the last micro-batch."""
    stays = not now and isinstance(model, DistributedDataParallel)
    return model.no_sync() if stays else nullcontext()


def share_buffers(model: nn.Module) -> None:
    """Give every rank the buffers of rank 0, BatchNorm's averages among them, so that all measure one model."""
    if isinstance(model, DistributedDataParallel):
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


def own_samples(loader: Iterable) -> int | None:
    """Return how many samples this rank has before its sampler begins to repeat; None where it does not repeat."""
    place = place_in(loader)
    if place is None or place.policy != "pad":
        return None
    return split_epoch(place.samples, rank=place.rank, world=place.world).count


def agree(
    ranks: Ranks, model: nn.Module, loaders: dict[str, Iterable], facts: dict[str, object]
) -> int:
    """Refuse, before the first batch, what would let ranks hang or part in silence; return the batches of an epoch.

    They are those of the longest rank, 0 for a stream.
    Raises ValueError: on a rank whose model is not wrapped or whose loader does not split, and on all, with the first
    difference, where ranks were started with other facts, datasets or samplers.
    """
    batches = 0
    with suppress(TypeError):  # a stream has no length
        batches = len(loaders["train"])
    if ranks.world == 1:
        return batches
    for phase, loader in loaders.items():
        # A stream splits itself, and is taken at its word.
        if isinstance(loader, DataLoader) and not isinstance(loader.dataset, IterableDataset):
            facts[f"the {phase} sampler"] = _split_of(loader, phase, ranks)
    if not isinstance(model, DistributedDataParallel):
        raise ValueError(
            f"there are {ranks.world} ranks, and the model is {type(model).__name__}: each would train one of its own."
            " Wrap it before you make the optimizer: model = DistributedDataParallel(model)"
        )
    everyone, lengths = zip(*ranks.gather((facts, batches)), strict=True)
    for rank, other in enumerate(everyone):
        for name, one in everyone[0].items():
            if one != other.get(name):
                raise ValueError(
                    f"ranks disagree on {name}: rank 0 has {one!r}, rank {rank} has {other.get(name)!r}."
                    " Start all alike: script, arguments, data, checkpoint"
                )
    return max(lengths)


class Place(NamedTuple):
    """What a sampler that splits an epoch knows: which of how many ranks, the samples of all, and the remainder."""

    sampler: Any
    rank: int
    world: int
    samples: int
    policy: str


def place_in(loader: Iterable) -> Place | None:
    """Return the place that a sampler of torch's kind or of ours has in a loader; None where no sampler splits."""
    for sampler in samplers(loader):
        theirs = hasattr(sampler, "num_replicas")  # named as in torch's
        world = getattr(sampler, "num_replicas" if theirs else "world", 1)
        if world > 1:
            samples = len(sampler.dataset) if theirs else sampler.samples
            policy = "drop" if getattr(sampler, "drop_last", False) else "pad"
            policy = getattr(sampler, "policy", policy)
            return Place(sampler, sampler.rank, world, samples, policy)
    return None


def _split_of(loader: DataLoader, phase: str, ranks: Ranks) -> dict[str, object]:
    """What all ranks must have in common about a loader; ValueError where it does not give this rank its own part."""
    place = place_in(loader)
    if place is None:
        raise ValueError(
            f"there are {ranks.world} ranks, and each would take all samples of the {phase} loader, whose sampler"
            f" {type(loader.sampler).__name__} does not split them. Use sampler=BlockShuffleSampler(len(dataset),"
            " rank=ranks.rank, world=ranks.world), or torch's DistributedSampler(dataset), instead of shuffle=True"
        )
    if (place.rank, place.world) != (ranks.rank, ranks.world):
        raise ValueError(
            f"the {phase} loader's sampler was made for rank {place.rank} of {place.world}, and this is rank"
            f" {ranks.rank} of {ranks.world}: make it with rank=ranks.rank and the number of ranks"
        )
    # Its numbers and names: the seed, the length, and what else decides on the order.
    known = vars(place.sampler) | {"rank": None}
    return {key: value for key, value in known.items() if isinstance(value, (int, str))}


def _end_without_launcher() -> None:
    """End this rank where its launcher is gone, since nobody else would."""
    if "TORCHELASTIC_RUN_ID" in os.environ and os.getppid() != PARENT:
        raise SystemExit("the launcher of this rank is gone, so it ends: start the run again")


def _own_store(timeout: timedelta) -> dict[str, Any]:
    """Where init_process_group finds the others under torchrun: at a store that this start alone has used.

    torchrun's own store outlives a restart, and a rank may read there the address of one that was killed: torch 2.15
    no longer keeps restarts apart (pytorch pull request 135957). The store of a dead rank 0, though, does not answer.
    """
    rank, world, host, port = (os.environ[name] for name in ADDRESS)
    shared = dist.TCPStore(host, int(port), is_master=False, timeout=timeout)
    store = None
    if rank == "0":
        store = dist.TCPStore(host, 0, is_master=True, wait_for_workers=False)
        shared.set(STORE, str(store.port))
    while store is None:  # until rank 0 has told of its new one
        _end_without_launcher()
        with suppress(dist.DistError):
            at = int(shared.get(STORE))
            store = dist.TCPStore(host, at, is_master=False, timeout=timedelta(seconds=2))
    store.set_timeout(timeout)
    return {"store": store, "rank": int(rank), "world_size": int(world)}
