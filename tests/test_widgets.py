"""The widget: its controls redraw picture and sentence, and its twin stands still for readers without a kernel."""

import sys

import ipywidgets
import pytest

from dlhelpers.data import batches_per_epoch
from dlhelpers.explore import explore_batches
from dlhelpers.explore.frames import WithTwin, draw_epoch
from dlhelpers.show import Picture


def controls(explorer):
    return {child.description: child for child in explorer.widget.children if child.description}


def panel(explorer):
    return next(child for child in explorer.widget.children if isinstance(child, ipywidgets.HTML))


def test_it_shows_the_twin_and_the_widget_in_one_bundle():
    explorer = explore_batches(samples=10, batch_size=4)
    bundle = explorer._repr_mimebundle_()
    assert bundle["text/plain"] == "Figure: 10 samples in 3 batches, the last of 2; 0 left out."
    assert (
        bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == explorer.widget.model_id
    )
    assert not hasattr(explorer, "_ipython_display_"), (
        "ipywidgets 7 would show the widget through it, without the twin"
    )


@pytest.mark.parametrize(
    ("control", "value", "sentence"),
    [
        ("samples", 12, "12 samples in 3 batches, the last of 4; 0 left out."),
        ("batch size", 3, "10 samples in 4 batches, the last of 1; 0 left out."),
        ("drop_last", True, "10 samples in 2 batches, the last of 4; 2 left out."),
    ],
)
def test_a_control_changes_picture_and_sentence(control, value, sentence):
    explorer = explore_batches(samples=10, batch_size=4)
    before = panel(explorer).value
    controls(explorer)[control].value = value
    after = panel(explorer).value
    assert sentence in after and sentence not in before
    assert after.partition("<img")[2] != before.partition("<img")[2]
    assert explorer.twin.alt == "10 samples in 3 batches, the last of 2; 0 left out.", (
        "the twin stands still"
    )


def test_another_epoch_changes_the_picture_and_never_the_counts():
    explorer = explore_batches(samples=10, batch_size=4)
    before = panel(explorer).value
    controls(explorer)["epoch"].value = 2
    after = panel(explorer).value
    assert after.partition("<img")[0] == before.partition("<img")[0] and after != before


def test_every_control_has_a_description_and_the_sentence_is_read_aloud():
    explorer = explore_batches()
    assert set(controls(explorer)) == {"samples", "batch size", "drop_last", "epoch"}
    assert "aria-live" in panel(explorer).value


def test_more_than_the_sliders_had_room_for_is_drawn_as_it_was_asked_for():
    explorer = explore_batches(samples=100, batch_size=50)
    assert explorer.twin.alt == "100 samples in 2 batches, the last of 50; 0 left out."
    assert (controls(explorer)["samples"].max, controls(explorer)["batch size"].max) == (100, 50)


def test_every_position_of_the_sliders_draws():
    sliders = controls(explore_batches())
    for samples in (sliders["samples"].min, sliders["samples"].max):
        for batch_size in (sliders["batch size"].min, sliders["batch size"].max):
            for drop_last in (False, True):
                whole = batches_per_epoch(samples, batch_size, drop_last=drop_last)
                assert f"in {whole} batch" in draw_epoch(samples, batch_size, drop_last).alt


def test_without_ipywidgets_there_is_a_still_picture(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    picture = explore_batches(samples=10, batch_size=4)
    assert isinstance(picture, Picture) and not isinstance(picture, WithTwin)
    assert picture.alt == "10 samples in 3 batches, the last of 2; 0 left out."
