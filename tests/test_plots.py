"""Figures: labels with units, a sentence made of the numbers that are drawn, the `ax` given back, colours by name."""

import html
import math
import re

import matplotlib.pyplot as plt
import pytest
import torch

from dlhelpers.show import PALETTE, plot_batches, plot_history, plot_images, plot_lines, show
from dlhelpers.show.plots import DASHES, MARKERS
from dlhelpers.train import EpochResult, History


@pytest.fixture
def ax():
    yield plt.subplots()[1]
    plt.close("all")


def draw_lines(ax=None):
    series = {"fixed": [1.0, 0.5, 0.25], "flat": [2, 2, 2]}
    return plot_lines([1, 2, 4], series, xlabel="batch size (samples)", ylabel="memory (MB)", ax=ax)


def history(**columns):
    losses = {"train": [2.0, 1.5], "valid": [2.5, 1.75], **columns}
    results = History()
    for phase, values in losses.items():
        for epoch, loss in enumerate(values, 1):
            results.add(EpochResult(phase, epoch, loss, {"accuracy": loss / 10}))
    return results


DRAWINGS = {
    "images": lambda ax: plot_images([torch.zeros(1, 8, 8)], [7], ax=ax),
    "batches": lambda ax: plot_batches([[3, 1], [0]], [2], ax=ax),
    "lines": draw_lines,
    "history": lambda ax: plot_history(history(), ax=ax),
}


@pytest.mark.parametrize("draw", DRAWINGS.values(), ids=DRAWINGS)
def test_a_plot_returns_the_ax_it_was_given_and_makes_one_where_there_is_none(draw, ax):
    assert draw(ax) is ax
    assert draw(None) is not ax


@pytest.mark.parametrize("draw", DRAWINGS.values(), ids=DRAWINGS)
def test_a_picture_says_the_same_in_html_and_in_plain_text(draw, ax):
    picture = show(draw(ax))
    bundle = picture._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert bundle["text/plain"] == f"Figure: {picture.alt}" == repr(picture)
    assert html.unescape(re.search(r'alt="([^"]*)"', bundle["text/html"])[1]) == picture.alt
    assert "data:image/png;base64,iVBOR" in bundle["text/html"]


def test_showing_closes_the_figure_or_it_would_be_shown_twice(ax):
    show(draw_lines(ax))
    assert ax.figure.number not in plt.get_fignums()


def test_a_sentence_of_ones_own_replaces_the_plots_and_is_escaped():
    picture = show(draw_lines(), 'A "small" set & a < b.')
    assert picture.alt == 'A "small" set & a < b.'
    assert 'alt="A &quot;small&quot; set &amp; a &lt; b."' in picture.html


def test_a_figure_that_says_nothing_is_refused(ax):
    with pytest.raises(
        ValueError, match="this figure has no sentence: pass one that says, with its numbers"
    ):
        show(ax)


def test_lines_have_labels_with_units_and_a_sentence_of_their_numbers():
    ax = draw_lines()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("batch size (samples)", "memory (MB)")
    assert show(ax).alt == (
        "memory (MB) against batch size (samples), 1 to 4."
        " fixed: between 0.25 and 1, from 1 to 0.25. flat: 2 throughout."
    )


def test_lines_draw_the_numbers_they_are_given():
    first, second = draw_lines().get_lines()
    assert list(first.get_xdata()) == [1, 2, 4] and list(first.get_ydata()) == [1.0, 0.5, 0.25]
    assert list(second.get_ydata()) == [2, 2, 2]
    assert [text.get_text() for text in first.axes.get_legend().get_texts()] == ["fixed", "flat"]


def test_lines_differ_in_more_than_colour():
    looks = [
        (line.get_color(), line.get_linestyle(), line.get_marker())
        for line in draw_lines().get_lines()
    ]
    assert looks == list(zip(PALETTE[:2], DASHES[:2], MARKERS[:2], strict=True))
    assert all(len(set(column)) == 2 for column in zip(*looks, strict=True))


def test_a_series_of_another_length_is_refused():
    with pytest.raises(ValueError, match="series 'loss' has 1 values for 2 places on the x axis"):
        plot_lines([1, 2], {"loss": [3]}, xlabel="epoch", ylabel="loss")


def test_batches_are_drawn_as_rows_of_numbered_boxes():
    ax = plot_batches([[3, 1], [0]], [2])
    assert [text.get_text() for text in ax.texts] == ["3", "1", "0", "2"]
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "batch 1",
        "batch 2",
        "left out",
    ]
    assert [bool(patch.get_hatch()) for patch in ax.patches] == [False, False, False, True]
    assert "samples" in ax.get_xlabel()
    assert show(ax).alt == "4 samples in 2 batches, the last of 1; 1 left out."


@pytest.mark.parametrize(
    ("batches", "left_out", "sentence"),
    [
        ([[0]], [], "1 sample in 1 batch, the last of 1; 0 left out."),
        ([], [0, 1], "2 samples in 0 batches; 2 left out."),
        ([], [], "0 samples in 0 batches; 0 left out."),
        ([list(range(50))], [], "50 samples in 1 batch, the last of 50; 0 left out."),
    ],
)
def test_batches_of_every_number_are_drawn(batches, left_out, sentence):
    assert show(plot_batches(batches, left_out)).alt == sentence


def test_images_stand_in_rows_with_their_captions():
    ax = plot_images([torch.full((3, 4, 4), k / 10) for k in range(10)], range(10), columns=8)
    assert [text.get_text() for text in ax.texts] == [str(k) for k in range(10)]
    tops = [image.get_extent()[3] for image in ax.images]
    assert tops == [0] * 8 + [1.35] * 2
    assert ax.images[7].get_array().max() == pytest.approx(0.7)
    assert show(ax).alt == "10 images, with captions 0, 1, 2, 3, 4, 5, 6, 7, 8, 9."


@pytest.mark.parametrize(("images", "captions"), [([], []), ([torch.zeros(1, 2, 2)], [])])
def test_images_and_captions_of_unequal_number_are_refused(images, captions):
    with pytest.raises(
        ValueError, match=f"{len(images)} images and 0 captions: expected one caption an image"
    ):
        plot_images(images, captions)


def test_a_history_is_drawn_over_whole_epochs():
    ax = plot_history(history())
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "loss")
    assert show(ax).alt == (
        "loss against epoch, 1 to 2. train loss: between 1.5 and 2, from 2 to 1.5."
        " valid loss: between 1.75 and 2.5, from 2.5 to 1.75."
    )
    assert "accuracy" in show(plot_history(history(), "accuracy")).alt


def test_a_history_is_drawn_at_the_epochs_that_it_has_and_for_each_phase():
    results = History()
    for epoch in (4, 6):
        results.add(EpochResult("held_out", epoch, 1 / epoch, {"top_1": epoch / 8}))
    (line,) = plot_history(results).get_lines()
    assert list(line.get_xdata()) == [4, 6] and line.get_label() == "held out loss"
    assert show(plot_history(results, "top_1")).alt == (
        "top_1 against epoch, 4 to 6. held out top 1: between 0.5 and 0.75, from 0.5 to 0.75."
    )


def test_a_phase_that_lacks_an_epoch_has_a_gap_there():
    broken_off = history(valid=[2.5])
    broken_off.add(EpochResult("valid", 2, 9.0, complete=False))
    ax = plot_history(broken_off)
    assert list(ax.get_lines()[1].get_ydata()) == pytest.approx([2.5, math.nan], nan_ok=True)
    assert "valid loss: 2.5 throughout." in show(ax).alt


def test_a_phase_without_a_finished_epoch_is_left_out():
    broken_off = history(valid=[])
    broken_off.add(EpochResult("valid", 2, 9.0, complete=False))
    assert [line.get_label() for line in plot_history(broken_off).get_lines()] == ["train loss"]


def test_a_series_of_gaps_is_refused():
    with pytest.raises(
        ValueError, match="series 'loss' has nothing to draw: expected at least one number"
    ):
        plot_lines([1, 2], {"loss": [math.nan] * 2}, xlabel="epoch", ylabel="loss")


def test_a_name_that_a_history_lacks_is_refused_with_those_it_has():
    with pytest.raises(KeyError, match="no 'f1' in this history: it has .*train_loss"):
        plot_history(history(), "f1")
    with pytest.raises(KeyError, match="it has no finished epoch"):
        plot_history(History())
