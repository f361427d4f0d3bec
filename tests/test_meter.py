"""Tests of `tally`: exact means over samples, few reads, and an epoch that breaks off."""

import math
import sys
from contextlib import suppress

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlhelpers.train import History
from dlhelpers.train import meter as module
from dlhelpers.train.meter import Meter as Tally

CPU = torch.device("cpu")


def is_right(outputs, targets):
    return outputs.argmax(dim=1) == targets


def fill(tally, losses, sizes):
    """Add a batch for each loss, of which the first sample is right and all others are wrong."""
    for loss, size in zip(losses, sizes, strict=True):
        outputs = torch.zeros(size, 2)
        outputs[1:, 1] = 1.0
        tally.add(torch.tensor(loss), outputs, torch.zeros(size, dtype=torch.int64))


batches = st.lists(
    st.tuples(st.floats(0, 100, width=32), st.integers(1, 50)), min_size=1, max_size=30
)


@settings(deadline=None)
@given(batches, st.sampled_from([1, 2, 7, 512]))
def test_each_sample_weighs_the_same_however_often_sums_are_folded(batches, fold):
    losses, sizes = zip(*batches, strict=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "FOLD", fold)
        with Tally("valid", 1, CPU, {"right": is_right}) as tally:
            fill(tally, losses, sizes)
    expected = math.fsum(loss * size for loss, size in batches) / sum(sizes)
    assert math.isclose(tally.result.loss, expected, rel_tol=1e-12, abs_tol=1e-300)
    assert tally.result.metrics["right"] == len(batches) / sum(sizes)
    assert (tally.result.samples, tally.result.batches) == (sum(sizes), len(batches))


def test_the_published_mean_of_means_is_not_what_comes_out():
    with Tally("valid", 1, CPU, None) as tally:
        fill(tally, [1.0, 1.0, 4.0], [32, 32, 11])
    assert tally.result.loss == pytest.approx((32 + 32 + 44) / 75, rel=1e-15)
    assert tally.result.loss != pytest.approx(2.0)


def test_many_small_losses_are_not_lost_beside_a_large_one():
    with Tally("train", 1, CPU, None) as tally:
        fill(tally, [2.0**24] + [1.0] * 1000, [1] * 1001)  # in float32 each 1.0 would vanish
    assert tally.result.loss == (2**24 + 1000) / 1001


def test_the_first_bad_iteration_is_named_and_the_epoch_kept_as_broken_off():
    history = History()
    with pytest.raises(
        FloatingPointError,
        match=r"train loss of epoch 3, iteration 2 is not a finite.*lower learning",
    ):
        with Tally("train", 3, CPU, None, history) as tally:
            fill(tally, [1.0, math.nan, math.inf, 1.0], [4] * 4)
    assert len(history) == 1 and not history[0].complete and history[0].batches == 4


def test_a_bad_loss_is_found_during_the_epoch_too(monkeypatch):
    monkeypatch.setattr(module, "READ_SECONDS", -1.0)  # so that each batch is a time to read
    history = History()
    with pytest.raises(FloatingPointError, match="epoch 1, iteration 2 "):
        with Tally("train", 1, CPU, None, history) as tally:
            for loss in tally.batches([1.0, math.nan, 1.0]):
                fill(tally, [loss], [4])
    assert tally.batches_seen == 2 and [r.complete for r in history] == [False]


@pytest.mark.parametrize("fold", [1, 2, 512])
def test_the_bad_iteration_has_the_same_number_for_every_fold(monkeypatch, fold):
    monkeypatch.setattr(module, "FOLD", fold)
    with pytest.raises(FloatingPointError, match="iteration 5 "):
        with Tally("train", 1, CPU, None) as tally:
            fill(tally, [1.0] * 4 + [math.inf] + [1.0] * 2, [1] * 7)


@pytest.mark.parametrize(
    "metric, shown",
    [
        (lambda o, t: is_right(o, t).float().mean(), r"shape \(\)"),
        (lambda o, t: is_right(o, t).float().mean().item(), "float"),
        (lambda o, t: is_right(o, t).unsqueeze(1), r"shape \(4, 1\)"),
    ],
)
def test_a_metric_that_gives_no_value_a_sample_is_refused(metric, shown):
    history = History()
    expected = rf"metric 'right' returned {shown} for 4 samples: expected one value a sample, shape \(4,\). Leave out"
    with pytest.raises(ValueError, match=expected):
        with Tally("train", 1, CPU, {"first": is_right, "right": metric}, history) as tally:
            fill(tally, [1.0], [4])
    assert [(r.samples, r.complete) for r in history] == [(0, False)]


def test_what_breaks_off_is_put_into_the_history_with_the_means_so_far():
    history = History()
    with pytest.raises(KeyboardInterrupt):
        with Tally("train", 1, CPU, {"right": is_right}, history) as tally:
            fill(tally, [1.0, 4.0], [3, 1])
            raise KeyboardInterrupt
    assert (history[0].loss, history[0].metrics, history[0].samples) == (7 / 4, {"right": 0.5}, 4)
    assert not history[0].complete


def interrupt_at(line, *functions):
    """A trace that raises KeyboardInterrupt, once, at the so-maniest line that is run of these functions."""
    codes, left = [function.__code__ for function in functions], iter(range(line - 1))

    def trace(frame, event, _):
        if event == "line" and next(left, None) is None:
            sys.settrace(None)
            raise KeyboardInterrupt
        return trace if frame.f_code in codes else None

    return trace


def test_an_interrupt_at_any_line_of_an_add_leaves_means_over_the_samples_that_are_counted(
    monkeypatch,
):
    monkeypatch.setattr(
        module, "FOLD", 2
    )  # so that the last batch is summed at once, with the one before
    expected, ends, before = {3: (13 / 6, 3 / 6, 6), 4: (33 / 10, 4 / 10, 10)}, [], sys.gettrace()
    for line in range(1, 100):
        history = History()
        with (
            suppress(KeyboardInterrupt),
            Tally("train", 1, CPU, {"right": is_right}, history) as tally,
        ):
            fill(tally, [1.0, 2.0, 8 / 3], [1, 2, 3])
            try:
                sys.settrace(interrupt_at(line, Tally.add, Tally._fold))
                fill(tally, [5.0], [4])
            finally:
                sys.settrace(before)
        found = history[0]
        assert (found.loss, found.metrics["right"], found.samples) == pytest.approx(
            expected[found.batches]
        )
        ends.append(found.batches)
        if found.complete:
            break
    assert found.complete and line > 10 and set(ends) == {3, 4}


def test_an_interrupt_at_any_line_of_the_end_leaves_the_epoch_in_the_history_once():
    ends, before = [], sys.gettrace()
    for line in range(1, 100):
        history, tally = History(), None
        try:
            with Tally("train", 1, CPU, {"right": is_right}, history) as tally:
                fill(tally, [1.0, 4.0], [3, 1])
                sys.settrace(interrupt_at(line, Tally._close))
        except KeyboardInterrupt:
            ends.append(history[0].complete)
        else:
            break
        finally:
            sys.settrace(before)
        assert len(history) == 1 and (history[0].loss, history[0].samples) == (7 / 4, 4)
    assert len(ends) > 5 and not any(ends[:-1]) and len(history) == 1 and history[0].complete


def test_batches_passes_on_what_comes_and_measures_the_wait(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(module, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(module, "READ_SECONDS", math.inf)
    with Tally("train", 1, CPU, None) as tally:
        for batch in tally.batches([1.0, 3.0]):
            fill(tally, [batch], [1])
    assert tally.data_seconds == 2 and tally.result.loss == 2.0


def test_a_loader_without_a_batch_is_refused():
    spent = iter([])
    with pytest.raises(
        ValueError, match="gave no batch: its dataset is empty, or a stream that is already read"
    ):
        list(Tally("train", 1, CPU, None).batches(spent))


def test_the_bar_catches_up_and_shows_the_loss_whenever_the_sums_are_read(monkeypatch):
    class Bar:
        moves, texts = [], []

        def update(self, n):
            self.moves.append(n)

        def set_postfix_str(self, text, refresh):
            self.texts.append(text)

    monkeypatch.setattr(module, "READ_SECONDS", -1.0)
    bar = Bar()
    with Tally("train", 2, CPU, None, bar=bar) as tally:
        losses = iter([(1.0, 3), (4.0, 1)])
        for loss, size in tally.batches(losses):
            tally.add(torch.tensor(loss), torch.zeros(size), torch.zeros(size))
            tally.add(torch.tensor(loss), torch.zeros(0), torch.zeros(0))
        tally.add(torch.tensor(0.0), torch.zeros(0), torch.zeros(0))
    assert bar.moves == [2, 2, 1] and bar.texts == [
        "epoch 2, train loss 1.000",
        "epoch 2, train loss 1.750",
    ]
