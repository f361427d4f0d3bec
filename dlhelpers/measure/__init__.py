"""What training costs: batch sizes, speeds, and probes that make it visible."""

from dlhelpers.measure.batch_sizes import BatchSizeStudy, BatchSizeTrial, study_batch_sizes
from dlhelpers.measure.probes import Waiting, WorkerReport, count_reads
from dlhelpers.measure.speed import LoaderSpeed, PipelineSpeed, loader_speed, pipeline_speed

__all__ = [
    "BatchSizeStudy",
    "BatchSizeTrial",
    "LoaderSpeed",
    "PipelineSpeed",
    "Waiting",
    "WorkerReport",
    "count_reads",
    "loader_speed",
    "pipeline_speed",
    "study_batch_sizes",
]
