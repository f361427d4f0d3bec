"""Several processes that train one model: which of them this is, what they add up, and where they have to agree.

torchrun starts the processes, called ranks; the script opens the group, wraps its model in torch's
DistributedDataParallel and gives its DataLoader a sampler that splits. The loops find the group by themselves. In a
process that works alone nothing of this module does anything.
"""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic, sleep
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from dlhelpers.machine.devices import Device, pick_device

ADDRESS = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what a launcher tells each process
STORE = "dlhelpers/store"  # under which rank 0 tells where its store is
_control: dict[
    Any, Any
] = {}  # for a group that cannot add up numbers of the host, one beside it that can


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
        return self._reduced(numbers, dist.ReduceOp.SUM)

    def highest(self, *numbers: float) -> list[float]:
        """Return each number's maximum over all ranks; every rank has to call it."""
        return self._reduced(numbers, dist.ReduceOp.MAX)

    def gather(self, value: object) -> list[Any]:
        """Return the values of all ranks, in order; every rank has to call it."""
        values: list[Any] = [value]
        if self.world > 1:
            values *= self.world
            dist.all_gather_object(values, value, group=_host_group())
        return values

    def _reduced(self, numbers: tuple[float, ...], operation: Any) -> list[float]:
        together = torch.tensor(numbers, dtype=torch.float64)
        if self.world > 1:
            dist.all_reduce(together, operation, group=_host_group())
        return together.tolist()


def current() -> Ranks | None:
    """Return this process's place among several, or None where it works alone."""
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return None
    return Ranks(dist.get_rank(), dist.get_world_size())


@contextmanager
def process_group(
    device: Device = "cpu",
    *,
    backend: str | None = None,
    timeout: timedelta = timedelta(minutes=10),
) -> Iterator[Ranks]:
    """Join the processes that a launcher started, and leave them at the end; without a launcher be a group of one.

    device   "cpu" takes the backend gloo, "cuda" NCCL, with gloo beside it for numbers of the host
    timeout  the longest that a rank waits for another
    Raises ValueError where the launcher's variables are not whole, and RuntimeError where the backend is missing or
    the port is in use.
    """
    kind = torch.device(device).type
    backend = backend or {"cuda": "cpu:gloo,cuda:nccl", "xpu": "cpu:gloo,xpu:xccl"}.get(
        kind, "gloo"
    )
    for part in backend.split(","):
        name = part.rpartition(":")[2]
        if not dist.is_available() or not dist.is_backend_available(name):
            raise RuntimeError(
                f"the backend {name!r} is not in this build of torch {torch.__version__}: install a"
                f" build that has it, or use {'the CPU, whose' if name != 'gloo' else 'another'} backend"
                f"{' is gloo' if name != 'gloo' else ''}"
            )
    missing = [name for name in ADDRESS if name not in os.environ]
    if 0 < len(missing) < len(ADDRESS) and "WORLD_SIZE" in os.environ:
        raise ValueError(
            f"the variable {missing[0]} is not set, though WORLD_SIZE is: start the script with torchrun,"
            " which sets them all"
        )
    try:
        place = (
            {"store": dist.HashStore(), "rank": 0, "world_size": 1}
            if missing
            else _launched(timeout)
        )
        dist.init_process_group(backend, timeout=timeout, **place)
    except RuntimeError as error:
        if "EADDRINUSE" not in str(error) and "already in use" not in str(error):
            raise
        raise RuntimeError(
            f"port {os.environ['MASTER_PORT']} is in use, by another run or program: give torchrun"
            " another --master-port, or --standalone, which finds a free one"
        ) from error
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        # gloo's threads drop the tensors of the last exchange a little later, and abort a Python that is ending then.
        sleep(0.1)  # see pytorch issue 190489
        _control.clear()
        dist.destroy_process_group()


def rank_device(prefer: Device | None = None) -> torch.device:
    """Return this rank's device, and make it the current one: the GPU of its number on this machine, or the CPU.

    Raises ValueError where more ranks were started than the machine has GPUs.
    """
    device = pick_device(prefer)
    if device.type == "cpu" or device.index is not None:
        return device
    number, there = int(os.environ.get("LOCAL_RANK", 0)), torch.accelerator.device_count()
    if number >= there:
        raise ValueError(
            f"process {number} of this machine has no {device.type} device of its own, there are {there}:"
            f" start torchrun with --nproc-per-node={there}, or set DLHELPERS_DEVICE=cpu"
        )
    torch.accelerator.set_device_index(number)
    return torch.device(device.type, number)


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model inside DistributedDataParallel, or the model itself: what a checkpoint should hold."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def on_first_rank(function: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    """Call a function on rank 0 only, and let all ranks wait for its end; RuntimeError on the others if it failed."""
    ranks, fault = current(), None
    if ranks is None:
        function(*arguments, **options)
        return
    try:
        if ranks.first:
            function(*arguments, **options)
    except Exception as error:  # the others must not wait for what will not come
        fault = error
    words = ranks.gather(fault and f"{type(fault).__name__}: {fault}")[0]
    if fault:
        raise fault
    if words:
        raise RuntimeError(f"rank 0 stopped: {words}")


def agree(**facts: object) -> None:
    """ValueError on all ranks, with the first difference, unless each has the same facts; alone nothing happens."""
    ranks = current()
    if ranks is None:
        return
    everyone = ranks.gather(facts)
    for name in facts:
        for rank, other in enumerate(everyone):
            if other.get(name) != everyone[0][name]:
                words = f"ranks disagree on {name.replace('_', ' ')}: rank 0 has {everyone[0][name]!r}, rank {rank} has"
                raise ValueError(
                    f"{words} {other.get(name)!r}. Start all alike: script, arguments, data, checkpoint"
                )


def _launched(timeout: timedelta) -> dict[str, Any]:
    """Where init_process_group finds the others: with torchrun, at a store that this start alone has used.

    torchrun's own store outlives a restart, and a rank may read there the address of one that was killed: torch 2.15
    no longer keeps restarts apart (pytorch pull request 135957). The store of a dead rank 0, though, refuses to answer.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return {}
    rank, world, host, port = (os.environ[name] for name in ADDRESS)
    shared = dist.TCPStore(host, int(port), is_master=False, timeout=timeout)
    if rank == "0":
        store = dist.TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=timeout)
        shared.set(STORE, str(store.port))
    else:
        end = monotonic() + timeout.total_seconds()
        while not _answers(host, at := int(shared.get(STORE))):  # until rank 0 tells of its new one
            if monotonic() > end:
                raise RuntimeError(
                    f"rank 0 does not answer on port {at} of {host}: was it killed as it started?"
                )
            sleep(0.05)
        store = dist.TCPStore(host, at, is_master=False, timeout=timeout)
    return {"store": store, "rank": int(rank), "world_size": int(world)}


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return False
    return True


def _host_group() -> Any:
    """The group that adds up numbers of the host: the default one, or gloo beside an NCCL that cannot."""
    if "cpu:" in str(dist.get_backend_config()):
        return None
    if dist.group.WORLD not in _control:
        _control.clear()
        _control[dist.group.WORLD] = dist.new_group(backend="gloo")
    return _control[dist.group.WORLD]
