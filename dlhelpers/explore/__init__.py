"""Drawings with sliders, one for each idea."""

from dlhelpers.explore.batches import explore_batches

__all__ = ["explore_batches"]
