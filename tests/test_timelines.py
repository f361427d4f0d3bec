"""Tests of `measure.timelines`: lanes that add up, a verdict on who waits, and a small picture."""

import time

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dlhelpers.measure import Waiting, timeline
from dlhelpers.show import show

DATA = TensorDataset(torch.randn(64, 8), torch.randint(3, (64,)))
LOSS = nn.CrossEntropyLoss()


class Slow(nn.Module):
    """A model whose forward pass takes a given time, and the core is free meanwhile."""

    def __init__(self, milliseconds):
        super().__init__()
        self.layer, self.milliseconds = nn.Linear(8, 3), milliseconds

    def forward(self, inputs):
        time.sleep(self.milliseconds / 1000)
        return self.layer(inputs)


@pytest.mark.parametrize(("load_ms", "train_ms"), [(5, 2), (0, 150), (60, 0)])
def test_the_verdict_on_designed_costs_says_who_waits(load_ms, train_ms):
    loader = DataLoader(Waiting(DATA, load_ms), batch_size=4)
    seen = timeline(Slow(train_ms), loader, LOSS)
    taken = seen.milliseconds
    assert taken["forward"] >= train_ms and taken["waiting for data"] >= 4 * load_ms
    share = taken["waiting for data"] / sum(taken.values())
    assert f"The loop waits for data {share:.0%} of the time." in repr(seen)


def test_a_loader_of_one_batch_begins_again():
    one = DataLoader(DATA, batch_size=64)
    assert len(timeline(nn.Linear(8, 3), one, LOSS, steps=3).spans["backward"]) == 3


def test_the_model_and_the_order_of_the_loader_stay_as_they_are():
    generator = torch.Generator().manual_seed(3)
    loader = DataLoader(DATA, batch_size=8, shuffle=True, generator=generator)
    model, before = nn.Linear(8, 3), generator.get_state()
    weights = model.weight.detach().clone()
    timeline(model, loader, LOSS)
    assert torch.equal(model.weight, weights) and model.weight.grad is None
    assert torch.equal(generator.get_state(), before)


def test_the_picture_says_who_waits_and_is_small():
    picture = show(timeline(nn.Linear(8, 3), DataLoader(DATA, batch_size=8), LOSS).plot())
    assert picture.alt.startswith("The loop waits for data")
    assert len(picture.html) < 150_000


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
def test_on_a_gpu_the_device_has_a_lane_of_its_own():
    seen = timeline(nn.Linear(8, 3).cuda(), DataLoader(DATA, batch_size=8), LOSS)
    assert seen.spans["device"]
