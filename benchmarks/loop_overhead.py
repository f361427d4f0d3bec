"""What does `fit` cost? Time it against the shortest loop that learns the same, on the same DataLoader.

    python benchmarks/loop_overhead.py --pairs 30

The model is so small that almost nothing but the loops is left to time: a real model hides what is measured here.
Every pair is timed in turn (A B B A ...), on fresh models with the same weights and the same order of samples.
Where the weights do not end bit for bit alike, the two did not do the same work, and no ratio is printed.
"""

import argparse
import copy
import gc
import io
import os
from collections.abc import Callable
from contextlib import redirect_stderr
from functools import partial
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.utils.data import DataLoader, TensorDataset

from dlhelpers.devices import describe_machine
from dlhelpers.loops import accuracy, fit

BATCH_SIZE = 64
LOSS_FN = nn.CrossEntropyLoss()
Arm = Callable[[nn.Module, DataLoader, Optimizer, int], object]


def bare(model: nn.Module, loader: DataLoader, optimizer: Optimizer, epochs: int) -> None:
    """The five lines every PyTorch loop has, and nothing else."""
    for _ in range(epochs):
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = LOSS_FN(model(inputs), targets)
            loss.backward()
            optimizer.step()


def bare_with_accuracy(model: nn.Module, loader: DataLoader, optimizer: Optimizer, epochs: int) -> list[float]:
    """The same, and the share of right answers of each epoch."""
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
    return shares


def helper(model: nn.Module, loader: DataLoader, optimizer: Optimizer, epochs: int, **options: object) -> None:
    """`fit`, as a lesson calls it."""
    fit(model, loader, LOSS_FN, optimizer, epochs=epochs, **options)


class Screen(io.StringIO):
    """Takes the bar's text and says it is a terminal, since the bar keeps silent in a pipe."""

    def isatty(self) -> bool:
        return True


def helper_with_bar(model: nn.Module, loader: DataLoader, optimizer: Optimizer, epochs: int) -> None:
    """`fit` with a progress bar that really draws."""
    with redirect_stderr(Screen()) as screen:
        helper(model, loader, optimizer, epochs, progress=True)
    if not screen.getvalue():
        raise SystemExit("the progress bar drew nothing, so its cost cannot be measured: unset TQDM_DISABLE")


def timed(arm: Arm, start: nn.Module, loader: DataLoader, epochs: int) -> tuple[float, list[Tensor]]:
    """Return the seconds an arm takes from the starting weights, and the weights it ends with."""
    model = copy.deepcopy(start)
    optimizer = SGD(model.parameters(), lr=0.1)
    torch.manual_seed(1)  # the order of the samples
    gc.collect()
    begin = perf_counter()
    arm(model, loader, optimizer, epochs)
    return perf_counter() - begin, list(model.state_dict().values())


def compare(name: str, one: Arm, other: Arm, start: nn.Module, loader: DataLoader, pairs: int, epochs: int) -> str:
    """Time `other` against `one` and return a line: ratio, its interval, microseconds a step, and the bare step."""
    for arm in (one, other):
        timed(arm, start, loader, 1)  # warm-up
    seconds = np.empty((pairs, 2))
    for pair in range(pairs):
        order = (0, 1) if pair % 2 == 0 else (1, 0)
        ends = {}
        for side in order:
            seconds[pair, side], ends[side] = timed((one, other)[side], start, loader, epochs)
        if not all(torch.equal(a, b) for a, b in zip(ends[0], ends[1], strict=True)):
            raise SystemExit(f"{name}: the two arms end with different weights, so their times cannot be compared")
    ratios, steps = seconds[:, 1] / seconds[:, 0], epochs * len(loader)
    resampled = np.median(np.random.default_rng(0).choice(ratios, size=(4000, pairs)), axis=1)
    low, high = np.percentile(resampled, [2.5, 97.5])
    added = np.median(seconds[:, 1] - seconds[:, 0]) / steps * 1e6
    alone = np.median(seconds[:, 0]) / steps * 1e6
    return f"{name:30} {np.median(ratios):8.3f}   {low:.3f} to {high:.3f} {added:+12.1f} {alone:12.1f}"


def main() -> None:
    """Print the machine, and a line for each comparison."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pairs", type=int, default=30, help="timed pairs for each line")
    options.add_argument("--epochs", type=int, default=1, help="epochs in each run")
    options.add_argument("--samples", type=int, default=50_000,
                         help=f"samples, as many as CIFAR-10 has, in batches of {BATCH_SIZE}")  # fmt: skip
    asked = options.parse_args()
    if min(asked.pairs, asked.epochs, asked.samples) < 1:
        options.error("--pairs, --epochs and --samples must be at least 1")

    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(asked.samples, 64), torch.randint(10, (asked.samples,)))
    loader = DataLoader(data, batch_size=BATCH_SIZE, shuffle=True)
    start = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

    print(describe_machine())
    print(f"{asked.samples} samples, {len(loader)} steps an epoch, {asked.epochs} epoch(s), {asked.pairs} pairs,")
    print(f"{torch.get_num_threads()} torch thread, load of the machine before the start {os.getloadavg()[0]:.2f}")
    print("Ratio: the median over the pairs, with a 95 % bootstrap interval. Microseconds: medians for one step.\n")
    print(f"{'':30} {'ratio':>8}   {'95 % interval':14} {'added (us)':>11} {'bare (us)':>12}")
    quiet, metered = partial(helper, progress=False), partial(helper, progress=False, metrics={"accuracy": accuracy})
    for name, one, other in (
        ("bare against itself", bare, bare),
        ("fit, progress off", bare, quiet),
        ("fit, progress on", bare, helper_with_bar),
        ("fit with accuracy, both sides", bare_with_accuracy, metered),
    ):
        print(compare(name, one, other, start, loader, asked.pairs, asked.epochs), flush=True)


if __name__ == "__main__":
    main()
