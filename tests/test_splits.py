"""Tests of `splits`: each policy's counts and positions, also for thousands of ranks."""

import tracemalloc
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


def test_pad_cycles_where_there_are_fewer_samples_than_ranks():
    assert shares(2, 5, "pad") == [[0], [1], [0], [1], [0]]


@given(st.integers(1, 300), st.integers(1, 40), policies)
def test_ranks_take_turns_in_the_order_of_the_epoch(samples, world, policy):
    taken = shares(samples, world, policy)
    rounds = [share[turn] for turn in range(len(taken[0])) for share in taken if turn < len(share)]
    assert rounds == [turn % samples for turn in range(len(rounds))]


@pytest.mark.parametrize("world", [64, 100, 1000, 1024, 4096])
@pytest.mark.parametrize("samples", [10**8, 10**8 + 1, 50_000, 4095, 3])
def test_counts_are_exact_for_many_ranks(samples, world):
    total = {}
    for policy in POLICIES:
        counts = [
            len(split_epoch(samples, rank=rank, world=world, policy=policy))
            for rank in range(world)
        ]
        total[policy] = sum(counts)
        assert max(counts) - min(counts) == (samples % world > 0 if policy == "exact" else 0)
    assert total["exact"] == samples
    assert total["drop"] == samples - samples % world
    assert total["pad"] == samples + -samples % world


def test_a_split_of_100_million_samples_holds_only_its_numbers():
    tracemalloc.start()
    splits = [split_epoch(10**8 + 1, rank=rank, world=64, policy="pad") for rank in range(64)]
    assert sum(len(split) for split in splits) == 10**8 + 64
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


@pytest.mark.parametrize("number", [-1, 3])
def test_a_number_that_a_rank_does_not_have_is_refused(number):
    with pytest.raises(IndexError, match="rank 1 has 3 samples, and none is"):
        split_epoch(10, rank=1, world=3).position(number)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"samples": -1}, "samples is -1: expected a whole number, at least 0"),
        ({"samples": 2.0}, "samples is 2.0: expected a whole number"),
        ({"samples": True}, "samples is True"),
        ({"samples": 5, "world": 0}, "world is 0: expected a whole number, at least 1"),
        ({"samples": 5, "world": 2, "rank": 2}, "rank is 2 in a world of 2: expected 0 to 1"),
        ({"samples": 5, "rank": -1}, "rank is -1"),
        ({"samples": 5, "policy": "even"}, "policy is 'even': expected 'drop', 'pad' or 'exact'"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        split_epoch(**arguments)


def test_nothing_can_be_shared_too():
    assert shares(0, 2, "pad") == shares(0, 2, "exact") == shares(0, 2, "drop") == [[], []]
