"""The drawing of batches: a box a sample, a row a batch, and the same numbers in words."""

import matplotlib.pyplot as plt
import pytest

from dlhelpers.show import plot_batches, show


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_batches_are_drawn_as_rows_of_numbered_boxes():
    ax = plot_batches([[3, 1], [0]], [2])
    assert texts(ax) == ["3", "1", "batch 0", "0", "batch 1", "2", "left out"]
    assert [bool(patch.get_hatch()) for patch in ax.patches] == [False, False, False, True]
    assert "samples" in ax.get_xlabel()
    assert show(ax).alt == "4 samples in 2 batches, the last of 1; 1 left out."


def test_without_a_whole_batch_all_samples_are_left_out():
    assert show(plot_batches([], [0, 1])).alt == "2 samples in 0 batches; 2 left out."
