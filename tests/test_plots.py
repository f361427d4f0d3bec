"""Figures: labels with units, a sentence made of the numbers that are drawn, the `ax` given back, colours by name."""

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
    plot_steps,
    show,
)
from dlhelpers.train import EpochResult, History


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def draw_lines(ax=None):
    series = {"fixed": [1.0, 0.5, 0.25], "flat": [2, 2, 2]}
    return plot_lines([1, 2, 4], series, xlabel="batch size (samples)", ylabel="memory (MB)", ax=ax)


def history(**columns):
    results = History()
    for phase, values in {"train": [2.0, 1.5], "valid": [2.5, 1.75], **columns}.items():
        for epoch, loss in enumerate(values, 1):
            results.add(EpochResult(phase, epoch, loss, {"accuracy": loss / 10}))
    return results


DRAWINGS = {
    "images": lambda ax: plot_images([torch.zeros(1, 8, 8)], [7], ax=ax),
    "batches": lambda ax: plot_batches([[3, 1], [0]], [2], ax=ax),
    "steps": lambda ax: plot_steps([[[3, 1], [0]]], 1, ax=ax),
    "lines": draw_lines,
    "runs": lambda ax: plot_runs({"16": [([0, 1], [2, 1])]}, xlabel="steps", ylabel="loss", ax=ax),
    "history": lambda ax: plot_history(history(), ax=ax),
}


@pytest.mark.parametrize("draw", DRAWINGS.values(), ids=DRAWINGS)
def test_a_plot_draws_on_the_ax_it_is_given_and_says_the_same_in_html_and_in_plain_text(draw):
    ax = plt.subplots()[1]
    assert draw(ax) is ax and draw(None) is not ax
    picture = show(ax)
    bundle = picture._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert bundle["text/plain"] == f"Figure: {picture.alt}" == repr(picture)
    assert html.unescape(re.search(r'alt="([^"]*)"', bundle["text/html"])[1]) == picture.alt
    assert "data:image/png;base64,iVBOR" in bundle["text/html"]
    assert ax.figure.number not in plt.get_fignums(), "it would be shown a second time"


def test_a_sentence_of_ones_own_replaces_the_plots_and_is_escaped():
    picture = show(draw_lines(), 'A "small" set & a < b.')
    assert picture.alt == 'A "small" set & a < b.'
    assert 'alt="A &quot;small&quot; set &amp; a &lt; b."' in picture.html


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
    assert first.get_color() == PALETTE[0] and second.get_color() == PALETTE[1]
    assert first.get_linestyle() != second.get_linestyle()
    assert first.get_marker() != second.get_marker()


def test_losses_that_were_kept_as_tensors_with_gradients_are_drawn():
    losses = [torch.tensor(value, requires_grad=True) for value in (2.0, 1.0)]
    (line,) = plot_lines(range(2), {"loss": losses}, xlabel="step", ylabel="loss").get_lines()
    assert list(line.get_ydata()) == [2.0, 1.0]


GREY = torch.linspace(0, 1, 16).view(1, 4, 4)
COLOUR = torch.arange(3 * 16.0).view(3, 4, 4) / 47


@pytest.mark.parametrize(
    "image",
    [GREY, GREY[0], GREY.permute(1, 2, 0), GREY.numpy(), GREY.clone().requires_grad_()],
    ids=["(1, H, W)", "(H, W)", "(H, W, 1)", "NumPy", "gradients"],
)
def test_a_grey_image_of_each_form_is_drawn_as_it_is(image):
    (drawn,) = plot_images([image], ["grey"]).images
    assert np.allclose(drawn.get_array(), GREY[0]) and drawn.get_clim() == (0, 1)


@pytest.mark.parametrize("image", [COLOUR, COLOUR.permute(1, 2, 0)], ids=["(C, H, W)", "(H, W, C)"])
def test_a_colour_image_of_both_forms_is_drawn_as_it_is(image):
    (drawn,) = plot_images([image], ["colour"]).images
    assert np.allclose(drawn.get_array(), COLOUR.permute(1, 2, 0))


def test_whole_numbers_are_bytes_and_masks_are_black_and_white():
    pixels = torch.tensor([[0, 51], [102, 255]], dtype=torch.uint8)
    drawn = plot_images([pixels, pixels.long(), pixels > 60], ["bytes", "long", "mask"]).images
    for image in drawn[:2]:
        assert np.allclose(image.get_array(), [[0, 0.2], [0.4, 1]])
    assert drawn[2].get_array().tolist() == [[0, 0], [1, 1]]


def test_a_whole_batch_stands_in_rows_with_its_labels_as_captions():
    batch = torch.stack([torch.full((3, 4, 4), k / 10) for k in range(10)])
    ax = plot_images(batch, torch.arange(10), columns=8)
    assert [text.get_text() for text in ax.texts] == [str(k) for k in range(10)]
    assert [image.get_extent()[3] for image in ax.images] == [0] * 8 + [1.35] * 2
    assert ax.images[7].get_array().max() == pytest.approx(0.7)
    assert show(ax).alt == "10 images, with captions 0, 1, 2, 3, 4, 5, 6, 7, 8, 9."


def test_a_history_is_drawn_over_whole_epochs():
    ax = plot_history(history())
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "loss")
    assert show(ax).alt == (
        "loss against epoch, 1 to 2. train loss: between 1.5 and 2, from 2 to 1.5."
        " valid loss: between 1.75 and 2.5, from 2.5 to 1.75."
    )
    assert "accuracy" in show(plot_history(history(), "accuracy")).alt


def test_a_column_of_a_history_is_drawn_alone():
    assert show(plot_history(history(), "train_loss")).alt == (
        "train_loss against epoch, 1 to 2. train loss: between 1.5 and 2, from 2 to 1.5."
    )


def test_a_history_is_drawn_at_the_epochs_that_it_has_and_for_each_phase():
    results = History()
    for epoch in (4, 6):
        results.add(EpochResult("held_out", epoch, 1 / epoch, {"top_1": epoch / 8}))
    (line,) = plot_history(results).get_lines()
    assert list(line.get_xdata()) == [4, 6] and line.get_label() == "held out loss"
    assert show(plot_history(results, "top_1")).alt == (
        "top_1 against epoch, 4 to 6. held out top 1: between 0.5 and 0.75, from 0.5 to 0.75."
    )


def test_an_epoch_that_was_broken_off_leaves_a_gap_or_no_line():
    broken_off = history(valid=[2.5])
    broken_off.add(EpochResult("valid", 2, 9.0, complete=False))
    ax = plot_history(broken_off)
    assert list(ax.get_lines()[1].get_ydata()) == pytest.approx([2.5, math.nan], nan_ok=True)
    assert "valid loss: 2.5 throughout." in show(ax).alt
    broken_off = history(valid=[])
    broken_off.add(EpochResult("valid", 2, 9.0, complete=False))
    assert [line.get_label() for line in plot_history(broken_off).get_lines()] == ["train loss"]
