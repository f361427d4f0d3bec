"""A batch that was read at once, and that is still a sequence of samples for whoever wants to look at one.

A DataLoader's default collation takes it whole: no work for each sample, and no copy. (A worker makes one copy, into
memory that both processes see.)
"""

import operator
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor
from torch.utils.data._utils.collate import collate, default_collate_fn_map


class Sample(Sequence[Any]):
    """One image (C, H, W) and its label, `image, label = sample`, each looked up in its batch when it is asked for.

    Collating a batch looks at its first sample, and there asking PyTorch for one row would take longer than the rest.
    A DataLoader with `batch_size=None` makes a list of the two.
    """

    __slots__ = ("_batch", "_place")

    def __init__(self, batch: "Gathered", place: int):
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
        return iter(
            (self.image, self.label)
        )  # each looked up once, where a sequence would ask three times for both

    def __repr__(self) -> str:
        return f"Sample(image={self.image!r}, label={self.label})"


class Gathered(Sequence[Sample]):
    """A batch that was read at once and is still a sequence of samples: images (n, C, H, W) and labels (n,) int64.

    A DataLoader's default collation takes images and labels whole; a collate_fn of yours sees samples.
    """

    def __init__(self, images: Tensor, labels: Tensor):
        self.images, self.labels, self._count = images, labels, labels.shape[0]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            places = (
                index if (index.step or 1) > 0 else list(range(self._count)[index])
            )  # tensors know no step back
            return Gathered(self.images[places], self.labels[places])
        place = operator.index(index)
        if not -self._count <= place < self._count:
            raise IndexError(f"index {place} is beyond a batch of {self._count} samples")
        return Sample(self, place)

    def __iter__(self) -> Iterator[Sample]:
        return (Sample(self, place) for place in range(self._count))


def collate_samples(
    batch: Sequence[Sample], *, collate_fn_map: dict | None = None
) -> tuple[Any, Any]:
    """Return (images, labels) of a batch: whole where it was gathered, else stacked sample by sample."""
    if isinstance(batch, Gathered):
        return batch.images, batch.labels
    images, labels = zip(*batch, strict=True)
    return collate(images, collate_fn_map=collate_fn_map), collate(
        labels, collate_fn_map=collate_fn_map
    )


# How PyTorch's documentation of `collate` extends what a DataLoader does by default.
default_collate_fn_map[Sample] = collate_samples
