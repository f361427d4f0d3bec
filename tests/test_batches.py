"""Tests of `batches`: micro-batches give the update of the whole batch, whatever the form of its inputs."""

import math
from collections import namedtuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import data, network, same, sgd, weights
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dlhelpers.train import accuracy, train_epoch
from dlhelpers.train.batches import micro_batches

LOSS = nn.CrossEntropyLoss()


def plain(dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).to(dtype)


# The update of the whole batch

LOSSES = [
    LOSS,
    nn.CrossEntropyLoss(reduction="none"),
    nn.CrossEntropyLoss(
        weight=torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64), reduction="none"
    ),
    lambda outputs, targets: (outputs - nn.functional.one_hot(targets, 3)).square().mean(),
]


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(1, 24),
    batch_size=st.integers(1, 26),
    loss_fn=st.sampled_from(LOSSES),
    max_norm=st.sampled_from([None, 0.1]),
    seed=st.integers(0, 99),
)
def test_an_epoch_in_micro_batches_is_the_epoch_in_whole_batches(
    n, batch_size, loss_fn, max_norm, seed
):
    random = torch.Generator().manual_seed(seed)
    inputs = torch.randn(n, 5, generator=random, dtype=torch.float64)
    loader = DataLoader(TensorDataset(inputs, torch.randint(3, (n,), generator=random)), batch_size)
    sizes = [min(batch_size, n - start) for start in range(0, n, batch_size)]

    def epoch(size):
        model = plain()
        result = train_epoch(
            model,
            loader,
            loss_fn,
            sgd(model),
            micro_batch_size=size,
            max_norm=max_norm,
            metrics={"right": accuracy},
        )
        return weights(model), result

    whole, expected = epoch(None)
    assert not same(whole, weights(plain()))
    for size in (1, 2, 3, 7, batch_size):
        parts, found = epoch(size)
        assert all(
            (one - other).abs().max() <= 1e-6 for one, other in zip(parts, whole, strict=True)
        ), size
        assert (
            math.isclose(found.loss, expected.loss, rel_tol=1e-9)
            and found.metrics == expected.metrics
        )
        assert found.micro_batches == sum(math.ceil(b / size) for b in sizes)
        assert (found.samples, found.batches, found.optimizer_steps) == (n, len(sizes), len(sizes))


def test_a_size_above_the_batch_takes_it_whole():
    results = []
    for size in (None, 8, 9, 1000):
        model = network()
        torch.manual_seed(1)
        result = train_epoch(model, DataLoader(data(), 8), LOSS, sgd(model), micro_batch_size=size)
        assert result.micro_batches == result.batches == 3
        results.append(weights(model))
    assert all(same(results[0], other) for other in results[1:])


Pair = namedtuple("Pair", "left right")


class Two(nn.Module):
    """Takes its two inputs in any form."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.left, self.right = nn.Linear(5, 3).double(), nn.Linear(2, 3).double()

    def forward(self, inputs):
        if isinstance(inputs, Pair):
            left, right = inputs.left, inputs.right
        else:
            left, right = inputs.values() if isinstance(inputs, dict) else inputs
        return self.left(left) + self.right(right)


FORMS = [list, tuple, Pair._make, lambda pair: dict(zip("ab", pair, strict=True))]


@pytest.mark.parametrize("form", FORMS)
def test_inputs_of_every_form_are_split(form):
    inputs, labels = torch.randn(8, 5, dtype=torch.float64), data(8).tensors[1]
    batch = form([inputs, inputs[:, :2]]), labels
    ends = []
    for size in (None, 3):
        model = Two()
        assert train_epoch(model, [batch], LOSS, sgd(model), micro_batch_size=size).samples == 8
        ends.append(weights(model))
    assert all(torch.allclose(a, b, rtol=0, atol=1e-12) for a, b in zip(*ends, strict=True))


def test_texts_are_cut_one_for_each_sample():
    labels, words = torch.arange(5), list("abcde")
    parts = micro_batches((words, labels), 2)
    assert [inputs for inputs, _, _ in parts] == [["a", "b"], ["c", "d"], ["e"]]
    assert [targets.tolist() for _, targets, _ in parts] == [[0, 1], [2, 3], [4]]
    assert [share for *_, share in parts] == [2 / 5, 2 / 5, 1 / 5]
    assert micro_batches((words, labels), None) == [(words, labels, 1)]


def test_what_is_one_for_the_whole_batch_goes_with_each_part():
    whole = {"power": 2.0, "way": "up", "bias": torch.tensor(1.0), "mask": None}
    ((part, *_), *_) = micro_batches(({"a": torch.arange(8), **whole}, torch.arange(8)), 3)
    assert part["a"].tolist() == [0, 1, 2] and {**part, "a": 0} == {"a": 0, **whole}


@pytest.mark.parametrize("size", [None, 4])
def test_running_out_of_memory_goes_through_at_once(size):
    model, sizes = plain(torch.float32), []

    def fail(model, inputs):
        sizes.append(len(inputs[0]))
        raise torch.OutOfMemoryError("Tried to allocate 2.00 GiB")

    model.register_forward_pre_hook(fail)
    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate"):
        train_epoch(model, DataLoader(data(), 8), LOSS, sgd(model), micro_batch_size=size)
    assert sizes == [size or 8]
