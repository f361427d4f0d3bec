"""Samples: made, counted, streamed, and in which order they come."""

from dlhelpers.data.counting import batches_per_epoch, describe, count, LoaderSummary
from dlhelpers.data.datasets import load, ImageDataset, NumberedImages, Shapes
from dlhelpers.data.drawn import SHAPES, draw_shapes
from dlhelpers.data.sampling import BlockShuffleSampler, Split, split_epoch, POLICIES
from dlhelpers.data.streams import Stream, SplitStream, shuffle_buffer

__all__ = ["BlockShuffleSampler", "ImageDataset", "LoaderSummary", "NumberedImages", "POLICIES", "SHAPES", "Shapes", "Split", "SplitStream", "Stream", "batches_per_epoch", "count", "describe", "draw_shapes", "load", "shuffle_buffer", "split_epoch"]
