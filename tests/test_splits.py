"""Tests of `splits`: each policy's counts and positions, also for thousands of ranks."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from dlhelpers.data import split_epoch


def shares(samples, world, policy):
    """Return the positions that each rank takes."""
    splits = [split_epoch(samples, rank=rank, world=world, policy=policy) for rank in range(world)]
    return [[split.position(number) for number in range(len(split))] for split in splits]


@given(st.integers(1, 300), st.integers(1, 40))
def test_exact_takes_each_sample_once(samples, world):
    taken = shares(samples, world, "exact")
    assert sorted(sum(taken, [])) == list(range(samples))
    lengths = [len(share) for share in taken]
    assert max(lengths) - min(lengths) <= 1 and lengths == sorted(lengths, reverse=True)


@given(st.integers(1, 300), st.integers(1, 40))
def test_drop_leaves_out_the_end_and_no_more(samples, world):
    taken = shares(samples, world, "drop")
    assert sorted(sum(taken, [])) == list(range(samples - samples % world))
    assert {len(share) for share in taken} == {samples // world}


@given(st.integers(1, 300), st.integers(1, 40))
def test_pad_starts_over_and_repeats_no_sample_more_than_it_must(samples, world):
    taken = shares(samples, world, "pad")
    each = -(-samples // world)
    assert {len(share) for share in taken} == {each}
    times = Counter(sum(taken, []))
    assert times == Counter(position % samples for position in range(each * world))
    assert set(times) == set(range(samples)) and max(times.values()) - min(times.values()) <= 1


def test_nothing_can_be_shared_too():
    assert shares(0, 2, "pad") == shares(0, 2, "exact") == shares(0, 2, "drop") == [[], []]
