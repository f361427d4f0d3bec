"""Tests of `splits`: each policy's counts and positions, also for thousands of ranks."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlhelpers.data import POLICIES, split_epoch

policies = st.sampled_from(POLICIES)


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


@given(st.integers(1, 300), st.integers(1, 40), policies)
def test_ranks_take_turns_in_the_order_of_the_epoch(samples, world, policy):
    taken = shares(samples, world, policy)
    rounds = [share[turn] for turn in range(len(taken[0])) for share in taken if turn < len(share)]
    assert rounds == [turn % samples for turn in range(len(rounds))]


@pytest.mark.parametrize("samples", [10**8 + 1, 4095, 3])
def test_counts_are_exact_for_many_ranks(samples):
    world, total = 1000, {}
    for policy in POLICIES:
        splits = [split_epoch(samples, rank=k, world=world, policy=policy) for k in range(world)]
        total[policy] = sum(map(len, splits))
    assert total["exact"] == samples
    assert total["drop"] == samples - samples % world
    assert total["pad"] == samples + -samples % world


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"samples": 5, "world": 2, "rank": 2}, "rank is 2 in a world of 2: expected 0 to 1"),
        ({"samples": 5, "policy": "even"}, "policy is 'even': expected 'drop', 'pad' or 'exact'"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        split_epoch(**arguments)


def test_nothing_can_be_shared_too():
    assert shares(0, 2, "pad") == shares(0, 2, "exact") == shares(0, 2, "drop") == [[], []]
