"""Drawings with controls, one for each idea."""

from dlhelpers.explore.averages import explore_averages
from dlhelpers.explore.batches import explore_batches
from dlhelpers.explore.digit import explore_digit
from dlhelpers.explore.gradients import explore_gradients
from dlhelpers.explore.kinds import explore_kinds
from dlhelpers.explore.lanes import explore_lanes
from dlhelpers.explore.memory import explore_memory
from dlhelpers.explore.plan import explore_plan, network
from dlhelpers.explore.price import explore_price
from dlhelpers.explore.ranks import explore_ranks
from dlhelpers.explore.reads import explore_reads
from dlhelpers.explore.shuffle import explore_shuffle
from dlhelpers.explore.step import explore_step
from dlhelpers.explore.steps import explore_steps
from dlhelpers.explore.stream import explore_stream
