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
        self.slept, self.passes = [], 0

    def __iter__(self):
        self.passes += 1
        time.sleep(self.start)
        for _ in range(self.length):
            begin = time.perf_counter()
            time.sleep(self.seconds)
            self.slept.append(time.perf_counter() - begin)
            yield BATCH


SLEPT = []


class SleepyModel(nn.Module):
    """A model that sleeps in its forward pass."""

    def __init__(self, seconds):
        super().__init__()
        self.layer, self.seconds = nn.Linear(4, 3), seconds

    def forward(self, x):
        begin = time.perf_counter()
        time.sleep(self.seconds)
        SLEPT.append(time.perf_counter() - begin)
        return self.layer(x)


@pytest.fixture
def model():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))


def data_loader(samples=40, batch_size=5, **options):
    return DataLoader(
        TensorDataset(torch.randn(samples, 4), torch.randint(3, (samples,))), batch_size, **options
    )


@pytest.mark.parametrize("loading, training", [(0.06, 0.02)])
def test_the_data_share_is_right_within_5_percent(loading, training):
    for _ in range(
        3
    ):  # a busy machine delays one of the three measurements now and then; a wrong one is always wrong
        SLEPT.clear()
        loader = Sleepy(loading)
        result = pipeline_speed(SleepyModel(training), loader, LOSS, batches=8, warmup=2)
        fetched, computed = np.median(loader.slept), np.median(SLEPT)
        share = 1 - result.milliseconds["model alone"] / result.milliseconds["together"]
        off = abs(share - fetched / (fetched + computed))
        if off < 0.05 and result.milliseconds["loader alone"] == pytest.approx(
            1000 * fetched, rel=0.25
        ):
            break
    else:
        pytest.fail(f"three times, and the last time {off:.3f} off: {result}")
    assert result.bound == "no overlap" and "Try num_workers=1" in result.verdict


def test_the_start_of_a_loader_is_not_taken_for_fetching():
    slow_start = loader_speed(Sleepy(0.002, start=0.5), batches=20, warmup=1)
    assert slow_start.seconds < 0.5 and slow_start.batches == 20


@pytest.mark.parametrize("length, warmup, timed", [(1, 0, 1), (7, 3, 4), (12, 5, 7)])
def test_a_short_loader_is_used_as_far_as_it_goes(model, length, warmup, timed):
    assert pipeline_speed(model, Sleepy(0.0, length), LOSS).samples_per_batch == 5
    alone = loader_speed(Sleepy(0.0, length))
    assert (alone.warmup, alone.batches, alone.samples) == (warmup, timed, 5 * timed)


def test_a_ragged_last_batch_counts_for_what_it_holds(model):
    result = pipeline_speed(
        model, data_loader(samples=13), LOSS
    )  # batches of 5, 5, 3; the first is the warm-up
    assert result.samples_per_batch == 4
    assert loader_speed(data_loader(samples=13)).samples == 8


def speeds(loader, model, together):
    """A result whose three times are given in milliseconds, for batches of 10."""
    times = {"loader alone": loader, "model alone": model, "together": together}
    return PipelineSpeed(times, 10)


@pytest.mark.parametrize(
    "times, bound, share",
    [
        ((40, 10, 41), "data", 31 / 41),
        ((10, 40, 41), "compute", 1 / 41),
        ((40, 10, 50), "no overlap", 0.8),
        ((2, 40, 42), "compute", 2 / 42),
        ((40, 2, 42), "data", 40 / 42),
        ((40, 10, 18), "too noisy here", None),
        ((40, 10, 110), "too noisy here", None),
    ],
)
def test_the_verdict_follows_from_the_three_times(times, bound, share):
    result = speeds(*times)
    assert result.bound == bound
    assert list(result.milliseconds.values()) == pytest.approx(times)
    first = {"data": "Data-bound: ", "compute": "Compute-bound: "}.get(bound, bound.capitalize())
    assert result.verdict.startswith(first) and f"{times[0]:.1f} ms" in result.verdict
    if bound in ("data", "no overlap"):
        assert f"{share:.0%} of the time together" in result.verdict


def test_the_table_says_what_was_measured():
    result = speeds(40, 10, 50)
    assert "loader alone  250               40.0" in repr(result) and "Note: No overlap" in repr(
        result
    )
    assert '<th scope="col"' in result._repr_html_()


@pytest.mark.parametrize(
    "options",
    [
        {"generator": torch.Generator()},
        {"num_workers": 1, "persistent_workers": True},
    ],
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
    assert sorted(measured[:40].tolist()) == sorted(measured[40:].tolist()) == list(range(40))


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
    assert (
        result.bound == "compute"
        and result.milliseconds["together"] < result.milliseconds["model alone"] / 0.9
    )
    assert torch.equal(torch.cuda.get_rng_state(), state)
