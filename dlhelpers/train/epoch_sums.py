"""Add up an epoch so that each sample weighs the same, and ask the device for numbers as rarely as possible.

A loss is a mean over the n samples of its batch, so it counts n times. Losses stay on the device until they are read,
all together, now and then and at the end, because each read makes a GPU wait.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from dlhelpers.base.checks import shown
from dlhelpers.machine.devices import synchronize
from dlhelpers.train.history import EpochResult, History
from dlhelpers.train.ranks import current
from dlhelpers.train.seeds_and_workers import let_go

Metric = Callable[[Tensor, Tensor], Tensor]  # (outputs, targets) -> one value a sample, shape (n,)
READ_SECONDS = 0.5  # between two reads of the device during an epoch


@dataclass
class Meter:
    """The sums of one epoch. Use it in a `with`: an epoch that breaks off is still put into the history, marked."""

    phase: str
    epoch: int
    device: torch.device
    metrics: Mapping[str, Metric]
    history: History | None
    bar: Any

    def __enter__(self) -> Self:
        self.result = EpochResult(self.phase, self.epoch, math.nan, complete=False)
        self._loader = None
        self._waiting: list[tuple] = []  # (iteration, samples, loss, values of each metric)
        self._sums = np.zeros(1 + len(self.metrics))  # of the loss and each metric
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        self._begin = self._last_read = perf_counter()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        result = self.result
        if error is not None:
            let_go(self._loader)  # the error may have ended its workers
        try:
            self._read()
            if error is None:
                self._gather()
                result.complete = True
        except Exception:  # a device that has failed answers no more
            if error is None:  # else the first error says why
                raise
        finally:
            result.loss, *metrics = self._means()
            result.metrics = dict(zip(self.metrics, metrics, strict=True))
            result.seconds = perf_counter() - self._begin
            if self.device.type == "cuda":
                result.peak_memory = torch.cuda.max_memory_allocated(self.device)
            if self.history is not None:
                self.history.append(result)

    def batches(self, loader: Iterable) -> Iterator[Any]:
        """Yield the loader's batches, and now and then read the device after one."""
        self._loader = loader
        for batch in loader:
            yield batch
            self.result.batches += 1
            if self.bar is not None:
                self.bar.update(1)
            if perf_counter() - self._last_read > READ_SECONDS:
                self._read()
                self._last_read = perf_counter()
        if not self.result.batches:
            raise ValueError(
                f"the {self.phase} loader gave no batch: its dataset is empty, or it can be read only once, as a"
                " generator, and is at its end. Give a DataLoader, or a list of batches"
            )

    def add(self, loss: Tensor, outputs: Any, targets: Tensor) -> None:
        """Take in n samples, a batch or a part of one: their mean loss and each metric's value for every sample."""
        n, values = len(targets), []
        for name, metric in self.metrics.items():
            with torch.no_grad():
                value = metric(outputs, targets)
            if not isinstance(value, Tensor) or value.shape != (n,):
                raise ValueError(
                    f"metric {name!r} returned {shown(value)} for {n} samples: expected one value a sample, shape"
                    f" ({n},). Leave out the mean: the epoch's mean is taken over all samples"
                )
            values.append(value)
        self.result.micro_batches += 1
        self._waiting.append((self.result.batches + 1, n, loss.detach(), *values))

    def _read(self) -> None:
        """Wait for the device, add up all that waits, in one read, and refuse a loss that is no number."""
        synchronize(self.device)
        if not self._waiting:
            return
        iterations, sizes, losses, *values = zip(*self._waiting, strict=True)
        self._waiting = []
        wide = torch.float32 if self.device.type == "mps" else torch.float64  # MPS has no float64
        totals = [torch.cat(value).sum(dtype=wide).view(1) for value in values]
        numbers = torch.cat([torch.stack(losses).to(wide), *totals]).tolist()
        losses, totals = numbers[: len(sizes)], numbers[len(sizes) :]
        self._sums += [np.dot(losses, sizes), *totals]
        self.result.samples += sum(sizes)
        if self.bar is not None:
            self.bar.set_postfix_str(
                f"epoch {self.epoch}, {self.phase} loss {self._means()[0]:.3f}", refresh=False
            )
        for iteration, loss in zip(iterations, losses, strict=True):
            if not math.isfinite(loss):
                raise FloatingPointError(
                    f"the {self.phase} loss of epoch {self.epoch}, iteration {iteration} is not a finite number."
                    " A history that you pass keeps the finished epochs. Try a lower learning rate, max_norm=1.0, or"
                    " look for NaN in the data of that batch"
                )

    def _gather(self) -> None:
        """Put together what all ranks have seen; alone there is nothing to add."""
        result = self.result
        mine = (self._sums, result.samples, result.batches, result.micro_batches)
        sums, samples, batches, parts = zip(*current().gather(mine), strict=True)
        self._sums, result.samples = sum(sums), sum(samples)
        result.batches, result.micro_batches = max(batches), max(parts)

    def _means(self) -> list[float]:
        """Means over the samples so far, NaN before the first."""
        return (self._sums / (self.result.samples or math.nan)).tolist()
