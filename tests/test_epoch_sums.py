"""Tests of `meter`, through `evaluate`: exact means over samples, and an epoch that breaks off."""

import math

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


@settings(deadline=None, max_examples=15)
@given(st.lists(one_batch, min_size=1, max_size=30), st.sampled_from([1, 60]))
def test_each_sample_weighs_the_same_in_few_batches_and_in_many(batches, times):
    losses, sizes = zip(*batches * times, strict=True)
    result = measured(losses, sizes)
    expected = math.fsum(loss * size for loss, size in batches) * times / sum(sizes)
    # The loss of a batch is a float32.
    assert math.isclose(result.loss, expected, rel_tol=1e-6, abs_tol=1e-30)
    assert result.metrics["right"] >= len(losses) / sum(sizes) * (1 - 1e-9)
    assert (result.samples, result.batches) == (sum(sizes), len(losses))


def test_the_first_bad_iteration_is_named_and_the_epoch_kept_as_broken_off():
    history, good = History(), 4
    losses = [1.0] * good + [math.nan, math.inf, 1.0]
    words = f"the test loss of epoch 3, iteration {good + 1} is not a finite.*lower learning"
    with pytest.raises(FloatingPointError, match=words):
        measured(losses, [4] * len(losses), history=history, phase="test", epoch=3)
    (kept,) = history
    assert not kept.complete and kept.batches > good


@pytest.mark.parametrize("shape", [(), (4, 1)])
def test_a_metric_that_gives_no_value_a_sample_is_refused(shape):
    words = rf"metric 'mine' returned .* \({str(shape)[1:-1]}\), .*expected one value a sample, shape \(4,\). Leave"
    metrics = {"mine": lambda outputs, targets: torch.zeros(shape)}
    with pytest.raises(ValueError, match=words):
        evaluate(nn.Identity(), scripted([1.0], [4]), nn.MSELoss(), metrics=metrics)


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


def test_a_loader_without_a_batch_is_refused():
    words = "the valid loader gave no batch: .* can be read only once, as a generator.*Give a DataLoader, or a list"
    with pytest.raises(ValueError, match=words):
        evaluate(nn.Identity(), iter([]), nn.MSELoss())
