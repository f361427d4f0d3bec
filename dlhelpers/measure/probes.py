"""Probes make visible what a loop hides: two datasets show its workers, and `count_reads` when it asks a device.

One dataset waits before each sample, one tells which process made it. They stand in a module because a worker that is
spawned (Windows, macOS) or comes from a server of forks (Linux from Python 3.14 on) imports what it needs, and a
class of a notebook's cell cannot be imported.
"""

import math
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from unittest import mock

import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils.data import Dataset, get_worker_info

from dlhelpers.machine.devices import Device
from dlhelpers.train import epoch_sums

# what turns a tensor into Python's own numbers
READS = set(
    "item tolist numpy __bool__ __int__ __float__ __index__ __array__ __repr__ __format__".split()
)


@dataclass(eq=False)
class Waiting(Dataset):
    """A dataset whose samples come `milliseconds` late, as from a slow disk: the core is free meanwhile."""

    dataset: Dataset
    milliseconds: float

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> object:
        time.sleep(self.milliseconds / 1000)
        return self.dataset[index]


class WorkerReport(Dataset):
    """`length` samples, each a dict of what the process that makes it knows; read it with `batch_size=None`.

    process  its number in the system
    worker   the number of the worker, None where there is none
    seed     what PyTorch's random numbers started from
    torch, numpy, python   one random number (0 to 1) of each library
    kept     one of a NumPy generator that this dataset made when it was made
    sample   one of a NumPy generator made for this sample, from `seed`, `epoch` (both 0 unless set) and its index
    """

    seed, epoch = 0, 0

    def __init__(self, length: int):
        self.length = length
        self.generator = np.random.default_rng(0)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, int | float | None]:
        index = range(self.length)[index]  # IndexError beyond the end
        worker = get_worker_info()
        own = np.random.default_rng([self.seed, self.epoch, index])
        return {
            "process": os.getpid(),
            "worker": worker.id if worker else None,
            "seed": torch.initial_seed(),
            "torch": torch.rand(()).item(),
            "numpy": float(np.random.rand()),
            "python": random.random(),
            "kept": float(self.generator.random()),
            "sample": float(own.random()),
        }


def count_reads(work: Callable[[], object], device: Device) -> int:
    """Call `work` and return how many of its calls turned a tensor on `device` into Python's own numbers.

    Each of them makes a loop wait for a GPU; copies and masks (`x.cpu()`, `x[mask]`) may wait too and are not counted.
    The half-second read of `train.epoch_sums` is off meanwhile, in this process, since its number depends on the clock.
    """
    with mock.patch.object(epoch_sums, "READ_SECONDS", math.inf), _Reads(device) as counter:
        work()
    return counter.reads


class _Reads(TorchFunctionMode):
    """Counts while its `with` lasts: PyTorch hands it each call about a tensor, and it makes the call."""

    def __init__(self, device: Device):
        super().__init__()
        self.kind, self.reads = torch.device(device).type, 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        asked = args[:1] if function.__name__ in READS else ()
        if function.__name__ in ("tensor", "as_tensor") and args and isinstance(args[0], list):
            asked = args[0]  # each tensor of a list is read
        there = (one.device.type for one in asked if isinstance(one, torch.Tensor))
        self.reads += sum(kind == self.kind for kind in there)
        return function(*args, **(kwargs or {}))
