"""Three honest speeds: the loader alone, the model alone, and both together; their comparison says what to improve.

A clock inside the loop misleads on a GPU, where the host runs ahead. Here nothing is taken apart: each of the three
runs by itself, and the device is waited for only where a measurement begins and ends.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from torch import nn

from dlhelpers.base.tables import ShownAsTable, Table
from dlhelpers.data.batch_counts import samples_in
from dlhelpers.machine.devices import move, synchronize
from dlhelpers.measure.trials import OptimizerFn, Rehearsal, plain_sgd, undisturbed
from dlhelpers.train.checks import LossFn, check_loader

SMALL = 0.1  # a time shorter than this part of the other need not hide behind it
QUIET = 0.5  # beyond this part of what is possible at all, one of the three was disturbed
TRIES = 3  # before a machine is called too noisy
HIDDEN = 0.5  # if this part of the shorter time hides behind the longer one, the two overlap


@dataclass(frozen=True)
class LoaderSpeed:
    """What a loader delivers with nothing else going on, counted after `warmup` batches, which no time was taken of."""

    samples: int
    batches: int
    seconds: float
    warmup: int

    @property
    def samples_per_second(self) -> float:
        """The samples delivered in a second."""
        return self.samples / self.seconds


@dataclass(frozen=True, repr=False)
class PipelineSpeed(ShownAsTable):
    """How fast the loader alone is, the model alone on one repeated batch, and both together.

    milliseconds       a batch, of each of the three, by name
    samples_per_batch  the mean over the batches timed
    """

    milliseconds: dict[str, float]
    samples_per_batch: float

    @property
    def bound(self) -> str:
        """What to improve first: "data", "compute" or "no overlap"; or that the machine is "too noisy here" to tell."""
        loader, model, together = self.milliseconds.values()
        shorter, longer = sorted([loader, model])
        if not QUIET * longer <= together <= (loader + model) / QUIET:
            return "too noisy here"
        if shorter > SMALL * longer and loader + model - together < HIDDEN * shorter:
            return "no overlap"
        return "data" if loader > model else "compute"

    @property
    def verdict(self) -> str:
        """What the three times mean, and what to try."""
        _, alone, both = self.milliseconds.values()
        # what the model alone would not have taken
        share = f"{max(0.0, 1 - alone / both):.0%} of the time together"
        loader, model, together = (f"{value:.1f} ms" for value in self.milliseconds.values())
        if self.bound == "too noisy here":
            return (
                f"Too noisy here: {loader} to load, {model} to train on and {together} together do not fit. Something"
                " else was running: measure again."
            )
        if self.bound == "data":
            return (
                f"Data-bound: a batch takes {loader} to load and {model} to train on, so the model waits for"
                f" {share}. Make loading faster: more workers, smaller files, less work a sample."
            )
        if self.bound == "compute":
            return (
                f"Compute-bound: a batch takes {model} to train on and {loader} to load, which is small or hidden."
                " A faster loader would hardly help."
            )
        return (
            f"No overlap: loading ({loader}) and training ({model}) take turns, {together} together, so feeding"
            f" the model costs {share}. Without workers, try num_workers=1; with them, fewer: they take its cores."
        )

    def table(self) -> Table:
        """Return one row for each of the three, and the verdict."""
        rows = []
        for name, milliseconds in self.milliseconds.items():
            speed = 1000 * self.samples_per_batch / milliseconds
            rows.append([name, f"{speed:,.0f}", f"{milliseconds:.1f}"])
        headers = ["what ran", "samples a second", "milliseconds a batch"]
        return Table(headers, rows, notes=[self.verdict])


def loader_speed(loader: Iterable, *, batches: int | None = None, warmup: int = 5) -> LoaderSpeed:
    """Return how fast a loader delivers, over `batches` batches or to the end of one epoch.

    The warm-up is not timed: in it workers start, which takes seconds, once an epoch at most. A loader with few batches
    is timed on the second half of them, or on its only one. Workers deliver in bursts: ask for many more batches than
    there are workers. Raises ValueError for a loader without a batch.
    """
    with undisturbed(loader) as own:
        return _time(own, batches, warmup, _drain, torch.device("cpu"))[0]


def pipeline_speed(
    model: nn.Module,
    loader: Iterable,
    loss_fn: LossFn,
    optimizer_fn: OptimizerFn = plain_sgd,
    *,
    batches: int = 30,
    warmup: int = 5,
) -> PipelineSpeed:
    """Time the loader alone, training alone on its first batch, and both together, on a copy of the model.

    Each is timed over `batches` batches after `warmup` untimed ones, or fewer as in `loader_speed`; all three again,
    twice at most, where the machine was too noisy. Copying a batch to the model's device counts as loading. Leaves
    weights, gradients, modes, random states and the loader's generators as they are. Raises what the checks find, and
    ValueError for a loader without a batch.
    """
    check_loader(loader, "train", model)
    rehearsal = Rehearsal(model, loss_fn, optimizer_fn)
    device, train = rehearsal.device, rehearsal.train
    with undisturbed(loader) as own:
        for _ in range(TRIES):
            alone, first = _time(own, batches, warmup, _drain, device)
            batches, warmup = alone.batches, alone.warmup
            first = move(first, device)
            train([first])  # libraries are loaded, and the optimizer's memory is there
            learning, _ = _time([first] * (warmup + batches), batches, warmup, train, device)
            together, _ = _time(own, batches, warmup, train, device)
            samples = together.samples / together.batches
            took = {"loader alone": alone, "model alone": learning, "together": together}
            milliseconds = {
                name: 1000 * samples / run.samples_per_second for name, run in took.items()
            }
            speed = PipelineSpeed(milliseconds, samples)
            if speed.bound != "too noisy here":
                break
    return speed


def _drain(batches: Iterator) -> Any:
    """Do nothing with all batches, and return the first."""
    first = next(batches, None)
    for _ in batches:
        pass
    return first


def _time(
    loader: Iterable,
    batches: int | None,
    warmup: int,
    use: Callable,
    device: torch.device,
) -> tuple[LoaderSpeed, Any]:
    """How fast `use` takes in what a loader delivers, and what it returns."""
    last = None if batches is None else warmup + batches
    sizes, times = [], [perf_counter()]

    def watched() -> Iterator:
        for batch in loader:
            sizes.append(samples_in(batch))
            yield batch
            # here, the batch has been used
            if len(sizes) in (warmup, last):
                synchronize(device)
            times.append(perf_counter())
            if len(sizes) == last:
                break

    result = use(watched())
    if not sizes:
        raise ValueError(
            "the loader gave no batch: its dataset is empty, or smaller than a batch with drop_last=True;"
            " give it samples, or a smaller batch size"
        )
    skipped = min(warmup, len(sizes) // 2)
    timed = sizes[skipped:]
    return LoaderSpeed(sum(timed), len(timed), times[-1] - times[skipped], skipped), result
