"""Tests of `measure.timelines`: lanes that add up, a verdict as `pipeline_speed` gives it, and a small picture."""

import time

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dlhelpers.measure import Waiting, pipeline_speed, timeline
from dlhelpers.measure.timelines import Timeline
from dlhelpers.show import show

DATA = TensorDataset(torch.randn(64, 8), torch.randint(3, (64,)))
LOSS = nn.CrossEntropyLoss()
TRAINING = "forward", "backward", "optimizer"


class Slow(nn.Module):
    """A model whose forward pass takes a given time, and the core is free meanwhile."""

    def __init__(self, milliseconds):
        super().__init__()
        self.layer, self.milliseconds = nn.Linear(8, 3), milliseconds

    def forward(self, inputs):
        time.sleep(self.milliseconds / 1000)
        return self.layer(inputs)


@pytest.mark.parametrize(
    ("load_ms", "train_ms", "workers", "bound"),
    [(5, 2, 0, "no overlap"), (0, 150, 0, "compute"), (60, 0, 0, "data"), (20, 10, 1, "data")],
)
def test_the_verdict_on_designed_costs_is_that_of_pipeline_speed(load_ms, train_ms, workers, bound):
    loader = DataLoader(Waiting(DATA, load_ms), batch_size=4, num_workers=workers)
    model = Slow(train_ms)
    seen = timeline(model, loader, LOSS)
    assert seen.bound == bound == pipeline_speed(model, loader, LOSS, batches=8, warmup=2).bound
    taken = seen.milliseconds
    assert taken["forward"] >= train_ms and (workers or taken["waiting for data"] >= 4 * load_ms)
    assert "The loop waits for data" in repr(seen) and "forward" in repr(seen)


@pytest.mark.parametrize(
    ("kernels_ms", "bound", "share"), [(120, "compute", "27%"), (10, "data", "91%")]
)
def test_a_gpu_that_works_while_the_host_waits_is_not_called_idle(kernels_ms, bound, share):
    """The host hands out three steps in no time, and waits 32 ms for each batch."""
    spans = {"waiting for data": [(35 * step, 32) for step in range(3)]}
    spans |= {name: [(35 * step + 32, 1) for step in range(3)] for name in TRAINING}
    spans["device"] = [(40 + kernels_ms / 2 * half, kernels_ms / 2) for half in range(6)]
    seen = Timeline(spans, workers=True)
    assert seen.bound == bound and f"waits for data {share} of the time" in seen.verdict


def test_a_step_that_alone_makes_the_verdict_is_called_noise():
    spans = {"waiting for data": [(0, 1), (20, 1), (40, 900)]}
    spans |= {name: [(1, 10), (21, 10), (941, 10)] for name in TRAINING}
    seen = Timeline(spans, workers=False)
    assert seen.bound == "too noisy here" and "measure again" in seen.verdict


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
