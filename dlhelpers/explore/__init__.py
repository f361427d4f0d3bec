"""Drawings with controls, one for each idea."""

from dlhelpers.explore.averages import explore_averages
from dlhelpers.explore.batches import explore_batches
from dlhelpers.explore.lanes import explore_lanes
from dlhelpers.explore.memory import explore_memory
from dlhelpers.explore.step import explore_step

__all__ = ["explore_averages", "explore_batches", "explore_lanes", "explore_memory", "explore_step"]
