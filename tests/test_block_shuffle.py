"""Tests of `block_shuffle`: each sample once, the same order for every number of workers, resume, little memory."""

import tracemalloc
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from dlhelpers.data import POLICIES, BlockShuffleSampler, split_epoch

sizes = st.tuples(
    st.integers(1, 200), st.integers(1, 30), st.integers(1, 8)
)  # samples, block, window


def sampler(sizes, epoch=0, **options):
    samples, block, window = sizes
    made = BlockShuffleSampler(samples, block=block, window=window, **options)
    made.set_epoch(epoch)
    return made


@settings(deadline=None)
@given(sizes, st.integers(1, 40), st.sampled_from(POLICIES), st.integers(0, 3))
@example((3, 2, 1), 4, "pad", 0)  # fewer samples than ranks
@example((10, 4, 1), 1, "exact", 0)  # a short last block that lies in the first window
@example((10, 4, 2), 1, "exact", 2)
def test_ranks_take_turns_in_the_order_that_one_rank_has(sizes, world, policy, epoch):
    alone = list(sampler(sizes, epoch))
    counted = Counter()
    for rank in range(world):
        mine = sampler(sizes, epoch, rank=rank, world=world, policy=policy)
        split = split_epoch(sizes[0], rank=rank, world=world, policy=policy)
        taken = list(mine)
        assert taken == [alone[position] for position in map(split.position, range(len(split)))]
        assert len(taken) == len(mine) == len(split)
        assert all(type(index) is int for index in taken)
        counted.update(taken)
    if policy == "exact":
        assert counted == Counter(range(sizes[0]))


@given(sizes)
def test_neighbours_stay_together_until_they_are_mixed(sizes):
    samples, block, window = sizes
    order = np.array(list(sampler(sizes)))
    start, seen = 0, set()
    while start < samples:  # window after window; one is shorter, by what the last block lacks
        blocks = set(order[start : start + block * window] // block)
        end = start + block * window - (-samples % block if (samples - 1) // block in blocks else 0)
        blocks = set(order[start:end] // block)
        assert len(blocks) <= window and not blocks & seen
        start, seen = end, seen | blocks


@settings(deadline=None)
@given(sizes, st.integers(1, 5), st.sampled_from(POLICIES), st.data())
def test_resume_gives_exactly_what_was_left(sizes, world, policy, data):
    mine = sampler(
        sizes, 4, rank=data.draw(st.integers(0, world - 1)), world=world, policy=policy, seed=7
    )
    whole = list(mine)
    done = data.draw(st.integers(0, len(whole)))
    mine.set_epoch(4, samples_done=done)
    assert len(mine) == len(whole) - done
    assert list(mine) == list(mine) == whole[done:]
    mine.set_epoch(4)
    assert list(mine) == whole, "the next epoch is whole again"


@pytest.mark.parametrize(
    "sizes", [(100, 16, 4), (100, 100, 1), (100, 1, 1)]
)  # one block; blocks of one
def test_epochs_and_seeds_differ_and_repeat(sizes):
    orders = {
        (seed, epoch): tuple(sampler(sizes, epoch, seed=seed))
        for seed in range(5)
        for epoch in range(5)
    }
    assert len(set(orders.values())) == len(orders)
    assert orders[3, 4] == tuple(sampler(sizes, 4, seed=3))


def test_a_dataset_that_fits_one_window_is_shuffled_in_full():
    orders = [list(sampler((300, 30, 10), epoch)) for epoch in range(20)]
    far = [abs(a - b) for order in orders for a, b in pairwise(order)]
    assert np.mean(far) == pytest.approx(300 / 3, rel=0.05), (
        "two places of a random order lie a third apart on average"
    )


def test_ten_million_samples_need_under_5_mb():
    tracemalloc.start()
    mine = BlockShuffleSampler(10**7)
    mine.set_epoch(3, 9_876_543)
    indices = iter(mine)
    first = [next(indices) for _ in range(64)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(set(first)) == 64 and peak < 5_000_000


@pytest.mark.parametrize("done", [0, 5])
def test_batches_as_arrays_are_the_same_order_cut_up(done):
    place = {"rank": 1, "world": 3, "block": 10, "window": 3}
    one, batches = (BlockShuffleSampler(103, **place, batch_size=size) for size in (None, 8))
    for sampler in (one, batches):
        sampler.set_epoch(2, done)
    order = list(one)
    loader = DataLoader(range(103), batch_sampler=batches)
    found = [batch.tolist() for batch in loader]
    assert found == [order[k : k + 8] for k in range(0, len(order), 8)]
    assert len(loader) == len(found)
