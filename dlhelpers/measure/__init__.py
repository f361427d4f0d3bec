"""What training costs: plans, batch sizes, speeds, timelines, and probes that make it visible."""

from dlhelpers.measure.batch_sizes import study_batch_sizes
from dlhelpers.measure.data_or_model import loader_speed, pipeline_speed
from dlhelpers.measure.inspecting import inspect_folder
from dlhelpers.measure.plans import plan
from dlhelpers.measure.probes import Waiting, WorkerReport, count_reads
from dlhelpers.measure.timelines import timeline

__all__ = [
    "Waiting",
    "WorkerReport",
    "count_reads",
    "inspect_folder",
    "loader_speed",
    "pipeline_speed",
    "plan",
    "study_batch_sizes",
    "timeline",
]
