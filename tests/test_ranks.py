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
from contextlib import closing, redirect_stderr
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
from torch.utils.data import DataLoader, DistributedSampler, Subset, TensorDataset

from dlhelpers.data import POLICIES, BlockShuffleSampler, Stream
from dlhelpers.measure import plan
from dlhelpers.train import (
    History,
    accuracy,
    evaluate,
    load_checkpoint,
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
    sgd(
        network()
    )  # the first optimizer of a process imports much of PyTorch: once, before they fork
    ranks = RankPool()
    yield ranks
    assert ranks.close() == [0, 0]


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


def trained(ranks, n, batch_size, options):
    """Train two epochs, alone or as a rank; return weights, and the history without its times."""
    model = network() if ranks is None else wrapped()
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


def streamed(ranks):
    mine = range(6) if ranks.first else range(6, 20)  # three batches and seven
    model, loader = wrapped(norm=True), DataLoader(Stream(Subset(data(20), mine)), 2)
    result = train_epoch(model, loader, LOSS, sgd(model))
    loss = evaluate(model, loader, LOSS).loss
    return values(model), result.samples, result.batches, loss


def test_a_batch_taken_again_does_not_count_in_averages(pool):
    one, other = pool.run(streamed)
    assert one == other and one[1:3] == (20, 7)
    batches_of_norm = one[0][6]
    assert batches_of_norm == 3


# Orders and random numbers


def orders(ranks):
    seen, noise = [], []

    def batch_of(numbers):
        seen.extend(numbers)
        noise.append(torch.rand(()).item())
        return data(len(numbers)).tensors

    loader = DataLoader(range(12), 3, sampler=DistributedSampler(range(12)), collate_fn=batch_of)
    run(wrapped(), loader, epochs=2, seed=4)
    return seen, noise


def test_fit_tells_the_sampler_of_the_epoch_and_ranks_draw_different_numbers(pool):
    (one, noise), (other, other_noise) = pool.run(orders)
    for start in (0, 6):
        assert sorted(one[start : start + 6] + other[start : start + 6]) == list(range(12))
    assert one[:6] != one[6:12] and noise and not set(noise) & set(other_noise)


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
    model, n, options = wrapped(), 16, {}
    optimizer, sampler = sgd(model), None
    if case == "not wrapped":
        model = network()
        optimizer = sgd(model)
    elif case == "seed":
        sampler = BlockShuffleSampler(n, seed=ranks.rank, rank=ranks.rank, world=2)
    elif case == "validation of one" and ranks.first:
        options = {"valid_loader": own(n, 4, ranks)}
    elif case == "scheduler":  # rank 0 has three batches, and rank 1 two
        n, steps = 17, 3 * (3 - ranks.rank)
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
    "seed": "disagree on the train sampler: rank 0 has {'samples': 16",
    "validation of one": "disagree on phases: rank 0 has ['train', 'valid'], rank 1 has ['train']",
    "scheduler": "ranks disagree on steps of the scheduler: rank 0 has 9, rank 1 has 6",
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_go_wrong_is_refused_on_every_rank(pool, case):
    for told, group in pool.run(refused, case):
        assert REFUSED[case] in told and group == [2.0]


# The example, under torchrun


def saved(path):
    """The history in a checkpoint, which is whole at any moment; empty before it is there."""
    if not path.exists():
        return History()
    return History.from_state_dict(torch.load(path, weights_only=True)["history"])


def example_on(ranks, *options):
    """Train as the example does, on ranks that are there already; return the history."""
    names = runpy.run_path(str(EXAMPLE))
    history = names["train"](names["read_options"](options), ranks, torch.device("cpu"))
    return history.to_dict()


class Launched:
    """The example under torchrun, in a folder, started in the background."""

    def __init__(self, folder, *options):
        self.checkpoint, self.output = folder / "run.pt", (folder / "output.txt").open("w")
        launcher = f"""-m torch.distributed.run --nnodes=1 --nproc-per-node=2 --max-restarts={KILLS}
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


def test_the_example_runs_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["example", "--history=told.json"])
    with pytest.raises(SystemExit, match="^0$"):
        runpy.run_path(str(EXAMPLE), run_name="__main__")
    history = saved(tmp_path / "run.pt")
    assert repr(history) in capsys.readouterr().out and history.epochs == 3
    assert json.loads((tmp_path / "told.json").read_text()) == history.to_dict()
    assert history[4].loss < history[0].loss
    assert not torch.distributed.is_initialized(), "it has left its group of one"


@pytest.mark.parametrize("how", SIGNALS)
def test_killed_ranks_restart_as_if_unbroken_and_none_outlives_its_launcher(pool, tmp_path, how):
    """The launcher alone is told, as by Ctrl-C in a terminal: its ranks have a process group of their own."""
    options, chance = ("--batch-size=16", "--samples=301"), random.Random(0)
    with closing(Launched(tmp_path, *options, "--epochs=100000", "--workers=1")) as run:
        for kill in range(KILLS + 1):
            more = len(saved(run.checkpoint)) + 1
            run.wait_for(lambda more=more: len(saved(run.checkpoint)) >= more or run.over())
            time.sleep(chance.uniform(0, 0.1))
            ranks = run.ranks()
            assert len(ranks) == 2, f"over before kill {kill}: {run.text()}"
            if kill < KILLS:
                chance.choice(ranks).kill()
                run.wait_for(lambda dead=ranks: not any(map(alive, dead)))
        run.process.send_signal(how)
        assert run.ended() != 0
        assert run.text().count("going on after epoch") == KILLS
        assert "rank(s)" not in run.text(), "of as many ranks as before nothing is told"
    broken = saved(run.checkpoint)
    options += f"--epochs={broken.epochs}", f"--checkpoint={tmp_path / 'unbroken.pt'}"
    assert pool.run(example_on, *options) == [broken.to_dict()] * 2
