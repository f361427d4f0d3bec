"""What training costs: plans, batch sizes, speeds, timelines, and probes that make it visible."""

from dlhelpers.measure.batch_sizes import BatchSizeStudy, BatchSizeTrial, study_batch_sizes
from dlhelpers.measure.inspecting import FolderReport, inspect_folder
from dlhelpers.measure.plans import Plan, plan
from dlhelpers.measure.probes import Waiting, WorkerReport, count_reads
from dlhelpers.measure.speed import LoaderSpeed, PipelineSpeed, loader_speed, pipeline_speed
from dlhelpers.measure.timelines import Timeline, timeline

__all__ = [
    "BatchSizeStudy",
    "BatchSizeTrial",
    "FolderReport",
    "LoaderSpeed",
    "PipelineSpeed",
    "Plan",
    "Timeline",
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
