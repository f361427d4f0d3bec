"""The drawings of counts: a box a sample, a frame a micro-batch, a row a batch, and the same numbers in words."""

import matplotlib.pyplot as plt
import pytest

from dlhelpers.show import plot_batches, plot_steps, show

TWO_EPOCHS = [[[3, 1, 4, 0], [2, 6, 5, 9], [8, 7]], [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]]


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def texts(ax):
    return [text.get_text() for text in ax.texts]


def holds(outer, inner):
    return outer.x0 < inner.x0 < inner.x1 < outer.x1 and outer.y0 < inner.y0 < inner.y1 < outer.y1


def frames(ax):
    return [patch for patch in ax.patches if patch.get_facecolor()[3] == 0]


def test_the_sentence_has_all_counts():
    assert show(plot_steps(TWO_EPOCHS, 3)).alt == (
        "2 epochs with 20 samples in all: 6 batches, 10 micro-batches of at most 3, 6 optimizer steps."
        " Samples of each batch by micro-batch: 3+1, 3+1, 2; 3+1, 3+1, 2."
    )


def test_each_sample_has_a_box_each_micro_batch_a_frame_and_each_batch_a_step():
    ax = plot_steps(TWO_EPOCHS, 3)
    assert [text for text in texts(ax) if text.isdigit()] == [
        str(n) for epoch in TWO_EPOCHS for n in sum(epoch, [])
    ]
    assert len(frames(ax)) == 10 and len(ax.patches) == 20 + 10
    steps = [text[2:] for text in texts(ax) if "optimizer" in text]
    assert steps == [f"optimizer step {k}" for k in range(1, 7)]
    assert texts(ax).count("batch 3") == 2
    assert [t for t in texts(ax) if t.startswith("epoch")] == ["epoch 1", "epoch 2"]


def test_a_frame_holds_the_boxes_of_its_micro_batch_and_no_other():
    ax = plot_steps([[[0, 1, 2, 3], [4, 5]]], 3)
    boxes = [patch for patch in ax.patches if patch.get_facecolor()[3] != 0]
    held = [sum(holds(frame.get_bbox(), box.get_bbox()) for box in boxes) for frame in frames(ax)]
    assert held == [3, 1, 2]


def test_batches_are_drawn_as_rows_of_numbered_boxes():
    ax = plot_batches([[3, 1], [0]], [2])
    assert texts(ax) == ["3", "1", "batch 1", "0", "batch 2", "2", "left out"]
    assert [bool(patch.get_hatch()) for patch in ax.patches] == [False, False, False, True]
    assert "samples" in ax.get_xlabel()
    assert show(ax).alt == "4 samples in 2 batches, the last of 1; 1 left out."


def test_without_a_whole_batch_all_samples_are_left_out():
    assert show(plot_batches([], [0, 1])).alt == "2 samples in 0 batches; 2 left out."
