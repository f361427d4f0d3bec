"""Lay one array over several that lie apart in memory, so that rows of all of them are gathered at once.

All memory of a process has addresses in one row. A view begins at the lowest array and goes on in steps that divide the
rows of the arrays and the distances between them, so that each of their rows begins at a step. Most steps lie in gaps
between the arrays, where there may be no memory: to look there would end the process, so rows are computed here alone.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided


class RowView:
    """Rows of several parts, numbered as if the parts were one; a part is a tuple of arrays of equal length.

    The arrays in one place of the tuples have one dtype, one shape of a row, and no gaps. They are kept as long as the
    view, which cannot be copied: a copy would read the gaps. Raises ValueError for others, for parts without a row, and
    for arrays too far apart for NumPy.
    """

    def __init__(self, parts: Sequence[Sequence[np.ndarray]]):
        lengths = np.array([len(part[0]) for part in parts])
        if (
            not len(parts)
            or not lengths.all()
            or any(len(a) != len(part[0]) for part in parts for a in part)
        ):
            raise ValueError(
                f"parts of {lengths.tolist()} rows: expected some, each part's arrays of equal length"
            )
        ends = lengths.cumsum()
        self._parts, self._ends = list(parts), ends.astype(np.uint64)
        self._columns = [_lay_over(arrays, ends - lengths) for arrays in zip(*parts, strict=True)]

    def take(self, rows: np.ndarray) -> list[np.ndarray]:
        """Return copies of these rows, int64 counted from 0, in their order: one array for each place of the tuples.

        Raises IndexError for a row that is not there.
        """
        parts = self._ends.searchsorted(
            rows.view(np.uint64), side="right"
        )  # as such, a row below 0 is very large
        return [
            view[rows * steps + shifts[parts]] for view, steps, shifts in self._columns
        ]  # beyond the end: no shift

    def __reduce__(self) -> str:
        raise TypeError(
            "a RowView cannot be copied or sent to a process: make one of the arrays that are there"
        )


def _lay_over(
    arrays: Sequence[np.ndarray], firsts: np.ndarray
) -> tuple[np.ndarray, int, np.ndarray]:
    """A view over arrays, the steps from row to row in it, and for each array where row 0 of all would begin in it."""
    if len({(a.dtype, a.shape[1:]) for a in arrays}) > 1 or not all(
        a.flags.c_contiguous for a in arrays
    ):
        raise ValueError(
            "the parts differ in dtype or in the shape of a row, or have gaps between rows"
        )
    first = arrays[0]
    addresses, size = (
        [array.ctypes.data for array in arrays],
        math.prod(first.shape[1:]) * first.itemsize,
    )
    if not size:
        raise ValueError(
            f"rows of shape {first.shape[1:]} hold nothing: expected at least one byte"
        )
    lowest = addresses.index(min(addresses))
    distances = [address - addresses[lowest] for address in addresses]
    step = math.gcd(size, *distances)
    last = (
        max(distance + array.nbytes for distance, array in zip(distances, arrays, strict=True))
        - size
    )
    strides = (step, *arrays[lowest].strides[1:])
    view = as_strided(
        arrays[lowest], (last // step + 1, *arrays[lowest].shape[1:]), strides, writeable=False
    )
    return view, size // step, np.array(distances) // step - firsts * (size // step)
