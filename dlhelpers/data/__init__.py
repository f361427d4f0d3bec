"""Samples: made, counted, streamed, and in which order they come."""

from dlhelpers.data.batch_counts import batches_per_epoch, count, describe
from dlhelpers.data.datasets import ImageDataset, NumberedImages, Shapes, load
from dlhelpers.data.drawn_images import SHAPES, draw_shapes
from dlhelpers.data.folders import ImageFiles
from dlhelpers.data.sampling import POLICIES, BlockShuffleSampler, split_epoch
from dlhelpers.data.streams import SplitStream, Stream, shuffle_buffer

__all__ = [
    "BlockShuffleSampler",
    "ImageDataset",
    "ImageFiles",
    "NumberedImages",
    "POLICIES",
    "SHAPES",
    "Shapes",
    "SplitStream",
    "Stream",
    "batches_per_epoch",
    "count",
    "describe",
    "draw_shapes",
    "load",
    "shuffle_buffer",
    "split_epoch",
]
