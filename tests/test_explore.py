"""Explorers: controls redraw picture and sentence in time, and the twin stands still for readers without a kernel."""

import time

import ipywidgets
import pytest

from dlhelpers.data import batches_per_epoch
from dlhelpers.explore import explore_batches

TWIN = "10 samples in 3 batches, the last of 2; 0 left out."


@pytest.fixture
def explorer():
    return explore_batches(samples=10, batch_size=4)


def controls(explorer):
    return {child.description: child for child in explorer.widget.children if child.description}


def panel(explorer):
    return next(child for child in explorer.widget.children if isinstance(child, ipywidgets.HTML))


def test_it_shows_the_twin_and_the_widget_in_one_bundle(explorer):
    bundle = explorer._repr_mimebundle_()
    assert bundle["text/plain"] == f"Figure: {TWIN}"
    view = bundle["application/vnd.jupyter.widget-view+json"]
    assert view["model_id"] == explorer.widget.model_id
    assert not hasattr(explorer, "_ipython_display_"), "ipywidgets 7 would show the widget alone"


@pytest.mark.parametrize(
    ("control", "value", "sentence"),
    [
        ("samples", 12, "12 samples in 3 batches, the last of 4; 0 left out."),
        ("batch_size", 3, "10 samples in 4 batches, the last of 1; 0 left out."),
        ("drop_last", True, "10 samples in 2 batches, the last of 4; 2 left out."),
    ],
)
def test_a_control_changes_picture_and_sentence(explorer, control, value, sentence):
    before = panel(explorer).value
    controls(explorer)[control].value = value
    after = panel(explorer).value
    assert sentence in after and sentence not in before and "aria-live" in after
    assert after.partition("<img")[2] != before.partition("<img")[2]
    assert explorer.twin.alt == TWIN, "the twin stands still"


def test_another_epoch_changes_the_picture_and_never_the_counts(explorer):
    before = panel(explorer).value
    controls(explorer)["epoch"].value = 2
    after = panel(explorer).value
    assert after.partition("<img")[0] == before.partition("<img")[0] and after != before


def test_every_end_of_the_sliders_is_drawn_in_time(explorer):
    sliders = controls(explorer)
    assert set(sliders) == {"samples", "batch_size", "drop_last", "epoch"}
    slowest = 0
    for samples, batch_size, drop_last in ((24, 1, False), (24, 24, True), (1, 24, True)):
        begin = time.process_time()
        sliders["drop_last"].value = drop_last
        sliders["samples"].value = samples
        sliders["batch_size"].value = batch_size
        slowest = max(slowest, time.process_time() - begin)
        whole = batches_per_epoch(samples, batch_size, drop_last=drop_last)
        assert f"in {whole} batch" in panel(explorer).value
    assert slowest < 4, "three drawings; a quiet machine needs 0.3 seconds for each"


def test_a_number_beyond_a_slider_stands_at_its_end():
    assert explore_batches(10_000).twin.alt == "24 samples in 4 batches, the last of 6; 0 left out."
