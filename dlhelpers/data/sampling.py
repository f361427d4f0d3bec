"""Who gets which sample, in which order: share an epoch between ranks, and shuffle one without a list of it.

`samples` seldom divide by the number of ranks, so one of three things must give, and you say which: a few samples are
left out (drop), a few are taken twice (pad), or ranks differ by one sample (exact).

Neighbours lie on one stretch of the disk, so a block is cheap to read; mixing a window of blocks keeps neighbours from
sharing batches. A dataset of at most `block` x `window` samples is shuffled in full. A larger one should be stored
in random order, since samples that lie together are still drawn at about the same time.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

from dlhelpers.base.checks import check_whole

POLICIES = ("drop", "pad", "exact")


@dataclass(frozen=True)
class Split:
    """The part of an epoch that one rank takes: `count` positions of its order, from `rank` on in strides of `world`.

    Under "pad" the positions go round: behind the last comes the first again. Nothing is stored but the numbers.
    """

    samples: int
    rank: int
    world: int
    count: int

    def __len__(self) -> int:
        return self.count

    def position(self, number: int) -> int:
        """Return the place in the epoch's order of this rank's sample `number`, counted from 0."""
        return (self.rank + number * self.world) % self.samples


def split_epoch(samples: int, *, rank: int = 0, world: int = 1, policy: str = "exact") -> Split:
    """Return the part of an epoch of `samples` samples that falls to `rank`, one of `world` ranks.

    policy  "drop"   every rank has samples // world; the last samples % world of the order are left out
            "pad"    every rank has ceil(samples / world); the order starts over to fill the last round
            "exact"  each sample once; the first samples % world ranks have one sample more
    Raises ValueError for a rank beyond the world, or another policy.
    """
    if not 0 <= rank < world:
        raise ValueError(f"rank is {rank} in a world of {world}: expected 0 to {world - 1}")
    if policy not in POLICIES:
        raise ValueError(f"policy is {policy!r}: expected 'drop', 'pad' or 'exact'")
    full, rest = divmod(samples, world)
    more = {"drop": 0, "pad": rest > 0, "exact": rank < rest}[policy]
    return Split(samples, rank, world, full + int(more))


class BlockShuffleSampler(Sampler):
    """Yields this rank's indices of an epoch. Use it as `DataLoader(dataset, batch_size=64, sampler=sampler)`.

    With `batch_size` it yields arrays of indices: use it as `DataLoader(dataset, batch_sampler=sampler)`, which spares
    the loader a Python number for each sample.

    samples      the length of the dataset
    block        neighbours that stay together until they are mixed; the last block may be shorter
    window       blocks that are mixed at a time: block x window indices, or all, are held in memory
    seed         decides, with the epoch, about the order: the same on every rank
    rank, world  which of how many ranks this is; policy says what becomes of a remainder, see `split_epoch`
    batch_size   samples in a batch; the last may be shorter
    The order comes from numpy.random.default_rng with seed and epoch; workers do not matter to it, and any place in it
    is found without drawing what lies before. Raises ValueError for a dataset in place of its length, and as
    `split_epoch` does.
    """

    def __init__(
        self,
        samples: int,
        *,
        block: int = 1024,
        window: int = 32,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        policy: str = "exact",
        batch_size: int | None = None,
    ):
        self.samples = check_whole("samples", samples, 1, ", as len(dataset)")
        self.block, self.window, self.batch_size = block, window, batch_size
        self.split = split_epoch(samples, rank=rank, world=world, policy=policy)
        self.seed, self.rank, self.world, self.policy = seed, rank, world, policy
        self.epoch = self.samples_done = 0

    def set_epoch(self, epoch: int, samples_done: int = 0) -> None:
        """Go to an epoch, behind the first `samples_done` samples of this rank; `fit` goes to the start of each."""
        self.epoch, self.samples_done = epoch, samples_done

    def __len__(self) -> int:
        left = self.split.count - self.samples_done
        return left if self.batch_size is None else -(-left // self.batch_size)

    def __iter__(self) -> Iterator[int] | Iterator[np.ndarray]:
        rest = np.empty(0, np.int64)
        for indices in self._windows():
            if self.batch_size is None:
                yield from indices.tolist()
                continue
            rest = np.concatenate([rest, indices])
            full = len(rest) - len(rest) % self.batch_size
            yield from rest[:full].reshape(-1, self.batch_size)
            rest = rest[full:]
        if len(rest):
            yield rest

    def _windows(self) -> Iterator[np.ndarray]:
        """Yield this rank's indices of an epoch, a window of blocks at a time."""
        seed, number = [self.seed, self.epoch], self.samples_done
        blocks = np.arange(-(-self.samples // self.block), dtype=np.int64)
        np.random.default_rng(seed).shuffle(blocks)
        lengths = np.minimum(self.block, self.samples - blocks * self.block)
        starts = np.append(0, lengths.cumsum())[:: self.window]  # of each window, in the order
        while number < self.split.count:
            position = self.split.position(number)
            window = int(np.searchsorted(starts, position, side="right")) - 1
            chosen = blocks[window * self.window : (window + 1) * self.window]
            indices = (chosen[:, None] * self.block + np.arange(self.block)).ravel()
            indices = indices[indices < self.samples]
            # From 1 on: NumPy pads a seed with zeros, so [*seed, 0] would be the very numbers of seed.
            np.random.default_rng([*seed, window + 1]).shuffle(indices)
            mine = indices[position - starts[window] :: self.world][: self.split.count - number]
            yield mine
            number += len(mine)
