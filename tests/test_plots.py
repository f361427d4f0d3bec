"""Figures: labels with units, a sentence made of the numbers that are drawn, the `ax` returned, colours by name."""

import html
import math
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from dlhelpers.show import (
    PALETTE,
    plot_batches,
    plot_history,
    plot_images,
    plot_lines,
    plot_runs,
    show,
)
from dlhelpers.train import EpochResult, History


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def draw_lines():
    series = {"fixed": [1.0, 0.5, 0.25], "flat": [2, 2, 2]}
    return plot_lines([1, 2, 4], series, xlabel="batch size (samples)", ylabel="memory (MB)")


def history():
    rows = ("train", 1, 2.0), ("train", 2, 1.5), ("valid", 1, 2.5), ("valid", 2, 1.75)
    return History(EpochResult(*row, {"accuracy": 0.5}) for row in rows)


def test_a_picture_says_the_same_in_html_and_in_plain_text():
    ax = draw_lines()
    picture = show(ax)
    assert repr(picture) == f"Figure: {picture.alt}"
    assert html.unescape(re.search(r'alt="([^"]*)"', picture._repr_html_())[1]) == picture.alt
    assert "data:image/png;base64,iVBOR" in picture._repr_html_()
    assert ax.figure.number not in plt.get_fignums(), "it would be shown a second time"


def test_a_sentence_of_ones_own_replaces_the_plots_and_is_escaped_after_a_title():
    ax = draw_lines()
    picture = show(ax, 'A "small" set & a < b.', title="Flat wins")
    assert picture.alt == 'Flat wins. A "small" set & a < b.'
    assert 'alt="Flat wins. A &quot;small&quot; set &amp; a &lt; b."' in picture.html
    assert ax.get_title(loc="left") == "Flat wins"


def test_lines_have_labels_with_units_and_a_sentence_of_their_numbers():
    ax = draw_lines()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("batch size (samples)", "memory (MB)")
    assert show(ax).alt == (
        "memory (MB) against batch size (samples), 1 to 4."
        " fixed: between 0.25 and 1, from 1 to 0.25. flat: 2 throughout."
    )


def test_lines_draw_the_numbers_they_are_given_and_differ_in_more_than_colour():
    first, second = draw_lines().get_lines()
    assert list(first.get_xdata()) == [1, 2, 4] and list(first.get_ydata()) == [1.0, 0.5, 0.25]
    assert list(second.get_ydata()) == [2, 2, 2]
    assert [text.get_text() for text in first.axes.get_legend().get_texts()] == ["fixed", "flat"]
    assert (first.get_color(), second.get_color()) == PALETTE[:2]
    assert first.get_linestyle() != second.get_linestyle()
    assert first.get_marker() != second.get_marker()


COLOUR = torch.arange(3 * 16.0).view(3, 4, 4) / 47
GREY = COLOUR[:1]


@pytest.mark.parametrize("image", [COLOUR, GREY.clone().requires_grad_()])
def test_an_image_is_drawn_as_it_is_a_grey_one_from_black_to_white(image):
    (drawn,) = plot_images([image], ["colour"]).images
    assert np.allclose(drawn.get_array(), image.detach().permute(1, 2, 0).squeeze())
    assert drawn.get_clim() == (0, 1)


def test_bytes_are_drawn_from_0_to_255():
    pixels = torch.tensor([[[0, 51], [102, 255]]], dtype=torch.uint8)
    (drawn,) = plot_images([pixels], ["bytes"]).images
    assert np.allclose(drawn.get_array().squeeze(), [[0, 0.2], [0.4, 1]])


def test_a_whole_batch_stands_in_rows_with_its_labels_as_captions():
    batch = torch.stack([torch.full((3, 4, 4), k / 10) for k in range(10)])
    ax = plot_images(batch, range(10), columns=8)
    assert [image.get_extent()[3] for image in ax.images] == [0] * 8 + [1.35] * 2
    assert ax.images[7].get_array().max() == pytest.approx(0.7)


def test_a_history_is_drawn_over_whole_epochs():
    assert show(plot_history(history())).alt == (
        "loss against epoch, 1 to 2. train loss: between 1.5 and 2, from 2 to 1.5."
        " valid loss: between 1.75 and 2.5, from 2.5 to 1.75."
    )
    accuracies = show(plot_history(history(), "accuracy")).alt
    assert "train accuracy: 0.5 throughout." in accuracies


def test_an_epoch_that_was_broken_off_leaves_a_gap_or_no_line():
    broken_off = history()
    broken_off[-1].complete = False
    ax = plot_history(broken_off)
    assert list(ax.get_lines()[1].get_ydata()) == pytest.approx([2.5, math.nan], nan_ok=True)
    assert "valid loss: 2.5 throughout." in show(ax).alt


# Batches as boxes


def test_batches_are_drawn_as_rows_of_numbered_boxes():
    ax = plot_batches([[3, 1], [0]], [2])
    words = [text.get_text() for text in ax.texts]
    assert words == ["3", "1", "batch 0", "0", "batch 1", "2", "left out"]
    assert [bool(patch.get_hatch()) for patch in ax.patches] == [False, False, False, True]
    assert "samples" in ax.get_xlabel()
    assert show(plot_batches([], [0, 1])).alt == "2 samples in 0 batches; 2 left out."


# Runs with several seeds

RUNS = {"16": [([0, 10], [2.0, 0.5]), ([0, 12], [2.0, 0.75])], "128": [([0, 5, 9], [2.0, 1.5, 1])]}


def test_each_run_is_a_line_at_its_own_places_and_the_sentence_says_where_they_end():
    ax = plot_runs(RUNS, xlabel="steps", ylabel="loss")
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines]
    assert drawn == sum(RUNS.values(), [])
    first, second, other = [(line.get_color(), line.get_linestyle()) for line in ax.lines]
    assert first == second and not {*first} & {*other}
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["16", "128"]
    assert show(ax).alt == (
        "loss against steps. 16: 2 runs, ending between 0.5 and 0.75."
        " 128: 1 run, ending between 1 and 1."
    )
