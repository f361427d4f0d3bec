"""Drawings with controls, one for each idea."""

from dlhelpers.explore.averages import explore_averages
from dlhelpers.explore.batches import explore_batches
from dlhelpers.explore.gradients import explore_gradients
from dlhelpers.explore.lanes import explore_lanes
from dlhelpers.explore.memory import explore_memory

__all__ = [
    "explore_averages",
    "explore_batches",
    "explore_gradients",
    "explore_lanes",
    "explore_memory",
]
