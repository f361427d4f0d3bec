"""Read a dataset larger than memory from its shards: a whole batch in one gather, as fast as memory can be copied.

The files are mapped, not loaded: the system keeps in memory what was read lately and drops it when others need room.
This is also the front of the modules about shards: `shard_writer`, `block_shuffle`, `packing` and `verification` hold
the other names. Random order over far more data than memory is slow on any disk: give `BlockShuffleSampler` then.
"""

import hashlib
import operator
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dlhelpers.base.checks import check_callable, check_kind
from dlhelpers.data.sampling import BlockShuffleSampler
from dlhelpers.packed.gathered import Gathered, Sample
from dlhelpers.packed.manifests import Manifest, read_manifest
from dlhelpers.packed.packing import pack_dataset, pack_folder
from dlhelpers.packed.shard_maps import ShardMaps, damage
from dlhelpers.packed.shard_writer import ShardWriter
from dlhelpers.packed.verifying import check_files, verify

__all__ = ["BlockShuffleSampler", "Gathered", "Sample", "ShardDataset", "ShardWriter"]
__all__ += ["pack_dataset", "pack_folder", "to_float", "verify"]

LARGE_ROW = (
    8192  # bytes; copying an image of this size takes longer than asking for it in a Python loop
)
OF_MANIFEST = (
    "manifest",
    "classes",
    "shape",
    "_maps",
    "_ends",
    "_firsts",
    "_edges",
)  # what _read_manifest sets


def to_float(images: Tensor) -> Tensor:
    """Return images of bytes as float32 from 0 to 1: a `transform` for ShardDataset."""
    check_kind("images", images, Tensor, "a tensor of bytes (n, C, H, W)")
    return images.float().div_(255)


class ShardDataset(Dataset):
    """The images of a folder of shards: `dataset[k]` is (image uint8 (C, H, W), label), in the order of writing.

    transform  given a batch of images (n, C, H, W), returns what the batch gives instead; an item is a batch of one
    check      "size" compares sizes and headers of the files with the manifest, "hash" every byte, None nothing
    Use it with a DataLoader as it is: no collate_fn, and with cheap transforms no workers. Raises ValueError or
    FileNotFoundError for a manifest or files that are not as they were written; the message names the shard.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        transform: Callable[[Tensor], Tensor] | None = None,
        check: str | None = "size",
    ):
        if check not in ("size", "hash", None):
            raise ValueError(f"check is {check!r}: expected 'size', 'hash' or None")
        if transform is not None:
            check_callable("transform", transform, "a function of a batch of images, or None")
        self.folder, self.transform = Path(folder).absolute(), transform
        self._read_manifest()
        if check is not None:
            faults = check_files(self.folder, self.manifest)
            faults = faults or (
                verify(self.folder, progress=False).faults if check == "hash" else ()
            )
            if faults:
                raise damage(self.folder, faults)

    def _read_manifest(self) -> None:
        self.manifest: Manifest = read_manifest(self.folder)
        self._digest = hashlib.sha256(repr(self.manifest).encode()).digest()
        self.classes, self.shape = list(self.manifest.classes), self.manifest.shape
        self._ends = list(accumulate(shard.rows for shard in self.manifest.shards))
        self._firsts, self._edges = [0, *self._ends[:-1]], np.asarray(self._ends)
        self._maps = ShardMaps(self.folder, self.manifest)

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Sample:
        return self.__getitems__([operator.index(index)])[0]

    def __getitems__(self, indices: Sequence[int]) -> Gathered:
        """Return the samples at `indices`, in that order, copied from the files into memory of their own.

        Raises IndexError beyond the ends, TypeError for indices that are not whole numbers, and ValueError where the
        transform does not return one row a sample.
        """
        wanted = self._positions(indices)
        # NumPy asks for huge pages where an array is large, PyTorch does not: half the time for images of 150 kB.
        view = self._maps.view()
        if view is not None:
            images, labels = view.take(wanted)
        else:
            images, labels = (
                np.empty((len(wanted), *self.shape), np.uint8),
                np.empty(len(wanted), np.int64),
            )
            for shard, places, rows in self._by_shard(wanted):
                for stored, batch in zip(self._maps.open(shard), (images, labels), strict=True):
                    _gather(stored, rows, batch, places)
        batch = torch.from_numpy(images)
        if self.transform is not None:
            batch = self.transform(batch)
            if not isinstance(batch, Tensor) or batch.ndim == 0 or len(batch) != len(wanted):
                came = tuple(batch.shape) if isinstance(batch, Tensor) else type(batch).__name__
                raise ValueError(
                    f"transform returned {came} for images of shape {images.shape}: expected a tensor of"
                    f" {len(wanted)} rows, since it is given a whole batch"
                )
        return Gathered(batch, torch.from_numpy(labels))

    def _positions(self, indices: Sequence[int]) -> np.ndarray:
        """The indices as an array, int64, counted from the front."""
        wanted, length = np.asarray(indices), len(self)
        if wanted.ndim != 1 or (wanted.size and wanted.dtype.kind not in "iu"):
            raise TypeError(
                f"indices of type {wanted.dtype}, shape {wanted.shape}: expected a list of whole numbers"
            )
        if wanted.dtype == np.int64 and wanted.size and wanted.view(np.uint64).max() < length:
            return (
                wanted  # the usual case, found in one look: as such, a number below 0 is very large
            )
        low, high = (int(wanted.min()), int(wanted.max())) if wanted.size else (0, 0)
        if low < -length or high >= length:
            index = low if low < -length else high
            raise IndexError(
                f"index {index} is beyond a dataset of {length} samples: expected 0 to {length - 1}"
            )
        wanted = wanted.astype(np.int64)
        return np.where(wanted < 0, wanted + length, wanted)

    def _by_shard(self, wanted: np.ndarray) -> Iterator[tuple[int, np.ndarray | None, np.ndarray]]:
        """Yield each shard that is needed, once: its number, places in the batch (None: all), and rows in the shard."""
        if not len(wanted):
            return
        first, last = bisect_right(self._ends, wanted.min()), bisect_right(self._ends, wanted.max())
        if first == last:
            yield first, None, wanted - self._firsts[first]
            return
        order = wanted.argsort()  # by shard and, within it, from front to back
        ordered = wanted[order]
        shards = self._edges.searchsorted(ordered, side="right")
        cuts = (np.flatnonzero(shards[1:] != shards[:-1]) + 1).tolist()
        for start, stop in zip([0, *cuts], [*cuts, len(wanted)], strict=True):
            shard = int(shards[start])
            yield shard, order[start:stop], ordered[start:stop] - self._firsts[shard]

    def __getstate__(self) -> dict[str, Any]:
        """What a worker gets: no list of rows and no map, and by what it knows that the dataset is still the same."""
        return {name: value for name, value in vars(self).items() if name not in OF_MANIFEST}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._read_manifest()
        if self._digest != state["_digest"]:
            raise RuntimeError(
                f"{self.folder} was written anew since this dataset was opened: open it again"
            )


def _gather(
    stored: np.ndarray, rows: np.ndarray, batch: np.ndarray, places: np.ndarray | None
) -> None:
    """Copy `rows` of a shard to their `places` in a batch, in the way that is fastest for the size of a row."""
    if places is None:
        stored.take(
            rows, axis=0, out=batch, mode="clip"
        )  # mode "raise" would copy by way of a buffer
    elif stored.strides[0] >= LARGE_ROW:
        for place, row in zip(places.tolist(), rows.tolist(), strict=True):
            batch[place] = stored[row]
    else:
        batch[places] = stored.take(rows, axis=0)
