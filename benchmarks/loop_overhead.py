"""What does a training loop cost? Time `fit`, and the loops of others, against the shortest loop that learns the same.

    python benchmarks/loop_overhead.py --pairs 16

The model is so small that almost nothing but the loops is left to time: a real model hides what is measured here.
Each loop has a process of its own, beside the bare loop: the two take turns on the same DataLoader, with one thread,
on fresh models with the same weights. Where they do not end with the same weights (to the last bit; Keras, whose
arithmetic is its own, to 0.0001), they did not do the same work, and no ratio is printed.
"""

import copy
import io
import os
import warnings
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from multiprocessing import get_context
from time import perf_counter

import torch
from peer_loops import LOSS_FN, PEERS, RATE, Prepare, Training
from report import Report, middle, options, paired, take_turns
from torch import nn
from torch.optim import SGD, Optimizer
from torch.utils.data import DataLoader, TensorDataset

from dlhelpers.train import accuracy, fit

BATCH_SIZE = 64
KERAS_CLOSE = 1e-4


def bare(model: nn.Module, loader: DataLoader, optimizer: Optimizer, epochs: int) -> Training:
    """The five lines every PyTorch loop has, and nothing else."""

    def train() -> None:
        for _ in range(epochs):
            for inputs, targets in loader:
                optimizer.zero_grad()
                loss = LOSS_FN(model(inputs), targets)
                loss.backward()
                optimizer.step()

    return train


def bare_with_accuracy(
    model: nn.Module, loader: DataLoader, optimizer: Optimizer, epochs: int
) -> Training:
    """The same, and the share of right answers of each epoch."""

    def train() -> None:
        shares = []
        for _ in range(epochs):
            right = torch.zeros((), dtype=torch.int64)
            for inputs, targets in loader:
                optimizer.zero_grad()
                outputs = model(inputs)
                loss = LOSS_FN(outputs, targets)
                loss.backward()
                optimizer.step()
                right += (outputs.detach().argmax(dim=1) == targets).sum()
            shares.append(right.item() / len(loader.dataset))

    return train


def helper(
    model: nn.Module, loader: DataLoader, optimizer: Optimizer, epochs: int, **settings: object
) -> Training:
    """`fit`, as a lesson calls it."""
    return partial(fit, model, loader, LOSS_FN, optimizer, epochs=epochs, **settings)


class Screen(io.StringIO):
    """Takes the bar's text and says it is a terminal, since the bar keeps silent in a pipe."""

    def isatty(self) -> bool:
        """What a terminal says."""
        return True


def helper_with_bar(
    model: nn.Module, loader: DataLoader, optimizer: Optimizer, epochs: int
) -> Training:
    """`fit` with a progress bar that really draws."""

    def train() -> None:
        with redirect_stderr(Screen()) as screen:
            helper(model, loader, optimizer, epochs, progress=True)()
        if not screen.getvalue():
            raise SystemExit(
                "the progress bar drew nothing, so its cost cannot be measured: unset TQDM_DISABLE"
            )

    return train


QUIET = partial(helper, progress=False)
OURS: dict[str, tuple[Prepare, Prepare]] = {  # name -> what it is measured against, and itself
    "bare loop against itself": (bare, bare),
    "fit": (bare, QUIET),
    "fit, progress bar drawn": (bare, helper_with_bar),
    "fit with accuracy, both sides": (
        bare_with_accuracy,
        partial(QUIET, metrics={"accuracy": accuracy}),
    ),
}


def measure(name: str, pairs: int, epochs: int, samples: int) -> tuple[list[float], list[float]]:
    """Return the seconds of the bare loop and of the loop of that name, pair by pair."""
    torch.set_num_threads(1)
    warnings.simplefilter(
        "ignore"
    )  # what peers say of few workers, and of names that torch is giving up
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(samples, 64), torch.randint(10, (samples,)))
    order = torch.randperm(
        samples
    ).tolist()  # a fixed one, since some peers draw random numbers of their own
    loader = DataLoader(data, BATCH_SIZE, sampler=order)
    start, ends = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)), {}

    def seconds(side: int, prepare: Prepare, number: int) -> float:
        model = copy.deepcopy(start)
        train = prepare(model, loader, SGD(model.parameters(), lr=RATE), epochs)
        begin = perf_counter()
        kept = train()
        taken = perf_counter() - begin
        ends[side] = kept if type(kept) is list else list(model.parameters())
        if len(ends) == 2:
            close = KERAS_CLOSE if name == "keras" else 0
            if not all(
                torch.allclose(a, b, rtol=0, atol=close)
                for a, b in zip(ends[0], ends[1], strict=True)
            ):
                raise ValueError(
                    f"{name}: the two loops end with different weights, so their times say nothing"
                )
            ends.clear()
        return taken

    both = OURS.get(name) or (bare, PEERS[name])
    with redirect_stdout(io.StringIO()):  # fastai prints a table
        found = take_turns(
            {str(side): partial(seconds, side, loop) for side, loop in enumerate(both)}, pairs
        )
    return found["0"], found["1"]


def main() -> None:
    """Print machine and versions, measure each loop in a process of its own, and save the report."""
    parser = options(__doc__)
    parser.add_argument(
        "--pairs", type=int, default=16, help="timed pairs for each loop of ours, half for a peer"
    )
    parser.add_argument("--epochs", type=int, default=1, help="epochs in each run")
    parser.add_argument(
        "--samples",
        type=int,
        default=50_000,
        help=f"samples, as many as CIFAR-10 has, in batches of {BATCH_SIZE}",
    )
    asked = parser.parse_args()
    if min(asked.pairs, asked.epochs, asked.samples) < 1:
        parser.error("--pairs, --epochs and --samples must be at least 1")
    if asked.quick:
        asked.pairs, asked.samples = 4, 6_400
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # what is timed is the host's work
    torch.set_num_threads(1)
    report = Report(
        "loop_overhead", "What does a training loop cost?", list(PEERS), quick=asked.quick
    )
    ours = [name for name in OURS if name.startswith("fit")]
    steps = asked.epochs * -(-asked.samples // BATCH_SIZE)
    ratios, added = {}, {}
    for name in (*OURS, *(peer for peer in PEERS if peer not in report.missing)):
        pairs = asked.pairs if name in OURS else max(2, asked.pairs // 2)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as own:
            base, loop = own.submit(measure, name, pairs, asked.epochs, asked.samples).result()
        shown = f"{name} {report.versions[name]}" if name in PEERS else name
        ratios[shown] = paired(loop, base)
        added.setdefault("a step of the bare loop", [1e6 * one / steps for one in base])
        added[shown] = [1e6 * (two - one) / steps for one, two in zip(base, loop, strict=True)]
        print(f"{shown}: {middle(ratios[shown]):.3f} times the bare loop", flush=True)
    report.panel(
        f"{asked.epochs} epoch(s) of {asked.samples} samples",
        "times the bare loop",
        ratios,
        ours=ours,
    )
    report.panel(
        "A step of the bare loop, and what each adds to it", "microseconds", added, ours=ours
    )
    report.goal("fit against the bare loop", middle(ratios["fit"]), "<=", 1.03)
    peers = [middle(values) for name, values in ratios.items() if name not in OURS]
    if peers:
        report.goal(
            "fit against the leanest peer, both against the bare loop",
            middle(ratios["fit"]) / min(peers),
            "<=",
            1,
        )
    report.save()


if __name__ == "__main__":
    main()
