"""Tests of `micro_batching`: micro-batches give the update of the whole batch, whatever the form of its inputs."""

import math
from collections import namedtuple

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import LOSS, sgd, weights
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dlhelpers.train import accuracy, train_epoch


def plain():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def square(outputs, targets):
    return (outputs - nn.functional.one_hot(targets, 3)).square().mean()


# The update of the whole batch

WEIGHTS = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
LOSSES = [LOSS, nn.CrossEntropyLoss(weight=WEIGHTS, reduction="none"), square]


@settings(deadline=None, max_examples=15)
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
        model, metrics = plain(), {"right": accuracy}
        options = {"micro_batch_size": size, "max_norm": max_norm, "metrics": metrics}
        result = train_epoch(model, loader, loss_fn, sgd(model), **options)
        return torch.cat([w.flatten() for w in weights(model)]), result

    whole, expected = epoch(None)
    for size in (1, 3, 7):
        parts, found = epoch(size)
        assert (parts - whole).abs().max() <= 1e-6, size
        assert math.isclose(found.loss, expected.loss, rel_tol=1e-9)
        assert found.metrics == expected.metrics
        assert found.micro_batches == sum(math.ceil(b / size) for b in sizes)
        assert (found.samples, found.batches, found.optimizer_steps) == (n, len(sizes), len(sizes))


Pair = namedtuple("Pair", "left right")


def test_inputs_of_every_form_are_cut_and_what_is_one_for_all_goes_with_each_part():
    whole, seen = {"power": 2.0, "way": "up", "bias": torch.tensor(1.0), "mask": None}, []

    class Reads(nn.Linear):
        def forward(self, inputs):
            seen.append(inputs)
            return super().forward(inputs["pair"].left)

    model, rows = Reads(1, 2), torch.arange(5.0).unsqueeze(1)
    inputs = {"words": list("abcde"), "pair": Pair(rows, (rows, rows)), **whole}
    batch = inputs, torch.zeros(5).long()
    train_epoch(model, [batch], LOSS, sgd(model), micro_batch_size=2)
    assert [part.pop("words") for part in seen] == [["a", "b"], ["c", "d"], ["e"]]
    pairs = [part.pop("pair") for part in seen]
    assert {type(pair.right) for pair in pairs} == {tuple}
    for parts in zip(*((pair.left, *pair.right) for pair in pairs), strict=True):
        assert torch.equal(torch.cat(parts), rows)
    assert seen == [whole] * 3
