"""Who gets which sample, in which order: share an epoch between ranks, and shuffle one without a list of it.

`samples` seldom divide by the number of ranks, so one of three things must give, and you say which: a few samples are
left out (drop), a few are taken twice (pad), or ranks differ by one sample (exact).

Neighbours lie on one stretch of the disk, so a block is cheap to read; mixing a window of blocks keeps neighbours from
sharing batches. A dataset of at most `block` x `window` samples is shuffled in full. A larger one should be stored
in random order, since samples that lie together are still drawn at about the same time.
"""

from collections.abc import Iterator, Sized
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
    policy: str
    count: int

    def __len__(self) -> int:
        return self.count

    def position(self, number: int | np.ndarray) -> int | np.ndarray:
        """Return the place in the epoch's order of this rank's sample `number`, counted from 0; also for an array.

        Raises IndexError where the rank has no such sample.
        """
        if np.any(np.less(number, 0) | np.greater_equal(number, self.count)):
            raise IndexError(
                f"number {number} is not among the {self.count} samples of rank {self.rank}:"
                f" expected 0 to {self.count - 1}"
            )
        return (self.rank + number * self.world) % self.samples


def split_epoch(samples: int, *, rank: int = 0, world: int = 1, policy: str = "exact") -> Split:
    """Return the part of an epoch of `samples` samples that falls to `rank`, one of `world` ranks.

    policy  "drop"   every rank has samples // world; the last samples % world of the order are left out
            "pad"    every rank has ceil(samples / world); the order starts over to fill the last round
            "exact"  each sample once; the first samples % world ranks have one sample more
    Raises ValueError for numbers out of range, a rank beyond the world, or another policy.
    """
    check_whole("samples", samples, 0)
    check_whole("world", world, 1)
    check_whole("rank", rank, 0)
    if rank >= world:
        raise ValueError(f"rank is {rank} in a world of {world}: expected 0 to {world - 1}")
    if policy not in POLICIES:
        raise ValueError(f"policy is {policy!r}: expected 'drop', 'pad' or 'exact'")
    full, rest = divmod(samples, world)
    more = {"drop": 0, "pad": rest > 0, "exact": rank < rest}[policy]
    return Split(samples, rank, world, policy, full + int(more))


class BlockShuffleSampler(Sampler[int]):
    """Yields this rank's indices of an epoch. Use it as `DataLoader(dataset, batch_size=64, sampler=sampler)`.

    samples      the length of the dataset
    block        neighbours that stay together until they are mixed; the last block may be shorter
    window       blocks that are mixed at a time: block x window indices, or all, are held in memory
    seed         decides, with the epoch, about the order: the same on every rank
    rank, world  which of how many ranks this is; policy says what becomes of a remainder, see `splits.split_epoch`
    The order comes from numpy.random.default_rng with seed and epoch; workers do not matter to it, and any place in it
    is found without drawing what lies before. Raises ValueError for numbers out of range, and where
    "drop" would leave nothing.
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
    ):
        if isinstance(samples, Sized):
            raise TypeError(
                f"samples is a {type(samples).__name__}: expected its length, as len(dataset)"
            )
        for name, value in (("samples", samples), ("block", block), ("window", window)):
            check_whole(name, value, 1)
        check_whole("seed", seed, 0)
        self.split = split_epoch(samples, rank=rank, world=world, policy=policy)
        if policy == "drop" and not self.split.count:
            raise ValueError(
                f"{samples} samples give none of {world} ranks a whole share, and policy 'drop' leaves out"
                " the rest: use fewer processes, or 'pad'"
            )
        self.samples, self.window, self.seed = int(samples), int(window), int(seed)
        self.block = min(
            int(block), self.samples
        )  # a longer one would cost memory and give the same order
        self.rank, self.world, self.policy = rank, world, policy
        self.epoch = self.samples_done = 0

    def set_epoch(self, epoch: int, samples_done: int = 0) -> None:
        """Go to an epoch, and to what follows the first `samples_done` of this rank's samples; `fit` does it for you.

        Raises ValueError for numbers below 0, or more samples than the rank has.
        """
        check_whole("epoch", epoch, 0)
        check_whole("samples_done", samples_done, 0)
        if samples_done > self.split.count:
            raise ValueError(
                f"samples_done is {samples_done}: expected at most {self.split.count}, as rank {self.rank} has an epoch"
            )
        self.epoch, self.samples_done = int(epoch), int(samples_done)

    def __len__(self) -> int:
        return self.split.count - self.samples_done

    def __iter__(self) -> Iterator[int]:
        blocks = np.arange(-(-self.samples // self.block), dtype=np.int64)
        np.random.default_rng([self.seed, self.epoch]).shuffle(blocks)
        missing = (
            len(blocks) * self.block - self.samples
        )  # what the last block lacks, wherever it has come to lie
        size, number, epoch = self.block * self.window, self.samples_done, self.epoch
        short_end = (int(np.argmax(blocks)) // self.window + 1) * size - missing
        while number < self.split.count:
            position = self.split.position(number)
            lacking = missing if position >= short_end else 0
            window = (position + lacking) // size
            order = self._mixed(
                blocks[window * self.window : (window + 1) * self.window], window, epoch
            )
            mine = order[position + lacking - window * size :: self.world][
                : self.split.count - number
            ]
            yield from mine.tolist()
            number += len(mine)

    def _mixed(self, blocks: np.ndarray, window: int, epoch: int) -> np.ndarray:
        """The indices of a window's blocks, mixed by random numbers of the window's own."""
        indices = (blocks[:, None] * self.block + np.arange(self.block)).ravel()
        indices = indices[indices < self.samples]
        # From 1 on: NumPy pads a seed with zeros, so [seed, epoch, 0] would be the very numbers of [seed, epoch].
        np.random.default_rng([self.seed, epoch, window + 1]).shuffle(indices)
        return indices
