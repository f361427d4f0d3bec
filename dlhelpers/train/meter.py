"""Add up an epoch so that each sample weighs the same, and ask the device for numbers as rarely as possible.

A loss is a mean over the n samples of its batch, so it counts n times. The sums stay on the device; they are read
when the progress bar is redrawn and at the end, because each read makes a GPU wait.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from time import perf_counter
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from dlhelpers.machine.devices import synchronize
from dlhelpers.train.batches import let_go
from dlhelpers.train.history import EpochResult, History
from dlhelpers.train.ranks import current

Metric = Callable[[Tensor, Tensor], Tensor]  # (outputs, targets) -> one value a sample, shape (n,)
FOLD = 512  # losses that wait in a list before one sum takes them in
READ_SECONDS = 0.5  # between two reads of the sums during an epoch


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
        self.history, self.bar = history, bar
        self.metrics = dict(metrics or {})
        self.result: EpochResult | None = None
        self.samples = self.batches_seen = self.micro_batches = 0
        self.optimizer_steps = self.skipped_steps = 0
        self.data_seconds = 0.0
        self._loader: Any = None
        self._iterator: Iterator | None = None
        self._on_bar = 0  # batches that the bar has been told of
        self.wide = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
        self._sums = torch.zeros(1 + len(self.metrics), dtype=self.wide, device=device)
        self._first_bad = torch.full((), math.inf, dtype=self.wide, device=device)
        # (iteration, samples, loss, value of each metric) of what is not summed yet
        self._waiting: list[tuple] = []

    def __enter__(self) -> Self:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        self._begin = self._last_read = perf_counter()
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._refuse(self._close(whole=True))
            return
        self._iterator = (
            None  # worker processes end, also those that persist: an error may have ended them
        )
        let_go(self._loader)
        try:
            self._close(whole=False)
        except Exception:  # a device that has failed answers no more, and the first error says why
            self._keep([math.nan] * len(self._sums), whole=False)

    def batches(self, loader: Iterable) -> Iterator[Any]:
        """Yield the loader's batches, and measure how long the host waits for each."""
        self._loader, end = loader, object()
        asked = perf_counter()
        self._iterator = iter(loader)
        while (batch := next(self._iterator, end)) is not end:
            self.data_seconds += perf_counter() - asked
            yield batch
            self.batches_seen += 1
            asked = perf_counter()
            if asked - self._last_read > READ_SECONDS:
                self._show()
        self._iterator = None
        if not self.batches_seen:
            why = (
                "its dataset is empty, or a stream that is already read to its end: give it samples"
            )
            if iter(loader) is loader:
                kind = type(loader).__name__
                why = f"a {kind} can be read only once: give a DataLoader, or a list of batches"
            raise ValueError(f"the {self.phase} loader gave no batch: {why}")

    def add(self, loss: Tensor, outputs: Any, targets: Tensor) -> None:
        """Take in n samples, a batch or a part of one: their mean loss and each metric's value for every sample."""
        n = targets.shape[0]
        values = [
            _per_sample(name, metric, outputs, targets) for name, metric in self.metrics.items()
        ]
        self.micro_batches += 1
        self._waiting.append((self.batches_seen + 1, n, loss.detach(), *values))
        if len(self._waiting) == FOLD:
            self._fold()

    def _close(self, whole: bool) -> float:
        """Put the result into the history, and return the first bad iteration."""
        synchronize(self.device)
        sums, bad = self._read()
        ranks = current()
        if whole and ranks.world > 1:
            *sums, samples = ranks.sums(*sums, self.samples)
            self.samples = int(samples)
            counts = ranks.gather((bad, self.batches_seen, self.micro_batches))
            firsts, batches, parts = zip(*counts, strict=True)
            bad, self.batches_seen, self.micro_batches = min(firsts), max(batches), max(parts)
        self._keep(self._divided(sums), whole and math.isinf(bad))
        return bad

    def _keep(self, means: list[float], whole: bool) -> None:
        loss, *metrics = means
        peak = torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else None
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
            peak_memory=peak,
            complete=whole,
            micro_batches=self.micro_batches,
        )
        if self.history is not None:
            self.history.add(self.result)
        if self.bar is not None:
            self._advance()

    def _show(self) -> None:
        """Read the sums, which also finds a loss that is no number, and bring the bar up to date."""
        sums, bad = self._read()
        self._refuse(bad)
        self._last_read = perf_counter()
        if self.bar is not None:
            loss = self._divided(sums)[0]
            text = f"epoch {self.epoch}, {self.phase} loss {loss:.3f}"
            self.bar.set_postfix_str(text, refresh=False)
            self._advance()

    def _advance(self) -> None:
        """Move the bar on by the batches since it was last moved."""
        self.bar.update(self.batches_seen - self._on_bar)
        self._on_bar = self.batches_seen

    def _refuse(self, bad: float) -> None:
        """FloatingPointError where there is a first bad iteration."""
        if math.isfinite(bad):
            raise FloatingPointError(
                f"the {self.phase} loss of epoch {self.epoch}, iteration {int(bad)} is not a finite number. Finished"
                " epochs are kept in the history. Try a lower learning rate, max_norm=1.0, or look for"
                " NaN in the data of that batch"
            )

    def _divided(self, sums: list[float]) -> list[float]:
        """Means over the samples so far, NaN before the first."""
        return [total / self.samples if self.samples else math.nan for total in sums]

    def _read(self) -> tuple[list[float], float]:
        """All sums and the first bad iteration (infinity where there is none), in one read of the device."""
        self._fold()
        *sums, bad = torch.cat([self._sums, self._first_bad.view(1)]).tolist()
        return sums, bad

    def _fold(self) -> None:
        """Add what waits in the list to the sums, on the device, without reading anything."""
        if not self._waiting:
            return
        iterations, sizes, losses, *values = zip(*self._waiting, strict=True)
        self._waiting = []
        self.samples += sum(sizes)
        losses = torch.stack(losses).to(self.wide)
        weights, numbers = torch.tensor([sizes, iterations], dtype=self.wide).to(self.device)
        sums = [losses @ weights, *(torch.cat(value).sum(dtype=self.wide) for value in values)]
        self._sums = self._sums + torch.stack(sums)
        bad = torch.where(torch.isfinite(losses), math.inf, numbers).min()
        self._first_bad = torch.minimum(self._first_bad, bad)


def _per_sample(name: str, metric: Metric, outputs: Any, targets: Tensor) -> Tensor:
    """The metric's values for a batch; ValueError unless there is one for each sample."""
    n = len(targets)
    value = metric(outputs.detach() if isinstance(outputs, Tensor) else outputs, targets)
    if not isinstance(value, Tensor) or value.shape != (n,):
        shape = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(
            f"metric {name!r} returned {shape} for {n} samples: expected one value a sample, shape ({n},)."
            " Leave out the mean: the epoch's mean is taken over all samples"
        )
    return value.detach()
