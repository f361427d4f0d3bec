"""What data costs in bytes, and how this course writes a number of bytes."""

import math
from collections.abc import Sequence
from numbers import Real

import torch

from dlhelpers.base.checks import check_kind

UNITS = ("kB", "MB", "GB", "TB")


def bytes_of(shape: Sequence[int], dtype: torch.dtype = torch.float32, count: int = 1) -> int:
    """Return the bytes that `count` tensors of `shape` and `dtype` hold.

    >>> bytes_of((3, 224, 224), torch.float32, count=10_000)
    6021120000
    """
    if not (isinstance(shape, Sequence) and isinstance(dtype, torch.dtype)):
        kinds = f"shape is a {type(shape).__name__} and dtype a {type(dtype).__name__}"
        raise TypeError(f"{kinds}: expected bytes_of((3, 224, 224), torch.float32)")
    if any(side < 0 for side in shape) or count < 0:
        raise ValueError(f"shape {tuple(shape)} and count {count}: expected no negative number")
    return math.prod(shape) * dtype.itemsize * count


def human_bytes(count: float) -> str:
    """Return a number of bytes in decimal units, as disks and this course count: 1 kB is 1,000 bytes.

    >>> human_bytes(6_021_120_000)
    '6.02 GB'
    """
    check_kind("count", count, Real, "a number of bytes")
    power = 0
    while round(abs(count), 2) >= 1000 and power < 4:  # 999,999 bytes are 1.00 MB, not 1000.00 kB
        count /= 1000
        power += 1
    if power == 0:
        return f"{count:.0f} bytes"
    return f"{count:.2f} {UNITS[power - 1]}"
