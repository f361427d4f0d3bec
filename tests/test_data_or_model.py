"""Tests of `speed`: loaders and models that sleep a known time, verdicts by arithmetic, and what is left behind.

No test compares with a clock: what a loader or a model really slept, it measures itself.
"""

import time

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dlhelpers.measure import loader_speed, pipeline_speed
from dlhelpers.measure.data_or_model import PipelineSpeed

LOSS = nn.CrossEntropyLoss()
BATCH = torch.randn(5, 4), torch.randint(3, (5,))


class Sleepy:
    """A loader that sleeps before each batch, the first time longer, and remembers how long it really was."""

    def __init__(self, seconds, length=100, start=0.0):
        self.seconds, self.length, self.start = seconds, length, start
        self.slept = []

    def __iter__(self):
        time.sleep(self.start)
        for _ in range(self.length):
            begin = time.perf_counter()
            time.sleep(self.seconds)
            self.slept.append(time.perf_counter() - begin)
            yield BATCH


class SleepyModel(nn.Linear):
    """A model that sleeps in its forward pass; all copies remember together for how long."""

    slept = []

    def forward(self, x):
        begin = time.perf_counter()
        time.sleep(0.02)
        self.slept.append(time.perf_counter() - begin)
        return super().forward(x)


@pytest.fixture
def model():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))


def test_the_data_share_is_right_within_5_percent():
    # a busy machine delays one of the three measurements now and then; a wrong one is always wrong
    for _ in range(3):
        SleepyModel.slept.clear()
        loader = Sleepy(0.06)
        result = pipeline_speed(SleepyModel(4, 3), loader, LOSS, batches=8, warmup=2)
        fetched, computed = np.median(loader.slept), np.median(SleepyModel.slept)
        share = 1 - result.milliseconds["model alone"] / result.milliseconds["together"]
        off = abs(share - fetched / (fetched + computed))
        alone = result.milliseconds["loader alone"]
        if off < 0.05 and alone == pytest.approx(1000 * fetched, rel=0.25):
            break
    else:
        pytest.fail(f"three times, and the last time {off:.3f} off: {result}")
    assert result.bound == "no overlap" and "try num_workers=1" in result.verdict


def test_the_start_of_a_loader_is_not_taken_for_fetching():
    slow_start = loader_speed(Sleepy(0.002, start=0.5), batches=20, warmup=1)
    assert slow_start.seconds < 0.5 and slow_start.batches == 20


@pytest.mark.parametrize("length, warmup, timed", [(1, 0, 1), (7, 3, 4), (12, 5, 7)])
def test_a_short_loader_is_used_as_far_as_it_goes(model, length, warmup, timed):
    assert pipeline_speed(model, Sleepy(0.0, length), LOSS).samples_per_batch == 5
    alone = loader_speed(Sleepy(0.0, length))
    assert (alone.warmup, alone.batches, alone.samples) == (warmup, timed, 5 * timed)


def test_a_ragged_last_batch_counts_for_what_it_holds(model):
    numbers = torch.randn(13, 4), torch.zeros(13, dtype=torch.long)
    loader = DataLoader(TensorDataset(*numbers), 5)  # of 5, 5 and 3; the first is the warm-up
    assert pipeline_speed(model, loader, LOSS).samples_per_batch == 4
    assert loader_speed(loader).samples == 8


def speeds(*milliseconds):
    """A result with these three times, for batches of 10."""
    names = "loader alone", "model alone", "together"
    return PipelineSpeed(dict(zip(names, milliseconds, strict=True)), 10)


@pytest.mark.parametrize(
    "times, bound, share",
    [
        ((40, 10, 41), "data", 31 / 41),
        ((10, 40, 41), "compute", None),
        ((40, 10, 50), "no overlap", 0.8),
        ((2, 40, 42), "compute", None),
        ((40, 2, 42), "data", 40 / 42),
        ((40, 10, 18), "too noisy here", None),
        ((40, 10, 110), "too noisy here", None),
    ],
)
def test_the_verdict_follows_from_the_three_times(times, bound, share):
    result = speeds(*times)
    assert result.bound == bound
    first = {"data": "Data-bound: ", "compute": "Compute-bound: "}.get(bound, bound.capitalize())
    assert result.verdict.startswith(first) and f"{times[0]:.1f} ms" in result.verdict
    if share is not None:
        assert f"{share:.0%} of the time together" in result.verdict


def test_the_table_says_what_was_measured():
    text = repr(speeds(40, 10, 50))
    assert "loader alone  250               40.0" in text and "Note: No overlap" in text


@pytest.mark.parametrize(
    "options",
    [{"generator": torch.Generator()}, {"num_workers": 1, "persistent_workers": True}],
    ids=["a generator", "a worker that persists"],
)
def test_an_epoch_under_way_and_the_next_one_go_on_as_without_a_measurement(model, options):
    """Two epochs of 8 batches; the measurement comes after the third batch of the first."""
    samples = torch.arange(40.0).view(40, 1).expand(40, 4), torch.zeros(40, dtype=torch.long)

    def two_epochs(measured):
        torch.manual_seed(5)
        if "generator" in options:
            options["generator"].manual_seed(6)
        loader = DataLoader(TensorDataset(*samples), 5, shuffle=True, **options)
        epoch = iter(loader)
        came = [next(epoch) for _ in range(3)]
        if measured:
            pipeline_speed(model, loader, LOSS, batches=3, warmup=1)
            loader_speed(loader, batches=3)
        came += [*epoch, *loader]
        return torch.cat([inputs[:, 0] for inputs, _ in came]), torch.rand(())

    (plain, number), (measured, same_number) = two_epochs(False), two_epochs(True)
    assert torch.equal(plain, measured) and number == same_number


def test_a_loader_without_a_batch_is_refused(model):
    with pytest.raises(ValueError, match="the loader gave no batch"):
        pipeline_speed(model, Sleepy(0.0, length=0), LOSS)


@pytest.mark.gpu
def test_on_a_gpu_queued_work_is_not_taken_for_waiting(model):
    """A model that keeps the GPU busy and the host idle: a clock around `next` alone would blame the loader."""
    big = nn.Sequential(
        nn.Linear(4, 8192), *(nn.Linear(8192, 8192) for _ in range(6)), nn.Linear(8192, 3)
    ).cuda()
    state = torch.cuda.get_rng_state()
    batch = torch.randn(4096, 4), torch.randint(3, (4096,))
    result = pipeline_speed(big, [batch] * 30, LOSS, batches=20)
    _, alone, together = result.milliseconds.values()
    assert result.bound == "compute" and together < alone / 0.9
    assert torch.equal(torch.cuda.get_rng_state(), state)
