"""Read a dataset larger than memory: a whole batch in one gather, as fast as memory can be copied.

The files are mapped, not loaded: the system keeps in memory what was read lately and drops it when others need room.
Random order over far more data than memory is slow on any disk: give `BlockShuffleSampler` then.
"""

from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch.utils.data._utils.collate import collate, default_collate_fn_map

from dlhelpers.base.checks import shown
from dlhelpers.packed.manifest import find_outer_faults, read_manifest


def to_float(images: Tensor) -> Tensor:
    """Return images of bytes as float32 from 0 to 1: a `transform` for PackedDataset."""
    return images.float().div_(255)


class Sample(NamedTuple):
    """One image (C, H, W), or what a transform made of it, and the number of its class."""

    image: Tensor
    label: int


class Batch(Sequence[Sample]):
    """A batch that was read at once and is still a sequence of samples: images (n, C, H, W) and labels (n,) int64.

    A DataLoader's default collation takes images and labels whole; a collate_fn of yours sees samples.
    """

    def __init__(self, images: Tensor, labels: Tensor):
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.images[index], self.labels[index].item())


def collate_samples(batch: Sequence[Sample], *, collate_fn_map: dict | None = None) -> list[Tensor]:
    """Return [images, labels] of a batch: whole where it was read at once, else stacked sample by sample."""
    if isinstance(batch, Batch):
        return [batch.images, batch.labels]
    return collate([tuple(sample) for sample in batch], collate_fn_map=collate_fn_map)


# How the documentation of `default_collate` extends what a DataLoader does.
default_collate_fn_map[Sample] = collate_samples


class PackedDataset(Dataset):
    """The images of a packed folder: `dataset[k]` is (image uint8 (C, H, W), label), in the order of writing.

    `transform` is given a batch of images (n, C, H, W) and returns what the batch gives instead; a single sample is a
    batch of one. Use it with a DataLoader as it is: no collate_fn, and with cheap transforms no workers.
    Raises ValueError or FileNotFoundError for a folder without a whole dataset, and for files whose length or header
    is not as it was written. Only `verify` reads every byte.
    """

    def __init__(self, folder: str | Path, *, transform: Callable[[Tensor], Tensor] | None = None):
        self.folder, self.transform = Path(folder).absolute(), transform
        manifest = self._open()
        self.classes, self.shape = list(manifest.classes), manifest.shape
        self.bytes, self._length = manifest.bytes, manifest.rows

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Sample:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int] | np.ndarray) -> Batch:
        """Return the samples at `indices`, in that order, copied from the files into memory of their own.

        Raises IndexError beyond the ends, TypeError for indices that are not whole numbers, and ValueError where the
        transform does not return one row a sample.
        """
        if not isinstance(indices, np.ndarray):
            indices = np.asarray(array("q", indices))  # by way of an array: half the time
        if self._maps is None:
            self._open()
        images, labels = (torch.from_numpy(stored.take(indices, 0)) for stored in self._maps)
        if self.transform is None:
            return Batch(images, labels)
        changed = self.transform(images)
        if not isinstance(changed, Tensor) or changed.shape[:1] != labels.shape:
            raise ValueError(
                f"transform returned {shown(changed)} for images of shape {tuple(images.shape)}: expected a tensor"
                f" of {len(labels)} rows, since it is given a whole batch"
            )
        return Batch(changed, labels)

    def _open(self):
        """Map both files, once in each process."""
        manifest = read_manifest(self.folder)
        if faults := find_outer_faults(self.folder, manifest):
            raise ValueError(
                f"{self.folder}: {', and '.join(faults.values())}. Copy the file again from its source, or write the"
                " dataset again"
            )
        # As plain arrays: a row of a memmap is a memmap again, which takes longer to make than to copy.
        self._maps = [
            np.asarray(np.load(self.folder / layout.name, mmap_mode="r"))
            for layout in manifest.layouts
        ]
        return manifest

    def __getstate__(self) -> dict[str, Any]:
        """What a worker gets: no map, which it makes itself."""
        return vars(self) | {"_maps": None}
