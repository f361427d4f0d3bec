"""A batch that was read at once, and that is still a sequence of samples for whoever wants to look at one.

A DataLoader's default collation takes it whole: no work for each sample, and no second copy.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils.data._utils.collate import collate, default_collate_fn_map


class Sample(NamedTuple):
    """One image (C, H, W) and its label."""

    image: Tensor
    label: int


class Gathered(Sequence[Sample]):
    """A batch that was read at once and is still a sequence of samples: images (n, C, H, W) and labels (n,) int64.

    A DataLoader's default collation takes images and labels whole; a collate_fn of yours sees samples.
    """

    def __init__(self, images: Tensor, labels: Tensor):
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Gathered(self.images[index], self.labels[index])
        return Sample(self.images[index], int(self.labels[index]))

    def __iter__(self) -> Iterator[Sample]:
        return map(Sample, self.images, self.labels.tolist())


def collate_samples(batch: Sequence[Sample], *, collate_fn_map: dict | None = None) -> tuple[Any, Any]:
    """Return (images, labels) of a batch: whole where it was gathered, else stacked sample by sample."""
    if isinstance(batch, Gathered):
        return batch.images, batch.labels
    images, labels = zip(*batch, strict=True)
    return collate(images, collate_fn_map=collate_fn_map), collate(labels, collate_fn_map=collate_fn_map)


# How PyTorch's documentation of `collate` extends what a DataLoader does by default.
default_collate_fn_map[Sample] = collate_samples
