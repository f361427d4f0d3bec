"""Tests of several ranks: the same numbers as one process, stopping together, kills, and what is refused.

Two processes stay for the whole file; the example runs under torchrun. DLHELPERS_FULL=1 kills it more often.
"""

import importlib.util
import json
import os
import random
import signal
import socket
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
    default_collate,
)

from dlhelpers.data import BlockShuffleSampler
from dlhelpers.packed import ShardWriter
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
from dlhelpers.train import meter as tally
from dlhelpers.train import ranks as distributed
from dlhelpers.train.interruption import interruption, on_any_rank
from dlhelpers.train.ranks import agree, current, on_first_rank

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


# Stopping together


def whole(rows):
    """A batch, or None where a sample of it is missing."""
    return default_collate(rows) if all(row is not None for row in rows) else None


def stopped(ranks, how, where):
    """Let rank `where` stop the others in epoch 2; return how this rank ended."""
    model = DistributedDataParallel(network())

    class Trouble(TensorDataset):
        reads = 0

        def __getitem__(self, index):
            Trouble.reads += 1
            if ranks.rank == where and Trouble.reads == 14:
                if how == "raised":
                    raise KeyboardInterrupt
                if how == "signal":
                    os.kill(os.getpid(), signal.SIGINT)
                if how == "launcher gone":
                    os.environ["TORCHELASTIC_RUN_ID"], interruption._parent = "run", -1
                if how == "broken file":
                    raise OSError("no such sample")
                if how == "nothing":
                    return None
                if how == "nan":
                    return torch.full((5,), torch.nan).double(), torch.tensor(0)
            return super().__getitem__(index)

    def at_end(*results):
        if how == "broken disk":
            raise OSError("no space left")
        return how == "asked"

    before, tally.READ_SECONDS = tally.READ_SECONDS, 0.0  # read the sums at each step
    history = History()
    source = Trouble(*data(20).tensors)
    loader = DataLoader(source, 2, sampler=ours(20, ranks), collate_fn=whole)
    try:
        fit(
            model,
            loader,
            LOSS,
            sgd(model),
            epochs=3,
            history=history,
            on_epoch_end=at_end if ranks.rank == where else None,
            progress=False,
        )
        ended = history.stop_reason
    except Exception as error:
        ended = f"{type(error).__name__}: {error}"
    finally:
        tally.READ_SECONDS = before
        os.environ.pop("TORCHELASTIC_RUN_ID", None)
        interruption._parent = os.getppid()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    together = ranks.sums(1)  # the group can still be used
    last = history[-1]
    return ended, history.epochs, (last.loss, last.samples, last.batches, last.complete), together


@pytest.mark.parametrize("where", [0, 1])
@pytest.mark.parametrize("how", ["raised", "signal", "launcher gone"])
def test_an_interrupt_of_one_rank_stops_all_at_the_same_step(pool, how, where):
    one, other = pool.run(stopped, how, where)
    assert one == other and one[0] == "interrupted" and one[1] == 1
    assert not one[2][3] and 0 < one[2][1] < 20


@pytest.mark.parametrize("where", [0, 1])
def test_all_ranks_stop_at_a_loss_that_is_no_number(pool, where):
    one, other = pool.run(stopped, "nan", where)
    assert one[0] == other[0] and one[0].startswith(
        "FloatingPointError: the train loss of epoch 2, iteration 2 "
    )
    assert one[1] == 1 and one[2][1:] == other[2][1:] and one[2][2:] == (2, False)


def test_what_one_rank_cannot_load_stops_all(pool):
    one, other = pool.run(stopped, "broken file", 1)
    assert one[0].startswith("RuntimeError: another rank could not load its batch")
    assert other[0] == "OSError: no such sample" and one[1:] == other[1:]


def test_a_batch_that_is_none_is_no_end(pool):
    one, other = pool.run(stopped, "nothing", 1)
    assert one[0].startswith("RuntimeError: another rank could not load its batch")
    assert other[0].startswith("TypeError: a batch came as NoneType") and one[1:] == other[1:]


def test_what_fails_after_an_epoch_on_one_rank_stops_all(pool):
    one, other = pool.run(stopped, "broken disk", 1)
    assert one[0] == "RuntimeError: another rank failed after its epoch and says why: all stop here"
    assert other[0] == "OSError: no space left" and one[1:] == other[1:] and one[1] == 1


def test_one_rank_may_end_training_for_all(pool):
    one, other = pool.run(stopped, "asked", 1)
    assert one == other and one[0] == "on_epoch_end returned True after epoch 1"


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


def failing(ranks):
    def save():
        raise OSError("the disk is full")

    try:
        on_first_rank(save)
    except (OSError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"


def test_a_checkpoint_that_fails_stops_all(pool):
    assert pool.run(failing) == [
        "OSError: the disk is full",
        "RuntimeError: rank 0 stopped: OSError: the disk is full",
    ]


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
        on_any_rank(None)  # nobody writes before all have read
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


def test_a_scheduler_that_counts_steps_is_named_when_the_ranks_change(pool, tmp_path):
    pool.run(saved_with_steps, tmp_path / "run.pt")
    model = network()
    optimizer = sgd(model)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 5)
    with pytest.warns(UserWarning, match="above all since the scheduler counts steps"):
        load_checkpoint(tmp_path / "run.pt", model, optimizer, scheduler=scheduler)


def saved_with_steps(ranks, path):
    model = DistributedDataParallel(network())
    optimizer = sgd(model)
    fit(
        model,
        DataLoader(data(16), 4, sampler=ours(16, ranks)),
        LOSS,
        optimizer,
        epochs=1,
        checkpoint=path,
        scheduler=torch.optim.lr_scheduler.StepLR(optimizer, 5),
        scheduler_unit="step",
        progress=False,
    )


# What is refused


def refused(ranks, case):
    """Return what this rank is told, and whether the group can still be used."""
    model, n, options = DistributedDataParallel(network()), 16, {}
    sampler, seed = None, 1
    optimizer = sgd(model)
    if case == "no sampler":
        sampler = False
    elif case == "alone":
        sampler = ours(n, None)
    elif case == "not wrapped":
        model = network()
    elif case == "length":
        n = 16 + 2 * ranks.rank
    elif case == "seed":
        sampler = BlockShuffleSampler(n, seed=ranks.rank, rank=ranks.rank, world=2)
    elif case == "seed of fit":
        seed = ranks.rank
    elif case == "same place":
        sampler = BlockShuffleSampler(n, rank=0, world=2)
    elif case == "few samples":
        n = 1
    elif case == "auto":
        options = {"micro_batch_size": "auto"}
    elif case == "epochs":
        options = {"epochs": 1 + ranks.rank}
    elif case == "checkpoint of one":
        options = {"checkpoint": "run.pt" if ranks.first else None}
    elif case == "validation of one":
        options = {
            "valid_loader": DataLoader(data(n), 4, sampler=ours(n, ranks)) if ranks.first else None
        }
    elif case == "batchnorm":
        model, n = (
            DistributedDataParallel(network(norm=True)),
            9,
        )  # rank 0 has batches of 4 and 1, rank 1 of 4
    elif case == "empty stream":
        sampler = "stream"
    elif case == "one does not split":
        sampler = False if ranks.rank == 1 else None
    elif case == "rates":
        optimizer.param_groups[0]["lr"] = 0.1 + ranks.rank
    elif case == "scheduler":
        n, schedulers = 17, torch.optim.lr_scheduler
        options = {"epochs": 3, "scheduler_unit": "step"}
        options["scheduler"] = schedulers.CosineAnnealingLR(
            optimizer, 3 * (3 - ranks.rank)
        )  # 3 times its own batches
    if sampler == "stream":
        loader = DataLoader(Stream(range(4 * ranks.rank)), 2)
    elif sampler is False:
        loader = DataLoader(data(n), 4, shuffle=True)
    else:
        loader = DataLoader(data(n), 4, sampler=sampler or ours(n, ranks))
    told = None
    try:
        fit(model, loader, LOSS, optimizer, seed=seed, progress=False, **{"epochs": 1, **options})
    except (ValueError, RuntimeError) as error:
        told = f"{type(error).__name__}: {error}"
    return told, ranks.sums(1)


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (
            "no sampler",
            "each would take all samples of the train loader, whose sampler RandomSampler does not split",
        ),
        (
            "alone",
            "whose sampler BlockShuffleSampler does not split them. Use sampler=BlockShuffleSampler(len(dataset)",
        ),
        ("not wrapped", "each would train one of its own. Wrap it before you make the optimizer"),
        (
            "length",
            "ranks disagree on the length of the train dataset: rank 0 has 16, rank 1 has 18",
        ),
        ("seed", "ranks disagree on the seed of the train sampler: rank 0 has 0, rank 1 has 1"),
        ("seed of fit", "ranks disagree on seed: rank 0 has 0, rank 1 has 1"),
        (
            "same place",
            "rank 1 of 2: the train loader's sampler was made for rank 0 of 2, and this is rank 1 of 2",
        ),
        (
            "few samples",
            "shares 1 samples between 2 ranks, so that some have none: start fewer processes",
        ),
        ("auto", "micro_batch_size is 'auto' under several ranks"),
        ("epochs", "ranks disagree on epochs: rank 0 has 1, rank 1 has 2"),
        ("checkpoint of one", "ranks disagree on checkpoint: rank 0 has True, rank 1 has False"),
        ("validation of one", "ranks disagree on validation: rank 0 has True, rank 1 has False"),
        ("batchnorm", "rank 0 of 2: the last batch holds 1 sample"),
        (
            "one does not split",
            "rank 1 of 2: there are 2 ranks, and each would take all samples of the train loader",
        ),
        ("rates", "ranks disagree on learning rates: rank 0 has ['0.1'], rank 1 has ['1.1']"),
        (
            "scheduler",
            "the ranks' schedulers were told of 9, 6 steps: their learning rates would part. An epoch takes"
            " 3, as many as the longest rank has batches",
        ),
    ],
)
def test_what_would_go_wrong_is_refused_on_every_rank(pool, case, words):
    (one, group), (other, _) = pool.run(refused, case)
    assert one.startswith("ValueError") and words in one and one == other and group == [2.0]


def test_a_rank_whose_stream_is_empty_stops_all(pool):
    (one, group), (other, _) = pool.run(refused, "empty stream")
    assert (
        "the train loader gave rank 0 no batch" in one
        and "another rank could not load" in other
        and group == [2.0]
    )


def lost(ranks):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        evaluated(ranks, 11, lambda n, ranks: ours(n, ranks, "drop"), 4, True)
    return [str(warning.message) for warning in caught]


def test_a_validation_that_loses_samples_is_said_once(pool):
    one, other = pool.run(lost)
    assert (
        one == ["the valid loader's sampler leaves out 1 of 11 samples: use policy='exact'"]
        and other == []
    )


# Alone


def test_a_group_of_one_is_no_group(monkeypatch):
    for name in distributed.ADDRESS:
        monkeypatch.delenv(name, raising=False)
    bare = trained(None, 17, 8, {})
    with process_group() as ranks:
        assert (ranks.rank, ranks.world, ranks.first) == (0, 1, True) and current() is None
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
        agree(seed=1)
        assert ranks.gather("a") == ["a"] and ranks.sums(2, 3) == [2, 3] and ranks.highest(4) == [4]
    assert not torch.distributed.is_initialized() and history[0].samples == 17


def test_alone_no_epoch_does_more_than_before(monkeypatch):
    from dlhelpers.train import lockstep

    monkeypatch.setattr(lockstep.RankTally, "__init__", None)
    monkeypatch.setattr(lockstep.RankGradients, "__init__", None)
    monkeypatch.setattr(distributed.Ranks, "_reduced", None)
    monkeypatch.setattr(signal, "signal", None)
    assert len(trained(None, 17, 8, {})[1]) == 4


def test_a_missing_backend_is_named(monkeypatch):
    with pytest.raises(
        RuntimeError, match="the backend 'mpi' is not in this build of torch .* gloo"
    ):
        with process_group(backend="mpi"):
            pass
    monkeypatch.setattr(torch.distributed, "is_backend_available", lambda name: name != "nccl")
    with pytest.raises(RuntimeError, match="'nccl' is not in this build"):
        with process_group("cuda"):
            pass


def test_a_port_in_use_is_named(monkeypatch):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        for name, value in zip(
            distributed.ADDRESS, ("0", "2", "127.0.0.1", str(port)), strict=True
        ):
            monkeypatch.setenv(name, value)
        with pytest.raises(
            RuntimeError, match=f"port {port} is in use.*--master-port, or --standalone"
        ):
            with process_group():
                pass


def test_half_a_launch_is_named(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(
        ValueError, match="RANK is not set, though WORLD_SIZE is: start the script with torchrun"
    ):
        with process_group():
            pass


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


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards") / "train"
    random = torch.Generator().manual_seed(0)
    images = torch.randint(256, (1001, 1, 8, 8), generator=random, dtype=torch.uint8)
    with ShardWriter(folder, classes=["a", "b"], shape=(1, 8, 8), rows_per_shard=300) as writer:
        writer.add(images, (images.float().mean(dim=(1, 2, 3)) > 127).long())
    return folder


def alive(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Launched:
    """The example under torchrun, in a folder of its own; whatever is left at the end is ended."""

    def __init__(self, shards, folder, *options, restarts=0, ranks=2):
        self.checkpoint, self.history = folder / "run.pt", folder / "history.json"
        launcher = f"""-m torch.distributed.run --nnodes=1 --nproc-per-node={ranks} --max-restarts={restarts}
                       --rdzv-backend=c10d --rdzv-endpoint=localhost:{free_port()}"""
        files = [shards, f"--checkpoint={self.checkpoint}", f"--history={self.history}"]
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
def launch(shards, tmp_path):
    started = []

    def start(name, *options, **more):
        (tmp_path / name).mkdir()
        started.append(Launched(shards, tmp_path / name, *options, **more))
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


def test_ranks_killed_at_random_restart_and_end_with_the_history_of_an_unbroken_run(
    launch, pool, shards, tmp_path
):
    epochs, chance = 10 + 2 * KILLS, random.Random(0)
    options = (f"--epochs={epochs}", "--batch-size=16")
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
    expected = pool.run(
        unbroken, [str(shards), f"--checkpoint={tmp_path / 'unbroken.pt'}", *options], timeout=200
    )[0]
    assert (
        json.loads(broken.history.read_text()) == expected and len(expected["train_loss"]) == epochs
    )


@pytest.mark.parametrize("how", ["kill the launcher"] + ["interrupt"] * FULL)
def test_no_rank_outlives_its_launcher_and_the_checkpoint_is_whole(launch, how):
    run = launch("run", "--epochs", "100000", "--batch-size=16", "--workers=1")
    run.wait_for(lambda: epochs_in(run.checkpoint) > 1)
    assert len(run.ranks()) == 2
    run.process.send_signal(signal.SIGINT if how == "interrupt" else signal.SIGKILL)
    assert run.ended() != 0
    assert epochs_in(run.checkpoint) > 1
    assert "stopped early: interrupted" in run.text()
