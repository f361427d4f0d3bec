"""Samples as uint8 batches of one shape, made in as many processes as wanted, in an order that no process decides.

The processes are the workers of a DataLoader, which yields in order, works under fork and spawn, and ends them with
their parent. They write into a ring of buffers in shared memory that is used again and again: fresh memory for each
batch costs a sixth of the time of decoding. A sample that cannot be used is reported, not raised: the caller decides.
"""

import operator
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dlhelpers.base.checks import check_whole
from dlhelpers.machine.devices import cores

RING_BYTES = 40_000_000  # of all buffers together: a container often has 64 MB of shared memory
BATCH_BYTES = 4_000_000
WORTH_A_PROCESS = 200  # images; fewer are decoded sooner than a worker starts
AHEAD = 4  # batches that each worker makes before the first of them is wanted


class Bad(NamedTuple):
    """A sample that cannot be used: its position in the order, its name, why, and whether the image is to blame."""

    position: int
    name: str
    reason: str
    skippable: bool


def unusable(bad: Bad) -> str:
    """Return the sentence that refuses a bad sample: which, why, and the remedy."""
    remedy = (
        " Mend or remove it, or leave such images out: on_error='skip' (--skip-bad)"
        if bad.skippable
        else ""
    )
    return f"{bad.name} cannot be packed: {bad.reason}.{remedy}"


class Batch(NamedTuple):
    """The usable samples of some positions, images uint8 (n, C, H, W) and labels int64 (n,), and the bad ones.

    The images are overwritten when the next batch is asked for.
    """

    images: Tensor
    labels: np.ndarray
    bad: list[Bad]


class Source(Protocol):
    """What can be packed: samples at positions 0 to len - 1, each of `shape` (C, H, W)."""

    shape: tuple[int, int, int]

    def __len__(self) -> int: ...

    def read(self, positions: Sequence[int], pixels: np.ndarray) -> tuple[np.ndarray, list[Bad]]:
        """Write the n usable images of some positions into pixels[:n]; return their n labels, and the bad samples."""
        ...


class Samples:
    """The samples of a map-style dataset, in a given order of its indices, as uint8 of `shape`."""

    def __init__(
        self, dataset: Dataset, order: np.ndarray, shape: tuple[int, int, int], classes: int
    ):
        self.dataset, self.order, self.shape, self.classes = dataset, order, shape, classes

    def __len__(self) -> int:
        return len(self.order)

    def read(self, positions: Sequence[int], pixels: np.ndarray) -> tuple[np.ndarray, list[Bad]]:
        """Take the samples up to the first that does not fit; what the dataset raises itself is not caught."""
        labels: list[int] = []
        for position in positions:
            index = int(self.order[position])
            image, label = self.dataset[index]
            try:
                pixels[len(labels)] = as_uint8(image, self.shape).numpy()
                labels.append(_class_number(label, self.classes))
            except (TypeError, ValueError) as error:
                return np.array(labels, np.int64), [
                    Bad(position, f"sample {index}", str(error), False)
                ]
        return np.array(labels, np.int64), []


def as_uint8(image: Any, shape: tuple[int, ...] | None = None) -> Tensor:
    """Return an image tensor (C, H, W), uint8 or floats from 0 to 1, as uint8; floats are rounded to 255ths.

    Raises TypeError for what is no such tensor, and ValueError for floats beyond 0 to 1 and for another shape.
    """
    if (
        not isinstance(image, Tensor)
        or image.ndim != 3
        or not (image.is_floating_point() or image.dtype == torch.uint8)
    ):
        what = (
            f"{image.dtype} {tuple(image.shape)}"
            if isinstance(image, Tensor)
            else type(image).__name__
        )
        raise TypeError(
            f"its image is {what}: expected a tensor (C, H, W), uint8 or floats from 0 to 1"
        )
    if shape is not None and image.shape != shape:
        raise ValueError(
            f"its image has shape {tuple(image.shape)}, the first one has {tuple(shape)}: resize them"
        )
    if image.dtype == torch.uint8:
        return image
    if not (image.min() >= 0 and image.max() <= 1):
        raise ValueError(
            f"its image has values from {image.min():g} to {image.max():g}: expected 0 to 1. Normalise after reading"
        )
    return image.mul(255).round().to(torch.uint8)


def _class_number(label: Any, classes: int) -> int:
    try:
        number = operator.index(label)
    except TypeError:
        raise TypeError(
            f"its label is {label!r}: expected a class number from 0 to {classes - 1}"
        ) from None
    if not 0 <= number < classes:
        raise ValueError(
            f"its label is {number}: expected 0 to {classes - 1}, since there are {classes} classes"
        )
    return number


def pick_processes(processes: int | None, samples: int) -> int:
    """Return how many processes decode: `processes`, or one for each core, and fewer for a few hundred samples.

    Raises ValueError for less than one.
    """
    if processes is None:
        return min(cores(), 1 + samples // WORTH_A_PROCESS)
    return check_whole("processes", processes, 1)


def batches(source: Source, start: int, processes: int) -> Iterator[Batch]:
    """Yield the samples of all positions from `start` on, in order, made in `processes` processes (1: in this one).

    The workers end when the iterator is closed, whatever stopped it.
    """
    row = int(np.prod(source.shape))
    slots = 1 + AHEAD * processes if processes > 1 else 1
    size = max(1, min(256, BATCH_BYTES // row, RING_BYTES // (slots * row)))
    ring = torch.empty((slots, size, *source.shape), dtype=torch.uint8)
    work = _Work(source, start, ring if processes == 1 else ring.share_memory_())
    loader = DataLoader(
        work,
        batch_size=None,  # a sample of `work` is a batch
        num_workers=min(processes, len(work)) if processes > 1 else 0,
        prefetch_factor=AHEAD if processes > 1 and len(work) else None,
        collate_fn=_whole,
        generator=torch.Generator(),  # else the workers' seeds would be drawn from the caller's generator
    )
    iterator = iter(loader)
    try:
        for number, (labels, bad) in enumerate(iterator):
            yield Batch(ring[number % slots, : len(labels)], labels, bad)
    finally:
        # A traceback may keep the iterator alive, in a notebook for ever; its workers are to end now.
        getattr(iterator, "_shutdown_workers", lambda: None)()


class _Work(Dataset):
    """Batch k is made in buffer k modulo their number: a DataLoader gives out batch k + slots after k + 1 is taken."""

    def __init__(self, source: Source, start: int, ring: Tensor):
        self.source, self.start, self.ring = source, start, ring

    def __len__(self) -> int:
        return -(-(len(self.source) - self.start) // self.ring.shape[1])

    def __getitem__(self, number: int) -> tuple[np.ndarray, list[Bad]]:
        slots, size = self.ring.shape[:2]
        first = self.start + number * size
        return self.source.read(
            range(first, min(first + size, len(self.source))), self.ring[number % slots].numpy()
        )


def _whole(batch: tuple[np.ndarray, list[Bad]]) -> tuple[np.ndarray, list[Bad]]:
    return batch
