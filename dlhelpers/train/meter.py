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
from dlhelpers.train.history import EpochResult, History

Metric = Callable[[Tensor, Tensor], Tensor]  # (outputs, targets) -> one value a sample, shape (n,)
FOLD = 512  # batches whose losses wait in a list before one sum takes them in
READ_SECONDS = 0.5  # between two reads of the sums during an epoch


class Tally:
    """The sums of one epoch. Use it in a `with`: an epoch that breaks off is still put into the history, marked."""

    def __init__(
        self,
        phase: str,
        epoch: int,
        device: torch.device,
        metrics: Mapping[str, Metric] | None,
        history: History | None = None,
        bar: Any = None,
    ):
        self.phase, self.epoch, self.device, self.history, self.bar = (
            phase,
            epoch,
            device,
            history,
            bar,
        )
        self.metrics = dict(metrics or {})
        self.samples = self.batches_seen = self.micro_batches = self.optimizer_steps = (
            self.skipped_steps
        ) = 0
        self.seconds = self.data_seconds = 0.0
        self.result: EpochResult | None = None
        self._on_bar = 0  # batches that the bar has been told of
        self._summed = 0  # batches in the sums; `samples` are theirs
        self.wide = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
        self._sums = torch.zeros(1 + len(self.metrics), dtype=self.wide, device=device)
        self._first_bad = torch.full((), math.inf, dtype=self.wide, device=device)
        self._waiting: list[
            tuple
        ] = []  # (loss, samples, value of each metric) of batches not yet summed

    def __enter__(self) -> Self:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        self._begin = self._last_read = perf_counter()
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            bad = self._close(whole=kind is None)
        except KeyboardInterrupt:
            if self.result is None:  # it came before, and must not lose what the epoch has done
                self._close(whole=False)
            raise
        if kind is None:
            self._refuse(bad)

    def _close(self, whole: bool) -> float:
        """Put the result into the history, and return the first bad iteration."""
        synchronize(self.device)
        self.seconds = perf_counter() - self._begin
        if self.bar is not None:
            self._advance()
        loss, *metrics, bad = self._read()
        peak = torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else None
        result = EpochResult(
            self.phase,
            self.epoch,
            loss,
            dict(zip(self.metrics, metrics, strict=True)),
            self.samples,
            self.batches_seen,
            self.optimizer_steps,
            self.skipped_steps,
            self.seconds,
            self.data_seconds,
            peak,
            complete=whole and math.isinf(bad),
            micro_batches=self.micro_batches,
        )
        self.result = result if self.history is None else self.history.add(result)
        return bad

    def batches(self, loader: Iterable) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the loader's batches, and measure how long the host waits for each."""
        iterator, end, waited = None, object(), 0.0
        try:
            asked = perf_counter()
            iterator = iter(loader)
            while (batch := next(iterator, end)) is not end:
                waited += perf_counter() - asked
                yield batch
                asked = perf_counter()
                if asked - self._last_read > READ_SECONDS:
                    self._show()
        finally:
            iterator = None  # lets worker processes go, also after an interrupt
            self.data_seconds = waited
        if not self.batches_seen:
            raise ValueError(
                "the loader gave no batch: its dataset is empty, or a stream that is already read to its end;"
                " give it samples, or make the stream anew"
            )

    def add(self, loss: Tensor, outputs: Tensor, targets: Tensor) -> None:
        """Take in a batch of n samples: its mean loss, detached, and each metric's value for every sample."""
        n = targets.shape[0]
        waiting = (loss, n)
        for name, metric in self.metrics.items():
            waiting += (_per_sample(name, metric, outputs, targets),)
        self._waiting.append(
            waiting
        )  # in one go, and counts follow from it: an interrupt cannot tear them apart
        self.batches_seen = self._summed + len(self._waiting)
        if len(self._waiting) == FOLD:
            self._fold()

    def means(self) -> list[float]:
        """Return the means so far, the loss first; FloatingPointError names the first batch whose loss is no number."""
        *means, bad = self._read()
        self._refuse(bad)
        return means

    def _show(self) -> None:
        """Read the sums, which also finds a loss that is no number, and bring the bar up to date."""
        loss = self.means()[0]
        self._last_read = perf_counter()
        if self.bar is not None:
            self.bar.set_postfix_str(
                f"epoch {self.epoch}, {self.phase} loss {loss:.3f}", refresh=False
            )
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

    def _read(self) -> list[float]:
        """All sums in one read, divided by the samples, and the first bad iteration (infinity where there is none)."""
        *sums, bad = self._totals()
        return [total / self.samples if self.samples else math.nan for total in sums] + [bad]

    def _totals(self) -> list[float]:
        """The sums and the first bad iteration, in one read of the device."""
        self._fold()
        return torch.cat([self._sums, self._first_bad.view(1)]).tolist()

    def _fold(self) -> None:
        """Add what waits in the list to the sums, on the device, without reading anything."""
        if not self._waiting:
            return
        losses, sizes, *values = zip(*self._waiting, strict=True)
        samples, seen = self.samples + sum(sizes), self._summed + len(losses)
        self.batches_seen = seen
        losses = torch.stack(losses).to(self.wide)
        sizes = torch.tensor(sizes, dtype=self.wide).to(self.device)
        sums = [losses @ sizes, *(torch.cat(value).sum(dtype=self.wide) for value in values)]
        numbers = torch.arange(self._summed + 1, seen + 1, dtype=self.wide, device=self.device)
        bad = torch.where(torch.isfinite(losses), math.inf, numbers).min()
        sums, bad = self._sums + torch.stack(sums), torch.minimum(self._first_bad, bad)
        # One statement without a call: an interrupt finds all of it stored, or nothing.
        self._sums, self._first_bad, self.samples, self._summed, self._waiting = (
            sums,
            bad,
            samples,
            seen,
            [],
        )


def _per_sample(name: str, metric: Metric, outputs: Tensor, targets: Tensor) -> Tensor:
    """The metric's values for a batch; ValueError unless there is one for each sample."""
    value, n = metric(outputs.detach(), targets), len(targets)
    if not isinstance(value, Tensor) or value.shape != (n,):
        shape = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(
            f"metric {name!r} returned {shape} for {n} samples: expected one value a sample, shape ({n},)."
            " Leave out the mean: the epoch's mean is taken over all samples"
        )
    return value.detach()
