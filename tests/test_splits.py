"""Tests of `splits`: which positions each policy gives to each rank."""

from hypothesis import given
from hypothesis import strategies as st

from dlhelpers.data import POLICIES, split_epoch


@given(st.integers(0, 300), st.integers(1, 40), st.sampled_from(POLICIES))
def test_ranks_take_turns_in_what_a_policy_makes_of_the_epoch(samples, world, policy):
    rest = samples % world
    length = samples + {"drop": -rest, "pad": -samples % world, "exact": 0}[policy]
    order = [position % samples for position in range(length)]
    for rank in range(world):
        split = split_epoch(samples, rank=rank, world=world, policy=policy)
        taken = [split.position(number) for number in range(len(split))]
        assert taken == order[rank::world]
