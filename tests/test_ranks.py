"""Tests of `ranks`: the same numbers as one process, kills and restarts, and what is refused.

Two processes stay for the whole file; the example runs under torchrun. DLHELPERS_FULL=1 kills it more often.
"""

import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import psutil
import pytest
import torch
from rank_pool import RankPool, free_port
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import (
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    TensorDataset,
)

from dlhelpers.data import BlockShuffleSampler
from dlhelpers.train import (
    History,
    accuracy,
    evaluate,
    fit,
    load_checkpoint,
    process_group,
    save_checkpoint,
    train_epoch,
    unwrap,
)
from dlhelpers.train import ranks as distributed
from dlhelpers.train.ranks import current

LOSS = nn.CrossEntropyLoss()
EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "train_distributed.py"
FULL = os.environ.get("DLHELPERS_FULL") == "1"
KILLS = 10 if FULL else 2


@pytest.fixture(scope="module")
def pool():
    ranks = RankPool()
    yield ranks
    ranks.close()


def data(n):
    random = torch.Generator().manual_seed(n)
    return TensorDataset(
        torch.randn(n, 5, generator=random).double(), torch.randint(3, (n,), generator=random)
    )


def network(norm=False):
    torch.manual_seed(0)
    parts = [nn.Linear(5, 8), nn.BatchNorm1d(8) if norm else nn.Tanh(), nn.Linear(8, 3)]
    return nn.Sequential(*parts).double()


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def ours(n, ranks, policy="exact"):
    place = {} if ranks is None else {"rank": ranks.rank, "world": ranks.world}
    return BlockShuffleSampler(n, block=4, window=3, seed=5, policy=policy, **place)


def trained(ranks, n, batch_size, options, norm=False):
    """Train two epochs, alone or as a rank; return weights, and the history without its times."""
    model = network(norm)
    model = model if ranks is None else DistributedDataParallel(model)
    loaders = [DataLoader(data(size), batch_size, sampler=ours(size, ranks)) for size in (n, n + 1)]
    history = fit(
        model,
        loaders[0],
        LOSS,
        sgd(model),
        epochs=2,
        valid_loader=loaders[1],
        metrics={"accuracy": accuracy},
        seed=1,
        progress=False,
        **options,
    )
    numbers = [
        (r.loss, *r.metrics.values(), r.samples, r.batches, r.optimizer_steps, r.complete)
        for r in history
    ]
    return [value.tolist() for value in unwrap(model).state_dict().values()], numbers


def near(one, other):
    """Compare nested lists of numbers to 1e-6, and to 1e-9 relative."""
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(near(a, b) for a, b in zip(one, other, strict=True))
    return one == pytest.approx(other, rel=1e-9, abs=1e-9)


# As one process with the doubled batch


@pytest.mark.parametrize("n", [16, 17, 18, 19, 2, 3, 5])
@pytest.mark.parametrize("options", [{}, {"micro_batch_size": 3, "max_norm": 0.2}])
def test_two_ranks_equal_one_with_the_doubled_batch(pool, n, options):
    alone = trained(None, n, 8, options)
    both = pool.run(trained, n, 4, options)
    assert both[0] == both[1]
    assert near(both[0], alone) and len(alone[1]) == 4 and alone[1][0][2] == n


def test_averages_of_batchnorm_are_the_same_on_all_ranks_when_they_are_measured(pool):
    one, other = pool.run(trained, 20, 4, {}, True)
    assert one[1] == other[1] and one[0][-2:] == other[0][-2:]


def evaluated(ranks, n, kind, batch_size, plain):
    loader = DataLoader(data(n), batch_size, sampler=kind(n, ranks))
    model = network(norm=True) if plain else DistributedDataParallel(network(norm=True))
    result = evaluate(model, loader, LOSS, metrics={"accuracy": accuracy})
    return result.loss, result.metrics["accuracy"], result.samples


def exact(n, ranks):
    return ours(n, ranks)


def padded(n, ranks):
    return ours(n, ranks, "pad")


def torchs(n, ranks):
    return DistributedSampler(data(n), shuffle=True, seed=3)


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("kind", [exact, padded, torchs])
@pytest.mark.parametrize(("n", "batch_size"), [(10, 5), (11, 5), (9, 2)])
def test_evaluation_counts_each_sample_once(pool, n, kind, batch_size, plain):
    found = pool.run(evaluated, n, kind, batch_size, plain)
    result = evaluate(
        network(norm=True), DataLoader(data(n), 4), LOSS, metrics={"accuracy": accuracy}
    )
    assert near(found, [(result.loss, result.metrics["accuracy"], n)] * 2)


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("kind", [padded, torchs])
def test_a_rank_that_has_nothing_but_repeats_counts_nothing(pool, kind, plain):
    found = pool.run(evaluated, 1, kind, 2, plain)
    result = evaluate(
        network(norm=True), DataLoader(data(1), 4), LOSS, metrics={"accuracy": accuracy}
    )
    assert near(found, [(result.loss, result.metrics["accuracy"], 1)] * 2)


def padded_epoch(ranks, n, policy):
    model = DistributedDataParallel(network())
    result = train_epoch(
        model, DataLoader(data(n), 4, sampler=ours(n, ranks, policy)), LOSS, sgd(model)
    )
    return result.samples, result.batches, result.optimizer_steps


@pytest.mark.parametrize(("policy", "counted"), [("pad", 18), ("drop", 16), ("exact", 17)])
def test_training_counts_what_it_trains_on(pool, policy, counted):
    steps = 3 if counted > 16 else 2
    assert pool.run(padded_epoch, 17, policy) == [(counted, steps, steps)] * 2


class Stream(IterableDataset):
    def __init__(self, samples):
        self.samples = samples

    def __iter__(self):
        return iter([data(20)[k] for k in self.samples])


def streamed(ranks):
    mine = range(0, 14) if ranks.rank == 0 else range(14, 20)  # seven batches and three
    model = DistributedDataParallel(network())
    loader = DataLoader(Stream(mine), 2)
    result = train_epoch(model, loader, LOSS, sgd(model))
    weights = [p.tolist() for p in model.parameters()]
    return weights, result.samples, result.batches, evaluate(model, loader, LOSS).loss


def test_very_unequal_streams_do_not_hang_and_keep_the_weights_together(pool):
    one, other = pool.run(streamed)
    assert one == other and one[1:3] == (20, 7)


def normed(ranks):
    mine = range(0, 6) if ranks.rank == 0 else range(6, 20)  # three batches and seven
    model = DistributedDataParallel(network(norm=True))
    train_epoch(model, DataLoader(Stream(mine), 2), LOSS, sgd(model))
    return unwrap(model)[1].num_batches_tracked.item()


def test_a_batch_taken_again_does_not_count_in_averages(pool):
    assert pool.run(normed)[0] == 3


def scheduled(ranks, batches):
    model = DistributedDataParallel(network())
    optimizer = sgd(model)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=3 * batches)
    history = fit(
        model,
        DataLoader(data(17), 4, sampler=ours(17, ranks)),
        LOSS,
        optimizer,
        epochs=3,
        progress=False,
        scheduler=scheduler,
        scheduler_unit="step",
    )
    return [p.tolist() for p in model.parameters()], scheduler.get_last_lr(), history.epochs


def test_a_scheduler_counts_the_steps_of_the_longest_rank(pool):
    one, other = pool.run(scheduled, 3)  # nine samples on rank 0 and eight on rank 1
    assert one == other and one[2] == 3


# Orders and random numbers


def orders(ranks):
    seen, noise = [], []

    class Spy(nn.Linear):
        def forward(self, inputs):
            noise.append(torch.rand(()).item())
            return super().forward(inputs)

    class Shown(Dataset):
        def __len__(self):
            return 12

        def __getitem__(self, index):
            seen.append(index)
            return torch.ones(5), 0

    for sampler in (DistributedSampler(range(12)), ours(12, ranks)):
        model = DistributedDataParallel(Spy(5, 3))
        fit(
            model,
            DataLoader(Shown(), 3, sampler=sampler),
            LOSS,
            sgd(model),
            epochs=2,
            seed=4,
            progress=False,
        )
    return seen, noise


def test_fit_tells_the_sampler_of_the_epoch_and_ranks_draw_different_numbers(pool):
    (one, noise), (other, other_noise) = pool.run(orders)
    for start in (0, 6, 12, 18):
        assert sorted(one[start : start + 6] + other[start : start + 6]) == list(range(12))
    assert one[:6] != one[6:12] and one[12:18] != one[18:24]
    assert noise and not set(noise) & set(other_noise)


def test_fit_tells_the_sampler_of_the_epoch_without_ranks_too():
    sampler = ours(8, None)
    told, true = [], sampler.set_epoch
    sampler.set_epoch = lambda epoch: told.append(epoch) or true(epoch)
    model = network()
    fit(model, DataLoader(data(8), 4, sampler=sampler), LOSS, sgd(model), epochs=2, progress=False)
    assert told == [1, 2]


def stopped_by_one(ranks):
    model, loader = (
        DistributedDataParallel(network()),
        DataLoader(data(8), 2, sampler=ours(8, ranks)),
    )
    history = fit(
        model,
        loader,
        LOSS,
        sgd(model),
        epochs=3,
        on_epoch_end=None if ranks.first else lambda trained, valid: True,
        progress=False,
    )
    return history.stop_reason, history.epochs


def test_one_rank_may_end_training_for_all(pool):
    assert pool.run(stopped_by_one) == [("on_epoch_end returned True after epoch 1", 1)] * 2


# Rank 0 alone draws and writes


def bars_and_files(ranks, folder):
    import io
    from contextlib import redirect_stderr

    os.environ.pop("TQDM_DISABLE", None)

    class Screen(io.StringIO):
        def isatty(self):
            return True

    model = DistributedDataParallel(network())
    path = Path(folder) / f"rank{ranks.rank}.pt"  # a name of its own shows who wrote
    with redirect_stderr(Screen()) as screen:
        fit(
            model,
            DataLoader(data(8), 2, sampler=ours(8, ranks)),
            LOSS,
            sgd(model),
            epochs=1,
            checkpoint=path,
        )
    return "batch" in screen.getvalue(), path.exists()


def test_the_first_rank_alone_draws_the_bar_and_writes_the_checkpoint(pool, tmp_path):
    assert pool.run(bars_and_files, tmp_path) == [(True, True), (False, False)]


# Checkpoints


def resumed(ranks, path, first, second, batch_size):
    """Train to the end of epoch `first`, then go on to `second` with the checkpoint, as one process or several."""
    for epochs in (first, second):
        if not epochs:
            continue
        model = network()
        model = model if ranks is None else DistributedDataParallel(model)
        optimizer = sgd(model)
        history = History()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if Path(path).exists():
                history = load_checkpoint(path, model, optimizer)
        _ = ranks and ranks.sums(0)  # nobody writes before all have read
        fit(
            model,
            DataLoader(data(17), batch_size, sampler=ours(17, ranks)),
            LOSS,
            optimizer,
            history=history,
            epochs=epochs,
            checkpoint=path,
            seed=2,
            progress=False,
        )
    told = [str(warning.message) for warning in caught if "rank(s)" in str(warning.message)]
    return [p.tolist() for p in model.parameters()], history.column("train_loss"), told


def test_a_resumed_run_is_the_unbroken_one(pool, tmp_path):
    broken, unbroken = (
        pool.run(resumed, tmp_path / f"{first}.pt", first, 4 - first, 4) for first in (2, 4)
    )
    assert broken == unbroken and len(broken[0][1]) == 4 and broken[0][2] == []


def test_another_number_of_ranks_goes_on_with_the_same_effective_batch(pool, tmp_path):
    unbroken = resumed(None, tmp_path / "alone.pt", 4, 0, 8)
    resumed(None, tmp_path / "grown.pt", 2, 0, 8)
    grown = pool.run(resumed, tmp_path / "grown.pt", 0, 2, 4)
    pool.run(resumed, tmp_path / "shrunk.pt", 2, 0, 4)
    shrunk = resumed(None, tmp_path / "shrunk.pt", 0, 2, 8)
    for run in (*grown, shrunk):
        assert near(run[:2], unbroken[:2])
    assert (
        "saved by 1 rank(s), and 2 go on" in grown[0][2][0]
        and "takes 2 times the samples" in grown[0][2][0]
    )
    assert "saved by 2 rank(s), and 1 go on" in shrunk[2][0] and "takes 0.5 times" in shrunk[2][0]


# What is refused


def refused(ranks, case):
    """Return what this rank is told, and whether the group can still be used."""
    model, n, options = DistributedDataParallel(network()), 16, {}
    optimizer, sampler, seed = sgd(model), None, 1
    if case == "alone":
        sampler = ours(n, None)
    elif case == "not wrapped":
        model = network()
        optimizer = sgd(model)
    elif case == "length":
        n = 16 + 2 * ranks.rank
    elif case == "seed":
        sampler = BlockShuffleSampler(n, seed=ranks.rank, rank=ranks.rank, world=2)
    elif case == "seed of fit":
        seed = ranks.rank
    elif case == "other place":
        sampler = BlockShuffleSampler(n, rank=1 - ranks.rank, world=2)
    elif case == "epochs":
        options = {"epochs": 1 + ranks.rank}
    elif case == "checkpoint of one":
        options = {"checkpoint": "run.pt" if ranks.first else None}
    elif case == "validation of one" and ranks.first:
        options = {"valid_loader": DataLoader(data(n), 4, sampler=ours(n, ranks))}
    elif case == "rates":
        optimizer.param_groups[0]["lr"] = 0.1 + ranks.rank
    elif case == "scheduler":  # rank 0 has three batches, and rank 1 two
        n, own = 17, 3 * (3 - ranks.rank)
        options = {"epochs": 3, "scheduler_unit": "step"}
        options["scheduler"] = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, own)
    loader = DataLoader(data(n), 4, sampler=sampler or ours(n, ranks))
    if case == "no sampler":
        loader = DataLoader(data(n), 4, shuffle=True)
    told = None
    try:
        fit(model, loader, LOSS, optimizer, seed=seed, progress=False, **{"epochs": 1, **options})
    except ValueError as error:
        told = str(error)
    return told, ranks.sums(1)


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (
            "no sampler",
            "each would take all samples of the train loader, whose sampler RandomSampler",
        ),
        ("alone", "whose sampler BlockShuffleSampler does not split them. Use sampler="),
        ("not wrapped", "each would train one of its own. Wrap it before you make the optimizer"),
        ("length", "disagree on the train sampler: rank 0 has {'samples': 16"),
        ("seed", "disagree on the train sampler: rank 0 has"),
        ("seed of fit", "ranks disagree on seed: rank 0 has 0, rank 1 has 1"),
        ("other place", "the train loader's sampler was made for rank"),
        ("epochs", "ranks disagree on epochs: rank 0 has 1, rank 1 has 2"),
        ("checkpoint of one", "ranks disagree on checkpoint: rank 0 has True, rank 1 has False"),
        (
            "validation of one",
            "disagree on phases: rank 0 has ['train', 'valid'], rank 1 has ['train']",
        ),
        ("rates", "ranks disagree on learning rates: rank 0 has '[0.1]', rank 1 has '[1.1]'"),
        ("scheduler", "ranks disagree on steps of the scheduler: rank 0 has 9, rank 1 has 6"),
    ],
)
def test_what_would_go_wrong_is_refused_on_every_rank(pool, case, words):
    for told, group in pool.run(refused, case):
        assert words in told and group == [2.0]


# Alone


def test_a_group_of_one_is_no_group(monkeypatch):
    for name in distributed.ADDRESS:
        monkeypatch.delenv(name, raising=False)
    bare = trained(None, 17, 8, {})
    with process_group() as ranks:
        assert (ranks.rank, ranks.world, ranks.first) == (0, 1, True) and current() == ranks
        model = DistributedDataParallel(network())
        history = fit(
            model,
            DataLoader(data(17), 8, sampler=ours(17, ranks)),
            LOSS,
            sgd(model),
            epochs=2,
            seed=1,
            progress=False,
        )
        assert [p.tolist() for p in model.parameters()] == bare[0]
        assert ranks.gather("a") == ["a"] and ranks.sums(2, 3) == [2, 3]
    assert not torch.distributed.is_initialized() and history[0].samples == 17


def test_more_ranks_than_gpus_are_named(monkeypatch):
    monkeypatch.setattr(distributed, "pick_device", lambda prefer: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(
        ValueError, match="process 2 of this machine has no cuda device of its own, there are 2"
    ):
        distributed.rank_device()


def test_a_checkpoint_of_a_wrapped_model_fits_a_bare_one(tmp_path):
    with process_group():
        model = DistributedDataParallel(network())
        save_checkpoint(tmp_path / "run.pt", model, sgd(model), history=History())
    load_checkpoint(tmp_path / "run.pt", network())


# The example, under torchrun


def alive(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Launched:
    """The example under torchrun, in a folder of its own; whatever is left at the end is ended."""

    def __init__(self, folder, *options, restarts=0, ranks=2):
        self.checkpoint, self.history = folder / "run.pt", folder / "history.json"
        launcher = f"""-m torch.distributed.run --nnodes=1 --nproc-per-node={ranks} --max-restarts={restarts}
                       --rdzv-backend=c10d --rdzv-endpoint=localhost:{free_port()}"""
        files = [f"--checkpoint={self.checkpoint}", f"--history={self.history}"]
        command = [sys.executable, *launcher.split(), EXAMPLE, *files, *options]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "TQDM_DISABLE": "1",
            "DLHELPERS_DEVICE": "cpu",
        }
        self.output = (folder / "output.txt").open("w")
        self.process = psutil.Popen(
            [*map(str, command)],
            env=environment,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,
        )
        self.seen = set()

    def text(self):
        return Path(self.output.name).read_text()

    def ranks(self):
        """The processes that train, with all that were ever seen remembered."""
        try:
            found = [p for p in self.process.children() if str(EXAMPLE) in p.cmdline()]
            self.seen.update(found, self.process.children(recursive=True))
        except psutil.NoSuchProcess:
            found = []
        return found

    def wait_for(self, condition, seconds=100):
        end, looked = time.monotonic() + seconds, 0.0
        while not condition():
            if time.monotonic() - looked > 0.5:  # looking through all processes takes a while
                self.ranks()
                looked = time.monotonic()
            assert time.monotonic() < end, self.text()
            time.sleep(0.05)

    def ended(self, seconds=100):
        """Wait for the launcher; return its exit code, and assert that nothing of it is left."""
        self.wait_for(lambda: self.process.poll() is not None, seconds)
        self.wait_for(lambda: not any(map(alive, self.seen)), 30)
        return self.process.returncode

    def close(self):
        for process in (*self.seen, self.process):
            if process.is_running():
                process.kill()
        self.process.wait()
        self.output.close()


@pytest.fixture
def launch(tmp_path):
    started = []

    def start(name, *options, **more):
        (tmp_path / name).mkdir()
        started.append(Launched(tmp_path / name, *options, **more))
        return started[-1]

    yield start
    for launched in started:
        launched.close()


def epochs_in(path):
    """The finished epochs of a checkpoint, 0 before it is there; the file is whole at any moment."""
    return (
        len(History.from_state_dict(torch.load(path, weights_only=True)["history"]))
        if path.exists()
        else 0
    )


def unbroken(ranks, arguments):
    example = importlib.util.spec_from_file_location("train_distributed", EXAMPLE)
    module = importlib.util.module_from_spec(example)
    example.loader.exec_module(module)
    return module.train(module.read_options(arguments), ranks, torch.device("cpu")).to_dict()


def run_example(folder, *launcher, seconds=200):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "DLHELPERS_DEVICE": "cpu"}
    command = [sys.executable, *launcher, str(EXAMPLE)]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds
    )


@pytest.mark.parametrize(
    "launcher", ["", "-m torch.distributed.run --standalone --nproc-per-node=2"]
)
def test_the_example_runs_with_no_arguments_alone_and_under_torchrun(tmp_path, launcher):
    done = run_example(tmp_path, *launcher.split())
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [line.split() for line in done.stdout.splitlines() if line.endswith(" yes")]
    assert [row[0] for row in rows] == ["1", "2", "3"] and float(rows[2][1]) < float(rows[0][1])
    assert epochs_in(tmp_path / "run.pt") == 6  # of training and of validation


def test_ranks_killed_at_random_restart_and_end_with_the_history_of_an_unbroken_run(
    launch, pool, tmp_path
):
    epochs, chance = 10 + 2 * KILLS, random.Random(0)
    options = (f"--epochs={epochs}", "--batch-size=16", "--samples=301")
    broken = launch("broken", *options, restarts=KILLS)
    for kill in range(KILLS):
        reached = epochs_in(broken.checkpoint)
        broken.wait_for(
            lambda more=reached + 1: (
                epochs_in(broken.checkpoint) >= more or broken.process.poll() is not None
            )
        )
        time.sleep(chance.uniform(0, 0.1))
        assert len(ranks := broken.ranks()) == 2, f"over before kill {kill}: {broken.text()}"
        chance.choice(ranks).kill()
        broken.wait_for(lambda dead=ranks: not any(map(alive, dead)))
    assert broken.ended() == 0, broken.text()
    assert broken.text().count("going on after epoch") == KILLS
    expected = pool.run(unbroken, [f"--checkpoint={tmp_path / 'u.pt'}", *options], timeout=200)[0]
    assert (
        json.loads(broken.history.read_text()) == expected and len(expected["train_loss"]) == epochs
    )


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_rank_or_worker_outlives_its_launcher_and_the_run_goes_on(launch, tmp_path, how):
    """SIGINT reaches the whole group, as Ctrl-C in a terminal does; SIGKILL the launcher alone."""
    run = launch("run", "--epochs=100000", "--batch-size=16", "--samples=301", "--workers=1")
    run.wait_for(lambda: epochs_in(run.checkpoint) > 1)
    assert len(run.ranks()) == 2
    if how == signal.SIGINT:
        os.killpg(run.process.pid, how)
    else:
        run.process.send_signal(how)
    assert run.ended() != 0
    reached = epochs_in(run.checkpoint) // 2
    assert reached >= 1
    again = launch("again", f"--epochs={reached + 1}", "--batch-size=16", "--samples=301")
    again.checkpoint.unlink(missing_ok=True)
    run.checkpoint.rename(again.checkpoint)
    assert again.ended() == 0, again.text()
    assert epochs_in(again.checkpoint) == 2 * (reached + 1)
