"""Datasets that make workers visible: one waits before each sample, one tells which process made it.

They stand in a module because a worker that is spawned (Windows, macOS) or comes from a server of forks (Linux from
Python 3.14 on) imports what it needs, and a class of a notebook's cell cannot be imported.
"""

import os
import random
import time

import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info


class Waiting(Dataset):
    """A dataset whose samples come `milliseconds` late, as from a slow disk: the core is free meanwhile.

    Raises ValueError for a negative time.
    """

    def __init__(self, dataset: Dataset, milliseconds: float):
        if milliseconds < 0:
            raise ValueError(f"milliseconds is {milliseconds!r}: expected 0 or more")
        self.dataset, self.milliseconds = dataset, milliseconds

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
    """

    def __init__(self, length: int):
        if isinstance(length, bool) or not isinstance(length, int) or length < 1:
            raise ValueError(f"length is {length!r}: expected a whole number of samples, at least 1")
        self.length, self.generator = length, np.random.default_rng(0)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, int | float | None]:
        if not 0 <= index < self.length:
            raise IndexError(f"index {index} is beyond a dataset of {self.length} samples")
        info = get_worker_info()
        about = {"process": os.getpid(), "worker": info.id if info else None, "seed": torch.initial_seed()}
        draws = {"torch": torch.rand(()).item(), "numpy": float(np.random.rand()), "python": random.random()}
        return about | draws | {"kept": float(self.generator.random())}
