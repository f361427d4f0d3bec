"""Read a dataset larger than memory: a whole batch in one gather, as fast as memory can be copied.

The files are mapped, not loaded: the system keeps in memory what was read lately and drops it when others need room.
Random order over far more data than memory is slow on any disk: give `BlockShuffleSampler` then.
"""

import operator
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch.utils.data._utils.collate import collate, default_collate_fn_map

from dlhelpers.base.checks import check_callable
from dlhelpers.packed.manifest import HEADER, find_outer_faults, read_manifest


def to_float(images: Tensor) -> Tensor:
    """Return images of bytes as float32 from 0 to 1: a `transform` for PackedDataset."""
    return images.float().div_(255)


class Sample(Sequence[Any]):
    """One image (C, H, W) and its label, `image, label = sample`, looked up in their batch when they are asked for.

    Collating a batch looks at its first sample, and there asking PyTorch for a row would take longer than the rest.
    """

    __slots__ = ("_batch", "_place")

    def __init__(self, batch: "Batch", place: int):
        self._batch, self._place = batch, place

    @property
    def image(self) -> Tensor:
        """What the batch holds for this sample: an image, or what a transform made of it."""
        return self._batch.images[self._place]

    @property
    def label(self) -> int:
        """The number of the sample's class."""
        return int(self._batch.labels[self._place])

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int | slice) -> Any:
        return (self.image, self.label)[index]

    def __iter__(self) -> Iterator[Any]:
        return iter((self.image, self.label))

    def __repr__(self) -> str:
        return f"Sample(image={self.image!r}, label={self.label})"


class Batch(Sequence[Sample]):
    """A batch that was read at once and is still a sequence of samples: images (n, C, H, W) and labels (n,) int64.

    A DataLoader's default collation takes images and labels whole; a collate_fn of yours sees samples.
    """

    def __init__(self, images: Tensor, labels: Tensor):
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Batch(self.images[index], self.labels[index])
        return Sample(self, range(len(self))[index])


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
        if transform is not None:
            check_callable("transform", transform, "a function of a batch of images, or None")
        self.folder, self.transform = Path(folder).absolute(), transform
        manifest = read_manifest(self.folder)
        self.classes, self.shape, self.bytes = (
            list(manifest.classes),
            manifest.shape,
            manifest.bytes,
        )
        self._length, self._written = manifest.rows, manifest.sha256
        self._maps: tuple[np.ndarray, np.ndarray] | None = None
        self._open()

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self.__getitems__(range(*index.indices(len(self))))
        return self.__getitems__([operator.index(index)])[0]

    def __getitems__(self, indices: Sequence[int] | np.ndarray) -> Batch:
        """Return the samples at `indices`, in that order, copied from the files into memory of their own.

        Raises IndexError beyond the ends, TypeError for indices that are not whole numbers, and ValueError where the
        transform does not return one row a sample.
        """
        wanted = indices
        if not isinstance(wanted, np.ndarray):
            wanted = np.asarray(array("q", indices))  # by way of an array: half the time
        if wanted.dtype.kind not in "iu":
            raise TypeError(f"indices are {wanted.dtype}: expected whole numbers")
        images, labels = (
            torch.from_numpy(stored.take(wanted, 0)) for stored in self._maps or self._open()
        )
        if self.transform is None:
            return Batch(images, labels)
        changed = self.transform(images)
        if not isinstance(changed, Tensor) or changed.ndim == 0 or len(changed) != len(wanted):
            came = tuple(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
            raise ValueError(
                f"transform returned {came} for images of shape {tuple(images.shape)}: expected a tensor of"
                f" {len(wanted)} rows, since it is given a whole batch"
            )
        return Batch(changed, labels)

    def _open(self) -> tuple[np.ndarray, np.ndarray]:
        """Map both files, once in each process, after a look at whether they are still the same dataset."""
        manifest = read_manifest(self.folder)
        if manifest.sha256 != self._written:
            raise RuntimeError(
                f"{self.folder} was written anew since this dataset was opened: open it again"
            )
        if faults := find_outer_faults(self.folder, manifest):
            raise ValueError(
                f"{self.folder}: {', and '.join(faults.values())}. Copy the file again from its source, or write the"
                " dataset again"
            )
        # As plain arrays: a row of a memmap is a memmap again, which takes longer to make than to copy.
        self._maps = tuple(
            np.asarray(np.memmap(self.folder / file.name, file.dtype, "r", HEADER, file.shape))
            for file in manifest.layouts
        )
        return self._maps

    def __getstate__(self) -> dict[str, Any]:
        """What a worker gets: no map, and by what it knows that the dataset is still the same."""
        return vars(self) | {"_maps": None}
