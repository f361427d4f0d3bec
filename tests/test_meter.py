"""Tests of `meter`: exact means over samples, few reads, and an epoch that breaks off."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlhelpers.train import History
from dlhelpers.train import meter as module
from dlhelpers.train.meter import Meter

CPU = torch.device("cpu")


def is_right(outputs, targets):
    return outputs.argmax(dim=1) == targets


def metered(losses, sizes, history=None, bar=None, phase="train", epoch=1, metrics=None):
    """Run an epoch with a batch for each loss, of which the first sample is right and all others are wrong."""
    metrics = {"right": is_right} if metrics is None else metrics
    with Meter(phase, epoch, CPU, metrics, history, bar) as meter:
        for loss, size in meter.batches(list(zip(losses, sizes, strict=True))):
            outputs = torch.zeros(size, 2)
            outputs[1:, 1] = 1.0
            meter.add(torch.tensor(loss), outputs, torch.zeros(size, dtype=torch.int64))
    return meter.result


batches = st.lists(
    st.tuples(st.floats(0, 100, width=32), st.integers(1, 50)), min_size=1, max_size=30
)


@settings(deadline=None)
@given(batches, st.sampled_from([-1.0, math.inf]))
def test_each_sample_weighs_the_same_however_often_the_device_is_read(batches, read_seconds):
    losses, sizes = zip(*batches, strict=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "READ_SECONDS", read_seconds)
        result = metered(losses, sizes)
    expected = math.fsum(loss * size for loss, size in batches) / sum(sizes)
    assert math.isclose(result.loss, expected, rel_tol=1e-12, abs_tol=1e-300)
    assert result.metrics["right"] == len(batches) / sum(sizes)
    assert (result.samples, result.batches) == (sum(sizes), len(batches))


def test_many_small_losses_are_not_lost_beside_a_large_one():
    result = metered([2.0**24] + [1.0] * 1000, [1] * 1001)  # in float32 each 1.0 would vanish
    assert result.loss == (2**24 + 1000) / 1001


@pytest.mark.parametrize("read_seconds", [-1.0, math.inf])
def test_the_first_bad_iteration_is_named_and_the_epoch_kept_as_broken_off(
    monkeypatch, read_seconds
):
    monkeypatch.setattr(module, "READ_SECONDS", read_seconds)  # -1: each batch is a time to read
    history, losses = History(), [1.0] * 4 + [math.nan, math.inf, 1.0]
    words = r"train loss of epoch 3, iteration 5 is not a finite.*lower learning"
    with pytest.raises(FloatingPointError, match=words):
        metered(losses, [4] * 7, history, epoch=3)
    (kept,) = history
    assert not kept.complete and kept.batches == (5 if read_seconds < 0 else 7)


@pytest.mark.parametrize(
    "metric, shown",
    [
        (lambda o, t: is_right(o, t).float().mean(), r"a Tensor of shape \(\), .*"),
        (lambda o, t: is_right(o, t).float().mean().item(), "0.25"),
        (lambda o, t: is_right(o, t).unsqueeze(1), r"a Tensor of shape \(4, 1\), torch.bool"),
    ],
)
def test_a_metric_that_gives_no_value_a_sample_is_refused(metric, shown):
    expected = rf"metric 'right' returned {shown} for 4 samples: expected one value a sample, shape \(4,\). Leave out"
    with pytest.raises(ValueError, match=expected):
        metered([1.0], [4], metrics={"first": is_right, "right": metric})


def test_what_breaks_off_is_put_into_the_history_with_the_means_so_far():
    history = History()
    with pytest.raises(KeyboardInterrupt):
        with Meter("train", 1, CPU, None, history) as meter:
            for loss, size in meter.batches([(1.0, 3), (4.0, 1), (None, 1)]):
                if loss is None:
                    raise KeyboardInterrupt
                meter.add(torch.tensor(loss), torch.zeros(size, 2), torch.zeros(size))
    (kept,) = history
    assert (kept.loss, kept.samples, kept.batches, kept.complete) == (7 / 4, 4, 2, False)


def test_an_epoch_broken_off_before_its_first_batch_has_no_loss():
    history = History()
    with pytest.raises(KeyboardInterrupt):
        with Meter("train", 1, CPU, {"right": is_right}, history):
            raise KeyboardInterrupt
    (kept,) = history
    assert math.isnan(kept.loss) and math.isnan(kept.metrics["right"]) and kept.samples == 0


def test_a_device_that_fails_in_the_middle_hides_neither_the_error_nor_the_epoch(monkeypatch):
    history = History()

    def fail(device):
        raise RuntimeError("the device answers no more")

    with pytest.raises(RuntimeError, match="an illegal memory access"):
        with Meter("train", 2, CPU, None, history):
            monkeypatch.setattr(module, "synchronize", fail)
            raise RuntimeError("an illegal memory access")
    assert [(r.epoch, r.complete) for r in history] == [(2, False)] and math.isnan(history[0].loss)


def test_batches_passes_on_what_comes_and_measures_the_wait(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(module, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(module, "READ_SECONDS", math.inf)
    result = metered([1.0, 3.0], [1, 1])
    assert result.data_seconds == 2 and result.loss == 2.0


@pytest.mark.parametrize("loader", [[], iter([])])
def test_a_loader_without_a_batch_is_refused(loader):
    with pytest.raises(ValueError, match="the valid loader gave no batch: .*Give a DataLoader"):
        list(Meter("valid", 1, CPU).batches(loader))


def test_the_bar_catches_up_and_shows_the_loss_whenever_the_sums_are_read(monkeypatch):
    class Bar:
        moves, texts = [], []

        def update(self, n):
            self.moves.append(n)

        def set_postfix_str(self, text, refresh):
            self.texts.append(text)

    monkeypatch.setattr(module, "READ_SECONDS", -1.0)
    metered([1.0, 4.0], [3, 1], bar=Bar(), epoch=2)
    assert sum(Bar.moves) == 2
    assert Bar.texts == ["epoch 2, train loss 1.000", "epoch 2, train loss 1.750"]
