"""Add up an epoch so that each sample weighs the same, and ask the device for numbers as rarely as possible.

A loss is a mean over the n samples of its batch, so it counts n times. Losses stay on the device until they are read,
all together, now and then and at the end, because each read makes a GPU wait.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from time import perf_counter
from typing import Any, Self

import torch
from torch import Tensor

from dlhelpers.base.checks import shown
from dlhelpers.machine.devices import synchronize
from dlhelpers.train.batches import let_go
from dlhelpers.train.history import EpochResult, History
from dlhelpers.train.ranks import current

Metric = Callable[[Tensor, Tensor], Tensor]  # (outputs, targets) -> one value a sample, shape (n,)
READ_SECONDS = 0.5  # between two reads of the device during an epoch


class Meter:
    """The sums of one epoch. Use it in a `with`: an epoch that breaks off is still put into the history, marked."""

    def __init__(
        self,
        phase: str,
        epoch: int,
        device: torch.device,
        metrics: Mapping[str, Metric] | None = None,
        history: History | None = None,
        bar: Any = None,
    ):
        self.phase, self.epoch, self.device = phase, epoch, device
        self.metrics, self.history, self.bar = dict(metrics or {}), history, bar
        self.samples = self.batches_seen = self.micro_batches = 0
        self.optimizer_steps = self.skipped_steps = 0
        self.data_seconds = 0.0
        self._sums = [0.0] * (1 + len(self.metrics))  # of what has been read, as are the samples
        self._first_bad = math.inf  # iteration of the first loss that is no number
        self._waiting: list[tuple] = []  # (iteration, samples, loss, values of each metric)
        self._loader: Any = None
        self._iterator: Iterator | None = None

    def __enter__(self) -> Self:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        self._begin = self._last_read = perf_counter()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is not None:  # workers end, also those that persist: it may have ended them
            self._iterator = None
            let_go(self._loader)
        try:
            synchronize(self.device)
            self._read()
        except Exception:
            if error is None:
                raise  # else a device that has failed answers no more, and the first error says why
        ranks = current()
        if error is None and ranks.world > 1:
            *self._sums, samples = ranks.sums(*self._sums, self.samples)
            self.samples = int(samples)
            counts = ranks.gather((self._first_bad, self.batches_seen, self.micro_batches))
            first, batches, parts = zip(*counts, strict=True)
            self._first_bad = min(first)
            self.batches_seen, self.micro_batches = max(batches), max(parts)
        loss, *metrics = self._means()
        on_cuda = self.device.type == "cuda"
        self.result = EpochResult(
            self.phase,
            self.epoch,
            loss,
            dict(zip(self.metrics, metrics, strict=True)),
            self.samples,
            self.batches_seen,
            self.optimizer_steps,
            self.skipped_steps,
            seconds=perf_counter() - self._begin,
            data_seconds=self.data_seconds,
            peak_memory=torch.cuda.max_memory_allocated(self.device) if on_cuda else None,
            complete=error is None and math.isinf(self._first_bad),
            micro_batches=self.micro_batches,
        )
        if self.history is not None:
            self.history.add(self.result)
        if error is None:
            self._refuse_bad()

    def batches(self, loader: Iterable) -> Iterator[Any]:
        """Yield the loader's batches, and measure how long the host waits for each."""
        self._loader, end = loader, object()
        asked = perf_counter()
        self._iterator = iter(loader)
        while (batch := next(self._iterator, end)) is not end:
            self.data_seconds += perf_counter() - asked
            yield batch
            self.batches_seen += 1
            if self.bar is not None:
                self.bar.update(1)
            asked = perf_counter()
            if asked - self._last_read > READ_SECONDS:
                self._last_read = asked
                self._look()
        self._iterator = None
        if not self.batches_seen:
            raise ValueError(
                f"the {self.phase} loader gave no batch: its dataset is empty, or it is a stream or a generator that is"
                " already read to its end. Give a DataLoader, or a list of batches"
            )

    def add(self, loss: Tensor, outputs: Any, targets: Tensor) -> None:
        """Take in n samples, a batch or a part of one: their mean loss and each metric's value for every sample."""
        values = [
            _per_sample(name, metric, outputs, targets) for name, metric in self.metrics.items()
        ]
        self.micro_batches += 1
        self._waiting.append((self.batches_seen + 1, len(targets), loss.detach(), *values))

    def _look(self) -> None:
        """Read the device, refuse a loss that is no number, and write the mean loss beside the bar."""
        self._read()
        self._refuse_bad()
        if self.bar is not None:
            text = f"epoch {self.epoch}, {self.phase} loss {self._means()[0]:.3f}"
            self.bar.set_postfix_str(text, refresh=False)

    def _refuse_bad(self) -> None:
        if math.isfinite(self._first_bad):
            raise FloatingPointError(
                f"the {self.phase} loss of epoch {self.epoch}, iteration {self._first_bad} is not a finite number."
                " Finished epochs are kept in the history. Try a lower learning rate, max_norm=1.0, or look for"
                " NaN in the data of that batch"
            )

    def _means(self) -> list[float]:
        """Means over the samples so far, NaN before the first."""
        return [total / self.samples if self.samples else math.nan for total in self._sums]

    def _read(self) -> None:
        """Add up all that waits, in one read of the device."""
        if not self._waiting:
            return
        iterations, sizes, losses, *values = zip(*self._waiting, strict=True)
        self._waiting = []
        wide = torch.float32 if self.device.type == "mps" else torch.float64  # MPS has no float64
        totals = [torch.cat(value).sum(dtype=wide).view(1) for value in values]
        numbers = torch.cat([torch.stack(losses).to(wide), *totals]).tolist()
        losses, totals = numbers[: len(sizes)], numbers[len(sizes) :]
        totals.insert(0, sum(loss * size for loss, size in zip(losses, sizes, strict=True)))
        self._sums = [a + b for a, b in zip(self._sums, totals, strict=True)]
        self.samples += sum(sizes)
        for iteration, loss in zip(iterations, losses, strict=True):
            if not math.isfinite(loss):
                self._first_bad = min(self._first_bad, iteration)


def _per_sample(name: str, metric: Metric, outputs: Any, targets: Tensor) -> Tensor:
    """The metric's values for a batch; ValueError unless there is one for each sample."""
    n = len(targets)
    value = metric(outputs.detach() if isinstance(outputs, Tensor) else outputs, targets)
    if not isinstance(value, Tensor) or value.shape != (n,):
        raise ValueError(
            f"metric {name!r} returned {shown(value)} for {n} samples: expected one value a sample, shape ({n},)."
            " Leave out the mean: the epoch's mean is taken over all samples"
        )
    return value.detach()
