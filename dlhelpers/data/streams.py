"""Streams: samples that come one after the other, without index or length, and how workers and a shuffle treat them.

The streams stand in a module because a worker that is spawned (Windows, macOS) or comes from a server of forks (Linux
from Python 3.14 on) imports what it needs, and a class of a notebook's cell cannot be imported.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from random import Random
from typing import TypeVar

from torch.utils.data import Dataset, IterableDataset, get_worker_info

Sample = TypeVar("Sample")


class Stream(IterableDataset):
    """The samples of `dataset` in order, as they would come out of a pipe: without an index, and without a length.

    Each worker reads all of it, so that two workers give each sample twice; `SplitStream` shares it out.
    """

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def __iter__(self) -> Iterator[object]:
        for index in range(len(self.dataset)):
            yield self.dataset[index]


class SplitStream(Stream):
    """A stream that workers share: of W workers, worker w gives samples w, w + W, w + 2W, and reads past the rest."""

    def __iter__(self) -> Iterator[object]:
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        yield from islice(super().__iter__(), first, None, step)


def shuffle_buffer(samples: Iterable[Sample], size: int, random: Random) -> Iterator[Sample]:
    """Return the samples in a mixed order, holding at most `size` of them: a full buffer gives out one at random.

    Each comes once; what the buffer holds at the end of the stream comes last, shuffled. Drawn from `random`, so equal
    seeds give equal orders.
    """
    buffer: list[Sample] = []
    for sample in samples:
        buffer.append(sample)
        if len(buffer) == size:
            yield buffer.pop(random.randrange(size))
    random.shuffle(buffer)
    yield from buffer
