"""A plan is worth what it foretells: its counts against loops that really run, its peak against a profile."""

import json
import random
from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from dlhelpers.__main__ import main
from dlhelpers.data import POLICIES, BlockShuffleSampler
from dlhelpers.measure import plan
from dlhelpers.train import fit
from dlhelpers.train.micro_batching import micro_batches

LOSS = nn.CrossEntropyLoss()
OPTIMIZERS = {
    "momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "adam": torch.optim.Adam,
}


def data(n):
    return TensorDataset(torch.rand(n, 3), torch.zeros(n, dtype=torch.long))


def enumerated(samples, batch_size, drop_last, micro_batch_size, ranks, policy):
    """What each rank meets in an epoch: for each batch the samples of its micro-batches."""
    for rank in range(ranks):
        sampler = BlockShuffleSampler(samples, rank=rank, world=ranks, policy=policy)
        loader = DataLoader(range(samples), batch_size, sampler=sampler, drop_last=drop_last)
        cut = [micro_batches((batch, batch), micro_batch_size) for batch in loader]
        yield [[len(targets) for _, targets, _ in parts] for parts in cut]


def test_the_counts_are_those_of_a_loop_that_runs_in_500_random_cases():
    draw = random.Random(0)
    for _ in range(500):
        case = {
            "samples": draw.randint(1, 40),
            "batch_size": draw.randint(1, 12),
            "drop_last": draw.random() < 0.5,
            "micro_batch_size": draw.choice([None, 1, 2, 3, 5]),
            "ranks": draw.randint(1, 5),
            "policy": draw.choice(POLICIES),
        }
        said, met = plan(**case, epochs=3), [*enumerated(**case)]
        assert said.samples_per_epoch == sum(sum(map(sum, batches)) for batches in met), case
        assert said.batches == max(map(len, met)), case
        assert said.last_batch == sum(met[0][-1] if met[0] else []), case  # no rank has more
        assert said.micro_batches == max(sum(map(len, batches)) for batches in met), case
        assert said.iterations == said.optimizer_steps == 3 * said.batches, case


def held(plan, history):
    return [row[0] for row in plan.compare(history).rows if row[-1] != "yes"]


def test_what_was_planned_holds_in_a_training_and_another_plan_does_not():
    net, loader = nn.Linear(3, 2), DataLoader(data(10), 4, shuffle=True)
    sgd = torch.optim.SGD(net.parameters())
    history = fit(net, loader, LOSS, sgd, epochs=3, micro_batch_size=3, progress=False)
    assert held(plan(loader, epochs=3, micro_batch_size=3), history) == []
    assert held(plan(loader, epochs=3), history) == ["micro_batches"]
    dropped = plan(samples=10, batch_size=4, drop_last=True, epochs=3, micro_batch_size=3)
    lost = ["samples_per_epoch", "batches", "micro_batches", "optimizer_steps"]
    assert held(dropped, history) == lost


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 256), nn.ReLU(), nn.Linear(256, 10))


def cnn():
    layers = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()
    layers += nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


def profiled_peak(network, optimizer_fn, size):
    """The most bytes of tensors alive at once in two training steps, as torch.profiler records them."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        net, inputs = network(), torch.rand(size, 3, 32, 32)
        optimizer = optimizer_fn(net.parameters())
        for _ in range(2):
            optimizer.zero_grad()
            LOSS(net(inputs), torch.zeros(size, dtype=torch.long)).backward()
            optimizer.step()
    events = recorded.profiler.kineto_results.events()
    alive = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            alive += event.nbytes()
            peak = max(peak, alive)
    return peak


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("network", [mlp, cnn])
def test_the_peak_is_within_a_factor_of_one_and_a_half_of_what_a_profile_finds(network, optimizer):
    size, make = 128, OPTIMIZERS[optimizer]
    told = {"shape": (3, 32, 32), "model": network(), "optimizer_fn": make}
    said = plan(samples=size, batch_size=size, **told)
    assert said.batch_bytes > 1e6 and said.peak_bytes == sum(said.peak_parts.values())
    assert 1 / 1.5 < said.peak_bytes / profiled_peak(network, make, size) < 1.5
    states = {"momentum": 1, "adam": 2}[optimizer] * said.peak_parts["gradients"]
    assert said.peak_parts["optimizer"] == pytest.approx(states, rel=0.01)


def test_planning_leaves_no_trace():
    net, loader = nn.Sequential(nn.Linear(3, 2), nn.Dropout()).eval(), DataLoader(data(10), 4)
    before, state = deepcopy(net.state_dict()), torch.get_rng_state()
    plan(loader, model=net)
    assert torch.equal(torch.get_rng_state(), state) and not net.training
    assert str(net.state_dict()) == str(before) and net[0].weight.grad is None


def test_a_loaders_first_sample_tells_bytes_and_its_workers_what_waits():
    loader = DataLoader(data(10), 4, num_workers=2, prefetch_factor=3)
    said = plan(loader)
    each = 3 * 4 + 8  # three float32 numbers, and an int64 label
    assert (said.dataset_bytes, said.batch_bytes) == (10 * each, 4 * each)
    assert said.waiting_bytes == 2 * 3 * 4 * each


class Stream(IterableDataset):
    def __iter__(self):
        yield from torch.arange(9)


def test_of_a_stream_it_says_what_cannot_be_known():
    said = plan(DataLoader(Stream(), 4), epochs=2)
    assert (said.samples, said.batches, said.optimizer_steps) == (None, None, None)
    assert "unknown" in repr(said) and "count(loader)" in said.notes[0]


@pytest.mark.parametrize(("samples", "drop_last"), [(0, False), (5, True)])
def test_a_training_without_a_batch_is_planned_and_told(samples, drop_last, capsys):
    said = plan(samples=samples, batch_size=32, drop_last=drop_last)
    assert (said.batches, said.last_batch, said.micro_batches, said.iterations) == (0, 0, 0, 0)
    assert f"no batch at all: {samples} samples, batch size 32" in said.notes[0]
    given = ["--samples", str(samples), "--batch-size", "32", *["--drop-last"] * drop_last]
    assert main(["plan", *given]) == 1 and said.notes[0] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"samples": None}, "samples is None: expected .*, or a loader instead"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"micro_batch_size": 0}, "micro_batch_size is 0"),
        ({"ranks": 0}, "ranks is 0"),
        ({"ranks": 2, "policy": "even"}, "policy is 'even': expected 'drop', 'pad' or"),
    ],
)
def test_a_number_out_of_range_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        plan(**{"samples": 10, "batch_size": 4, **wrong})


def test_the_command_gives_the_same_numbers_as_json(capsys):
    numbers = {"samples": 100, "batch_size": 32, "epochs": 10, "micro_batch_size": 8, "ranks": 3}
    said = plan(**numbers, policy="pad", shape=(3, 32, 32))
    given = "--samples 100 --batch-size 32 --epochs 10 --micro-batch-size 8 --ranks 3 --policy pad"
    assert main(["plan", *given.split(), "--shape", "3,32,32", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["dataset_bytes"] == 4 * 100 * 3072 and found["iterations"] == 20
    assert found == json.loads(json.dumps(vars(said)))
