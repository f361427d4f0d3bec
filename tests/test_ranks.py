"""Tests of `ranks`: the same numbers as one process, kills and restarts, and what is refused.

Two processes stay for the whole file; torchrun starts the example only to be killed. DLHELPERS_FULL=1 kills it more
often.
"""

import io
import json
import os
import random
import runpy
import signal
import subprocess
import sys
import time
import warnings
from contextlib import redirect_stderr
from pathlib import Path

import psutil
import pytest
import torch
from long_cases import FULL
from rank_pool import RankPool, free_port
from small_runs import LOSS, run, sgd
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset, TensorDataset

from dlhelpers.data import POLICIES, BlockShuffleSampler
from dlhelpers.measure import plan
from dlhelpers.train import (
    History,
    accuracy,
    evaluate,
    load_checkpoint,
    process_group,
    train_epoch,
    unwrap,
)

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "train_distributed.py"
KILLS, SIGNALS = 1, [signal.SIGKILL]
if FULL:
    KILLS, SIGNALS = 10, [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]
METRICS = {"accuracy": accuracy}
CLOSE = {"rtol": 1e-9, "atol": 1e-9}


@pytest.fixture(scope="module")
def pool():
    ranks = RankPool()
    yield ranks
    ranks.close()


def data(n):
    random = torch.Generator().manual_seed(n)
    inputs = torch.randn(n, 5, generator=random).double()
    return TensorDataset(inputs, torch.randint(3, (n,), generator=random))


def network(norm=False):
    torch.manual_seed(0)
    parts = [nn.Linear(5, 8), nn.BatchNorm1d(8) if norm else nn.Tanh(), nn.Linear(8, 3)]
    return nn.Sequential(*parts).double()


def wrapped(norm=False):
    return DistributedDataParallel(network(norm))


def ours(n, ranks, policy="exact"):
    place = {} if ranks is None else {"rank": ranks.rank, "world": ranks.world}
    return BlockShuffleSampler(n, block=4, window=3, seed=5, policy=policy, **place)


def own(n, size, ranks, policy="exact"):
    """A loader of this rank's part of n samples; of all, where there are no ranks."""
    return DataLoader(data(n), size, sampler=ours(n, ranks, policy))


def values(model):
    return [value.tolist() for value in unwrap(model).state_dict().values()]


def trained(ranks, n, batch_size, options, norm=False):
    """Train two epochs, alone or as a rank; return weights, and the history without its times."""
    model = network(norm) if ranks is None else wrapped(norm)
    valid = own(n + 1, batch_size, ranks)
    options = {"epochs": 2, "valid_loader": valid, "metrics": METRICS, "seed": 1, **options}
    history = run(model, own(n, batch_size, ranks), **options)
    numbers = [
        (r.loss, *r.metrics.values(), r.samples, r.batches, r.optimizer_steps, r.complete)
        for r in history
    ]
    return values(model), numbers


# As one process with the doubled batch


@pytest.mark.parametrize("n", [17, 18, 3])
@pytest.mark.parametrize("options", [{}, {"micro_batch_size": 3, "max_norm": 0.2}])
def test_two_ranks_equal_one_with_the_doubled_batch(pool, n, options):
    alone = trained(None, n, 8, options)
    both = pool.run(trained, n, 4, options)
    assert both[0] == both[1]
    assert_close(both[0], alone, **CLOSE)
    assert len(alone[1]) == 4 and alone[1][0][2] == n


def test_averages_of_batchnorm_are_the_same_on_all_ranks_when_they_are_measured(pool):
    one, other = pool.run(trained, 20, 4, {}, True)
    assert one[1] == other[1] and one[0][-2:] == other[0][-2:]


def evaluated(ranks, n, kind, batch_size):
    model = wrapped(norm=True)
    if kind == "torch":
        loader = DataLoader(data(n), batch_size, sampler=DistributedSampler(data(n), seed=3))
    else:
        loader = own(n, batch_size, ranks, kind)
    result = evaluate(model, loader, LOSS, metrics=METRICS)
    return result.loss, result.metrics["accuracy"], result.samples


@pytest.mark.parametrize("kind", ["exact", "pad", "torch"])
def test_evaluation_counts_each_sample_once(pool, kind):
    for n, batch_size in ((10, 5), (11, 5), (9, 2)):
        found = pool.run(evaluated, n, kind, batch_size)
        result = evaluate(network(norm=True), DataLoader(data(n), 4), LOSS, metrics=METRICS)
        assert_close(found, [(result.loss, result.metrics["accuracy"], n)] * 2, **CLOSE)


class Stream(IterableDataset):
    def __init__(self, samples):
        self.samples = samples

    def __iter__(self):
        return iter([data(20)[k] for k in self.samples])


def planned(ranks):
    """Train with each sampler that splits; return what a plan from the loader did not foretell."""
    wrong, options = [], {"epochs": 2, "micro_batch_size": 3}
    loaders = [own(11, 4, ranks, policy) for policy in POLICIES]
    loaders += [DataLoader(data(11), 4, sampler=DistributedSampler(data(11)))]
    for loader in loaders:
        table = plan(loader, **options).compare(run(wrapped(), loader, **options))
        wrong += [row for row in table.rows if row[-1] != "yes"]
    return wrong


def test_a_plan_knows_what_ranks_share(pool):
    assert pool.run(planned) == [[], []]


def streamed(ranks, first, norm):
    mine = range(first) if ranks.first else range(first, 20)
    model, loader = wrapped(norm), DataLoader(Stream(mine), 2)
    result = train_epoch(model, loader, LOSS, sgd(model))
    loss = evaluate(model, loader, LOSS).loss
    return values(model), result.samples, result.batches, loss


def test_very_unequal_streams_do_not_hang_and_keep_the_weights_together(pool):
    one, other = pool.run(streamed, 14, False)  # seven batches and three
    assert one == other and one[1:3] == (20, 7)


def test_a_batch_taken_again_does_not_count_in_averages(pool):
    batches_of_norm = pool.run(streamed, 6, True)[0][0][6]  # three batches and seven
    assert batches_of_norm == 3


# Orders and random numbers


def orders(ranks):
    seen, noise = [], []

    class Spy(nn.Linear):
        def forward(self, inputs):
            seen.extend(inputs[:, 0].int().tolist())
            noise.append(torch.rand(()).item())
            return super().forward(inputs)

    numbers = TensorDataset(torch.arange(12.0).unsqueeze(1), torch.zeros(12).long())
    loader = DataLoader(numbers, 3, sampler=DistributedSampler(numbers))
    run(DistributedDataParallel(Spy(1, 3)), loader, epochs=2, seed=4)
    return seen, noise


def test_fit_tells_the_sampler_of_the_epoch_and_ranks_draw_different_numbers(pool):
    (one, noise), (other, other_noise) = pool.run(orders)
    for start in (0, 6):
        assert sorted(one[start : start + 6] + other[start : start + 6]) == list(range(12))
    assert one[:6] != one[6:12] and noise and not set(noise) & set(other_noise)


def test_fit_tells_the_sampler_of_the_epoch_without_ranks_too():
    class Spy(BlockShuffleSampler):
        told = []

        def set_epoch(self, epoch):
            self.told.append(epoch)
            super().set_epoch(epoch)

    run(network(), DataLoader(data(8), 4, sampler=Spy(8)), epochs=2)
    assert Spy.told == [1, 2]


# One for all: rank 0 alone draws and writes, each may stop


class Screen(io.StringIO):
    def isatty(self):
        return True


def stopped(ranks, folder):
    os.environ.pop("TQDM_DISABLE", None)
    path = folder / f"rank{ranks.rank}.pt"  # a name of its own shows who wrote
    stop = None if ranks.first else lambda trained, valid: True
    options = {"epochs": 3, "checkpoint": path, "on_epoch_end": stop, "progress": True}
    with redirect_stderr(Screen()) as screen:
        history = run(wrapped(), own(8, 2, ranks), **options)
    return "batch" in screen.getvalue(), path.exists(), history.epochs, history.stop_reason


def test_the_first_rank_alone_draws_and_writes_and_one_may_end_training_for_all(pool, tmp_path):
    ended = 1, "on_epoch_end returned True after epoch 1"
    assert pool.run(stopped, tmp_path) == [(True, True, *ended), (False, False, *ended)]


# Checkpoints


def resumed(ranks, path, epochs, batch_size):
    """Train for further epochs from the checkpoint, or from the start, as one process or several."""
    model, history = network() if ranks is None else wrapped(), None
    optimizer = sgd(model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if path.exists():
            history = load_checkpoint(path, model, optimizer)
    _ = ranks and ranks.sums(0)  # nobody writes before all have read
    options = {"epochs": epochs, "history": history, "checkpoint": path, "seed": 2}
    history = run(model, own(17, batch_size, ranks), LOSS, optimizer, **options)
    told = [str(warning.message) for warning in caught if "rank(s)" in str(warning.message)]
    return values(model), history.column("train_loss"), told


def test_a_resumed_run_is_the_unbroken_one(pool, tmp_path):
    unbroken = pool.run(resumed, tmp_path / "unbroken.pt", 4, 4)
    for _ in range(2):
        broken = pool.run(resumed, tmp_path / "broken.pt", 2, 4)
    assert broken == unbroken and len(broken[0][1]) == 4 and broken[0][2] == []


def test_another_number_of_ranks_goes_on_with_the_same_effective_batch(pool, tmp_path):
    unbroken = resumed(None, tmp_path / "alone.pt", 4, 8)
    resumed(None, tmp_path / "grown.pt", 2, 8)
    grown = pool.run(resumed, tmp_path / "grown.pt", 2, 4)[0]
    assert_close(grown[:2], unbroken[:2], **CLOSE)
    (told,) = grown[2]
    assert "saved by 1 rank(s), and 2 go on" in told and "takes 2 times the samples" in told


# What is refused


def refused(ranks, case):
    """Return what this rank is told, and whether the group can still be used."""
    model, n, options, rank = wrapped(), 16, {}, ranks.rank
    optimizer, sampler = sgd(model), None
    if case == "not wrapped":
        model = network()
        optimizer = sgd(model)
    elif case == "length":
        n = 16 + 2 * rank
    elif case == "seed":
        sampler = BlockShuffleSampler(n, seed=rank, rank=rank, world=2)
    elif case == "validation of one" and ranks.first:
        options = {"valid_loader": own(n, 4, ranks)}
    elif case == "scheduler":  # rank 0 has three batches, and rank 1 two
        n, steps = 17, 3 * (3 - rank)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        options = {"epochs": 3, "scheduler": scheduler, "scheduler_unit": "step"}
    loader = DataLoader(data(n), 4, sampler=sampler or ours(n, ranks))
    if case == "no sampler":
        loader = DataLoader(data(n), 4, shuffle=True)
    told = None
    try:
        run(model, loader, LOSS, optimizer, **options)
    except ValueError as error:
        told = str(error)
    return told, ranks.sums(1)


REFUSED = {
    "no sampler": "each would take all samples of the train loader, whose sampler RandomSampler",
    "not wrapped": "each would train one of its own. Wrap it before you make the optimizer",
    "length": "disagree on the train sampler: rank 0 has {'samples': 16",
    "seed": "disagree on the train sampler: rank 0 has {'samples': 16",
    "validation of one": "disagree on phases: rank 0 has ['train', 'valid'], rank 1 has ['train']",
    "scheduler": "ranks disagree on steps of the scheduler: rank 0 has 9, rank 1 has 6",
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_go_wrong_is_refused_on_every_rank(pool, case):
    for told, group in pool.run(refused, case):
        assert REFUSED[case] in told and group == [2.0]


# Alone


def test_a_group_of_one_is_no_group():
    bare = trained(None, 17, 8, {})
    with process_group() as ranks:
        assert (ranks.rank, ranks.world, ranks.first) == (0, 1, True)
        assert trained(ranks, 17, 8, {}) == bare
    assert not torch.distributed.is_initialized()


# The example, under torchrun


def epochs_in(path):
    """The results in a checkpoint, two an epoch, 0 before it is there; the file is whole at any moment."""
    if not path.exists():
        return 0
    return len(History.from_state_dict(torch.load(path, weights_only=True)["history"]))


@pytest.fixture
def example(tmp_path, monkeypatch, capsys):
    """Run the example alone, in this process and a folder, to its end; return what it said."""

    def run_alone(*options):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["example", *options])
        with pytest.raises(SystemExit, match="^0$"):
            runpy.run_path(str(EXAMPLE), run_name="__main__")
        return capsys.readouterr().out

    return run_alone


def example_on(ranks, *options):
    """Train as the example does, on ranks that are there already; return the history."""
    names = runpy.run_path(str(EXAMPLE))
    history = names["train"](names["read_options"](options), ranks, torch.device("cpu"))
    return history.to_dict()


class Launched:
    """The example under torchrun, in a folder, started in the background."""

    def __init__(self, folder, *options, restarts=0):
        self.checkpoint, self.output = folder / "run.pt", (folder / "output.txt").open("w")
        launcher = f"""-m torch.distributed.run --nnodes=1 --nproc-per-node=2 --max-restarts={restarts}
                       --rdzv-backend=c10d --rdzv-endpoint=localhost:{free_port()}"""
        command = [sys.executable, *launcher.split(), str(EXAMPLE), *options]
        settings = {"cwd": folder, "stderr": subprocess.STDOUT}
        self.process = psutil.Popen(command, stdout=self.output, **settings)
        self.seen = set()

    def text(self):
        return Path(self.output.name).read_text()

    def ranks(self):
        """The processes that train; all below the launcher are remembered, as the workers that load."""
        try:
            self.seen.update(self.process.children(recursive=True))
            return [p for p in self.process.children() if str(EXAMPLE) in p.cmdline()]
        except psutil.NoSuchProcess:
            return []

    def wait_for(self, condition, seconds=240):
        """Look now and then, seldom enough to leave the others the processor."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.text()
            time.sleep(0.1)

    def over(self):
        return self.process.poll() is not None

    def ended(self):
        """Wait for the launcher; return its exit code, and assert that nothing of it is left."""
        self.wait_for(self.over)
        self.wait_for(lambda: not any(map(alive, self.seen)))
        return self.process.returncode

    def close(self):
        for process in (self.process, *self.seen):
            if alive(process):
                process.kill()
        self.process.wait()
        self.output.close()


def alive(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def launch(tmp_path):
    started = []

    def start(*options, **more):
        started.append(Launched(tmp_path, *options, **more))
        return started[-1]

    yield start
    for launched in started:
        launched.close()


def test_the_example_runs_with_no_arguments(tmp_path, example):
    said = example()
    rows = [line.split() for line in said.splitlines() if line.endswith(" yes")]
    assert [row[0] for row in rows] == ["1", "2", "3"] and float(rows[2][1]) < float(rows[0][1])
    assert epochs_in(tmp_path / "run.pt") == 6  # of training and of validation


def test_ranks_killed_at_random_restart_and_end_with_the_history_of_an_unbroken_run(
    pool, launch, tmp_path
):
    epochs, chance = 4 + 2 * KILLS, random.Random(0)
    options = f"--epochs={epochs}", "--batch-size=16", "--samples=301"
    broken = launch(*options, "--history=broken.json", restarts=KILLS)
    for kill in range(KILLS):
        more = epochs_in(broken.checkpoint) + 1
        broken.wait_for(lambda more=more: epochs_in(broken.checkpoint) >= more or broken.over())
        time.sleep(chance.uniform(0, 0.1))
        ranks = broken.ranks()
        assert len(ranks) == 2, f"over before kill {kill}: {broken.text()}"
        chance.choice(ranks).kill()
        broken.wait_for(lambda dead=ranks: not any(map(alive, dead)))
    assert broken.ended() == 0, broken.text()
    assert broken.text().count("going on after epoch") == KILLS
    unbroken, _ = pool.run(example_on, *options, f"--checkpoint={tmp_path / 'unbroken.pt'}")
    assert json.loads((tmp_path / "broken.json").read_text()) == unbroken
    assert len(unbroken["train_loss"]) == epochs


@pytest.mark.parametrize("how", SIGNALS)
def test_no_rank_or_worker_outlives_its_launcher_and_the_run_goes_on(launch, example, how):
    """The launcher alone is told, as by Ctrl-C in a terminal: its ranks have a process group of their own."""
    options = "--batch-size=16", "--samples=301"
    run = launch("--epochs=100000", "--workers=1", *options)
    run.wait_for(lambda: epochs_in(run.checkpoint) > 1 or run.over())
    assert len(run.ranks()) == 2, run.text()
    run.process.send_signal(how)
    assert run.ended() != 0
    reached = epochs_in(run.checkpoint) // 2
    said = example(f"--epochs={reached + 1}", *options)
    assert f"going on after epoch {reached}" in said and reached >= 1
    assert epochs_in(run.checkpoint) == 2 * (reached + 1)
