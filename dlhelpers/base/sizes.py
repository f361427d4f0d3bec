"""What data costs in bytes, and how this course writes a number of bytes."""

import math
from collections.abc import Sequence

import torch


def bytes_of(shape: Sequence[int], dtype: torch.dtype = torch.float32, count: int = 1) -> int:
    """Return the bytes that `count` tensors of `shape` and `dtype` hold.

    >>> bytes_of((3, 224, 224), torch.float32, count=10_000)
    6021120000
    """
    return math.prod(shape) * dtype.itemsize * count


def human_bytes(count: float) -> str:
    """Return a number of bytes in decimal units, as disks and this course count: 1 kB is 1,000 bytes.

    >>> human_bytes(6_021_120_000)
    '6.02 GB'
    """
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if round(count, 2) < 1000 or unit == "TB":  # 999,999 bytes are 1.00 MB, not 1000.00 kB
            break
        count /= 1000
    return f"{count:.0f} bytes" if unit == "bytes" else f"{count:.2f} {unit}"
