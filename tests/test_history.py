"""Tests of `history`: columns, best, numbering, and how a broken-off epoch is kept apart."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlhelpers.train import EpochResult, History


def result(phase, epoch, loss, *, complete=True, **metrics):
    steps = 2 if phase == "train" else 0
    counts = {"samples": 10, "batches": 2, "optimizer_steps": steps, "seconds": 4.0}
    return EpochResult(phase, epoch, loss, metrics, **counts, complete=complete)


def filled(*results):
    history = History()
    for one in results:
        history.append(one)
    return history


@pytest.fixture
def two_epochs():
    return filled(
        result("train", 1, 2.0, accuracy=0.25),
        result("valid", 1, 1.5, accuracy=0.5),
        result("train", 2, 1.0, accuracy=0.75),
        result("valid", 2, 1.75, accuracy=0.5),
    )


def test_columns_read_losses_metrics_and_fields(two_epochs):
    assert two_epochs.column("train_loss") == [2.0, 1.0]
    assert two_epochs.column("valid_accuracy") == [0.5, 0.5]
    assert two_epochs.column("train_samples") == [10, 10]


def test_an_unknown_column_is_refused_with_the_known_ones(two_epochs):
    known = "this history has train_loss, train_accuracy, valid_loss"
    for name in ("train_f1", "test_loss", "loss"):
        with pytest.raises(KeyError, match=f"no column '{name}': {known}"):
            two_epochs.column(name)
    with pytest.raises(KeyError, match="no finished epoch"):
        History().column("train_loss")


def test_a_column_in_square_brackets_is_explained(two_epochs):
    with pytest.raises(TypeError, match=r"history.column\('train_loss'\) gives a column"):
        two_epochs["train_loss"]


def test_best_passes_over_what_is_no_number():
    losses = [math.nan, 0.5, 0.25, math.nan, 0.75]
    history = filled(*(result("valid", k, loss, f1=math.nan) for k, loss in enumerate(losses, 1)))
    assert history.best().epoch == 3 and history.best(mode="max").epoch == 5
    with pytest.raises(ValueError, match="valid_f1 is NaN in each finished epoch"):
        history.best("valid_f1")


@given(st.lists(st.floats(0, 9), min_size=1, max_size=8))
def test_best_agrees_with_min_and_max(losses):
    history = filled(*(result("valid", epoch, loss) for epoch, loss in enumerate(losses, 1)))
    assert history.best().loss == min(losses) and history.best(mode="max").loss == max(losses)
    assert history.best().epoch == losses.index(min(losses)) + 1
    with pytest.raises(KeyError, match="highest"):
        history.best(mode="highest")


def test_a_broken_off_epoch_is_in_no_column_and_not_counted(two_epochs):
    two_epochs.append(result("train", 3, 0.5, complete=False, accuracy=0.9))
    assert two_epochs.epochs == 2 and two_epochs.column("train_loss") == [2.0, 1.0]
    assert two_epochs.best("train_loss").epoch == 2
    assert two_epochs.table().rows[2][-1] == "no, broken off"
    two_epochs.append(result("train", 3, 0.25, accuracy=1.0))  # done again
    assert two_epochs.table().rows[2] == ["3", "0.250", "1.000", "", "", "yes"]


def test_to_dict_has_one_row_an_epoch_and_nan_for_a_phase_that_was_not_finished(two_epochs):
    two_epochs.append(result("train", 3, 0.5, accuracy=0.9))
    two_epochs.append(result("valid", 3, 0.5, complete=False, accuracy=0.9))
    columns = two_epochs.to_dict()
    assert list(columns) == ["train_loss", "train_accuracy", "valid_loss", "valid_accuracy"]
    assert columns["train_loss"] == [2.0, 1.0, 0.5]
    assert columns["valid_loss"][:2] == [1.5, 1.75] and math.isnan(columns["valid_loss"][2])


def test_the_table_has_a_row_an_epoch_and_tells_why_it_stopped(two_epochs):
    two_epochs.stop_reason = "interrupted"
    table = two_epochs.table()
    heads = ["epoch", "train loss", "train accuracy", "valid loss", "valid accuracy", "finished"]
    assert table.headers == heads
    assert table.rows[0] == ["1", "2.000", "0.250", "1.500", "0.500", "yes"]
    for text in (repr(two_epochs), two_epochs._repr_html_()):
        assert "stopped early: interrupted." in text
