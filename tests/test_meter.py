"""Tests of `meter`, through `evaluate`: exact means over samples, and an epoch that breaks off."""

import math
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dlhelpers.train import History, evaluate


def is_right(outputs, targets):
    return outputs == targets


def scripted(losses, sizes):
    """Batches for each loss and size, of which the first sample is right and all others are wrong."""
    for loss, size in zip(losses, sizes, strict=True):
        outputs = torch.full((size,), loss)
        targets = torch.full((size,), -1.0)
        targets[0] = loss
        yield outputs, targets


def measured(losses, sizes, **options):
    """Evaluate a model that gives the losses itself."""
    metrics = {"right": is_right}
    loader = list(scripted(losses, sizes))
    return evaluate(nn.Identity(), loader, lambda o, t: o.mean(), metrics=metrics, **options)


one_batch = st.tuples(st.floats(0, 100, width=32), st.integers(1, 50))


@settings(deadline=None, max_examples=30)
@given(st.lists(one_batch, min_size=1, max_size=30), st.sampled_from([1, 60]))
def test_each_sample_weighs_the_same_in_few_batches_and_in_many(batches, times):
    losses, sizes = zip(*batches * times, strict=True)
    result = measured(losses, sizes)
    expected = math.fsum(loss * size for loss, size in batches) * times / sum(sizes)
    # The loss of a batch is a float32.
    assert math.isclose(result.loss, expected, rel_tol=1e-6, abs_tol=1e-30)
    assert result.metrics["right"] >= len(losses) / sum(sizes) * (1 - 1e-9)
    assert (result.samples, result.batches) == (sum(sizes), len(losses))


def test_many_small_losses_are_not_lost_beside_a_large_one():
    result = measured([2.0**24] + [1.0] * 1000, [1] * 1001)  # in float32 each 1.0 would vanish
    assert result.loss == (2**24 + 1000) / 1001 and result.metrics["right"] == 1


@pytest.mark.parametrize("good", [4, 700])
def test_the_first_bad_iteration_is_named_and_the_epoch_kept_as_broken_off(good):
    history, losses = History(), [1.0] * good + [math.nan, math.inf, 1.0]
    words = f"the test loss of epoch 3, iteration {good + 1} is not a finite.*lower learning"
    with pytest.raises(FloatingPointError, match=words):
        measured(losses, [4] * len(losses), history=history, phase="test", epoch=3)
    (kept,) = history
    assert not kept.complete and kept.batches > good


@pytest.mark.parametrize(
    "metric, shown",
    [
        (lambda o, t: is_right(o, t).float().mean(), r"shape \(\)"),
        (lambda o, t: is_right(o, t).float().mean().item(), "float"),
        (lambda o, t: is_right(o, t).unsqueeze(1), r"shape \(4, 1\)"),
    ],
)
def test_a_metric_that_gives_no_value_a_sample_is_refused(metric, shown):
    expected = rf"metric 'mine' returned {shown} for 4 samples: expected one value a sample, shape \(4,\). Leave out"
    with pytest.raises(ValueError, match=expected):
        evaluate(
            nn.Identity(),
            scripted([1.0], [4]),
            nn.MSELoss(),
            metrics={"r": is_right, "mine": metric},
        )


@pytest.mark.parametrize("seen, mean", [([(1.0, 3), (4.0, 1)], 7 / 4), ([], math.nan)])
def test_what_breaks_off_is_put_into_the_history_with_the_means_so_far(seen, mean):
    def broken():
        yield from scripted([loss for loss, _ in seen], [size for _, size in seen])
        raise KeyboardInterrupt

    history = History()
    with pytest.raises(KeyboardInterrupt):
        evaluate(nn.Identity(), broken(), lambda o, t: o.mean(), history=history)
    (kept,) = history
    assert kept.loss == pytest.approx(mean, nan_ok=True) and not kept.complete
    assert (kept.samples, kept.batches) == (sum(size for _, size in seen), len(seen))


def test_the_wait_for_batches_is_measured():
    def slow():
        for batch in scripted([1.0, 3.0], [1, 1]):
            time.sleep(0.05)
            yield batch

    result = evaluate(nn.Identity(), slow(), lambda o, t: o.mean())
    assert result.loss == 2.0 and 0.1 <= result.data_seconds <= result.seconds


@pytest.mark.parametrize(
    "loader, words",
    [
        ([], "its dataset is empty, or a stream that is already read to its end: give it samples"),
        (iter([]), "a list_iterator can be read only once: give a DataLoader, or a list"),
    ],
)
def test_a_loader_without_a_batch_is_refused(loader, words):
    with pytest.raises(ValueError, match=f"the valid loader gave no batch: {words}"):
        evaluate(nn.Identity(), loader, nn.MSELoss())
