"""Drawings with controls, one for each idea."""

from dlhelpers.explore.averages import explore_averages
from dlhelpers.explore.batches import explore_batches
from dlhelpers.explore.dataset_price import explore_price
from dlhelpers.explore.digit import explore_digit
from dlhelpers.explore.gradients import explore_gradients
from dlhelpers.explore.lanes import explore_lanes
from dlhelpers.explore.memory import explore_memory
from dlhelpers.explore.memory_kinds import explore_kinds
from dlhelpers.explore.plan import explore_plan, network
from dlhelpers.explore.ranks import explore_ranks
from dlhelpers.explore.reads import explore_reads
from dlhelpers.explore.shuffle import explore_shuffle
from dlhelpers.explore.step import explore_step
from dlhelpers.explore.steps import explore_steps
from dlhelpers.explore.stream import explore_stream

__all__ = [
    "explore_averages",
    "explore_batches",
    "explore_digit",
    "explore_gradients",
    "explore_kinds",
    "explore_lanes",
    "explore_memory",
    "explore_plan",
    "explore_price",
    "explore_ranks",
    "explore_reads",
    "explore_shuffle",
    "explore_step",
    "explore_steps",
    "explore_stream",
    "network",
]
