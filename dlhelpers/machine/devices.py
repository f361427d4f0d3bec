"""Which device this machine has, and how a batch gets there.

Everything here asks PyTorch afresh at each call and remembers nothing. Of several GPUs, each process has one.
"""

import os
import platform
import random
from contextlib import nullcontext
from multiprocessing import get_all_start_methods
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlhelpers.base.sizes import human_bytes
from dlhelpers.base.tables import Table
from dlhelpers.machine.memory import memory_budget

Device = torch.device | str


def pick_device(prefer: Device | None = None) -> torch.device:
    """Return the device to work on: `prefer`, else the variable DLHELPERS_DEVICE, else the accelerator, else the CPU.

    Raises ValueError for a device that this machine does not have, and what PyTorch raises for a name it does not know.
    """
    present = torch.accelerator.current_accelerator(check_available=True)
    device = torch.device(prefer or os.environ.get("DLHELPERS_DEVICE") or present or "cpu")
    here = ["cpu"]
    if present:
        count = torch.accelerator.device_count()
        here += [present.type, *(f"{present.type}:{k}" for k in range(count))]
    if str(device) not in here:
        raise ValueError(
            f"device '{device}' is not here: this machine offers {', '.join(here)}. Give no `prefer` and no variable"
            " DLHELPERS_DEVICE to take what there is"
        )
    return device


def pick_amp_dtype(device: Device) -> torch.dtype | None:
    """Return the type for mixed precision: bfloat16 where the chip has it, else float16 on CUDA, else None.

    An emulated bfloat16 does not count: a T4 says it supports it and is slow (pytorch/pytorch PR 148322).
    """
    kind = torch.device(device).type
    if kind == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float16
    return torch.bfloat16 if kind == "xpu" else None


def move(batch: object, device: Device) -> object:
    """Return `batch` on `device`; tuples, lists, dicts and named tuples keep their form, other objects stay.

    The copy is non-blocking for pinned memory to CUDA only: elsewhere it gains nothing, and on MPS
    it can hand over wrong numbers (pytorch/pytorch issue 83015).
    """
    if isinstance(batch, Tensor) and batch.device == device:
        return batch  # first, because on a CPU it is every batch
    device = torch.device(device)
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=device.type == "cuda" and batch.is_pinned())
    if isinstance(batch, dict):
        return {key: move(value, device) for key, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        make = getattr(batch, "_make", type(batch))  # a named tuple has a maker of its own
        return make(move(part, device) for part in batch)
    return batch


def autocast(device: torch.device, amp_dtype: torch.dtype | None) -> Any:
    """Return a context in which the forward pass uses `amp_dtype`, or does nothing special for None."""
    if amp_dtype is None:
        return nullcontext()
    return torch.autocast(device.type, dtype=amp_dtype)


def synchronize(device: Device) -> None:
    """Wait until the device has done all that was asked of it; on the CPU, where nothing is queued, return at once."""
    if torch.device(device).type != "cpu":
        torch.accelerator.synchronize(torch.device(device))


def seed_everything(seed: int) -> None:
    """Seed the random numbers of Python, NumPy and PyTorch; `seed` is a whole number from 0 to 2**32 - 1."""
    np.random.seed(seed)  # first, since it refuses what is no such number
    random.seed(seed)
    torch.manual_seed(seed)


def loader_options(device: Device) -> dict[str, bool | int]:
    """Return DataLoader arguments that suit this machine: workers and pinned memory for CUDA, neither on a CPU.

    A new process that has to import the notebook's own classes cannot find them, so where workers are not forked
    (Windows, macOS, and everywhere from Python 3.14 on) there are none.
    """
    cuda = torch.device(device).type == "cuda"
    forks = get_all_start_methods()[0] == "fork"  # the first is what this system does by itself
    workers = min(4, cores()) if cuda and forks else 0
    return {"num_workers": workers, "pin_memory": cuda, "persistent_workers": workers > 0}


def cores() -> int:
    """Return how many cores this process may use, where the system tells, else how many the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_machine() -> Table:
    """Return a table of what decides how lessons run here: device, precision, memory, cores, versions."""
    device = pick_device()
    name, amp = platform.machine(), pick_amp_dtype(device)
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    rows = [
        ["device", f"{device} ({name})"],
        ["mixed precision", str(amp).removeprefix("torch.") if amp else "off (float32 throughout)"],
        ["memory to use", human_bytes(memory_budget("cpu"))],
        ["cores", cores()],
        ["python", platform.python_version()],
        ["torch", torch.__version__],
    ]
    return Table(["what", "here"], rows)
