"""Share an epoch between ranks: which positions of its order are whose, and what becomes of a remainder.

`samples` seldom divide by the number of ranks, so one of three things must give, and you say which: a few samples are
left out (drop), a few are taken twice (pad), or ranks differ by one sample (exact).
"""

from dataclasses import dataclass

import numpy as np

from dlhelpers.whole_numbers import check_whole

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
            raise IndexError(f"number {number} is not among the {self.count} samples of rank {self.rank}:"
                             f" expected 0 to {self.count - 1}")  # fmt: skip
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
