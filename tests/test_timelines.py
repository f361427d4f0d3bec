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


class Slow(nn.Linear):
    """A model whose forward pass takes a given time, and the core is free meanwhile."""

    def forward(self, inputs):
        time.sleep(self.milliseconds / 1000)
        return super().forward(inputs)


@pytest.mark.parametrize(
    ("load_ms", "train_ms", "workers", "bound"),
    [(5, 2, 0, "no overlap"), (0, 150, 0, "compute"), (60, 0, 0, "data"), (20, 10, 1, "data")],
)
def test_the_verdict_on_designed_costs_is_that_of_pipeline_speed(load_ms, train_ms, workers, bound):
    loader = DataLoader(Waiting(DATA, load_ms), batch_size=4, num_workers=workers)
    model = Slow(8, 3)
    model.milliseconds = train_ms
    seen = timeline(model, loader, LOSS)
    assert seen.bound == bound == pipeline_speed(model, loader, LOSS, batches=8, warmup=2).bound
    taken = seen.milliseconds
    assert taken["forward"] >= train_ms and (workers or taken["waiting for data"] >= 4 * load_ms)


@pytest.mark.parametrize(
    ("kernels_ms", "bound", "share"), [(120, "compute", "27%"), (10, "data", "91%")]
)
def test_a_gpu_that_works_while_the_host_waits_is_not_called_idle(kernels_ms, bound, share):
    """The host hands out three steps in no time, and waits 32 ms for each batch."""
    spans = {"waiting for data": [(35 * step, 32) for step in range(3)]}
    spans |= {name: [(35 * step + 32, 1) for step in range(3)] for name in TRAINING}
    spans["device"] = [(40 + kernels_ms / 2 * half, kernels_ms / 2) for half in range(6)]
    seen = Timeline(spans, [(0, 0)], workers=True)
    assert seen.bound == bound and f"waits for data {share} of the time" in seen.verdict


def test_a_step_that_alone_makes_the_verdict_is_called_noise():
    spans = {"waiting for data": [(0, 1), (20, 1), (40, 900)]}
    spans |= {name: [(1, 10), (21, 10), (941, 10)] for name in TRAINING}
    seen = Timeline(spans, [(0, 0)], workers=False)
    assert seen.bound == "too noisy here" and "measure again" in seen.verdict


def test_memory_rises_with_the_forward_pass_and_falls_back():
    model = nn.Sequential(nn.Linear(8, 100_000), nn.ReLU(), nn.Linear(100_000, 3))
    seen = timeline(model, DataLoader(DATA, batch_size=8), LOSS, steps=2)
    sizes = [size for _, size in seen.memory]
    activations = 8 * 100_000 * 4
    assert activations <= max(sizes) <= 10 * activations + 10 * 4 * 1_100_000
    assert abs(sizes[-1]) < max(sizes) / 2


def test_a_loader_of_one_batch_begins_again_and_one_without_is_refused():
    one = DataLoader(DATA, batch_size=64)
    assert len(timeline(nn.Linear(8, 3), one, LOSS, steps=3).spans["backward"]) == 3
    with pytest.raises(ValueError, match="no batch"):
        timeline(nn.Linear(8, 3), iter([]), LOSS)


def test_model_and_order_stay_as_they_are_and_a_small_picture_says_who_waits():
    generator = torch.Generator().manual_seed(3)
    loader = DataLoader(DATA, batch_size=8, shuffle=True, generator=generator)
    model, before = nn.Linear(8, 3), generator.get_state()
    weights = str(model.state_dict())
    seen = timeline(model, loader, LOSS)
    assert str(model.state_dict()) == weights and torch.equal(generator.get_state(), before)
    assert "The loop waits for data" in repr(seen) and "forward" in repr(seen)
    picture = show(seen.plot())
    assert picture.alt.startswith("The loop waits for data") and "MB" in picture.alt
    assert len(picture.html) < 150_000


@pytest.mark.gpu
def test_on_a_gpu_the_device_has_a_lane_of_its_own():
    seen = timeline(nn.Linear(8, 3).cuda(), DataLoader(DATA, batch_size=8), LOSS)
    assert seen.spans["device"] and max(size for _, size in seen.memory) > 0
