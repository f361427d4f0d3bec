"""Keep ranks in step: one exchange before each batch says how large the step is, and whether anybody wants to stop.

DistributedDataParallel takes the mean of all ranks' gradients, so a rank with n of the step's samples weighs its loss
by n x ranks / samples: then every sample counts the same, however unequal the parts are. A rank whose batches are used
up takes its last one again with weight 0, since the others wait for its gradients; nothing of it is counted.
"""

from collections.abc import Iterable, Iterator
from time import perf_counter
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from dlhelpers.train import meter as tally
from dlhelpers.train.batches import BatchGradients, part_of
from dlhelpers.train.checks import split_batch
from dlhelpers.train.interruption import interruption
from dlhelpers.train.meter import Tally
from dlhelpers.train.rank_checks import own_samples
from dlhelpers.train.ranks import Ranks, current


def new_tally(*arguments: Any) -> Tally:
    """Return the sums of an epoch: of this process, or of all ranks where there are several."""
    ranks = current()
    return Tally(*arguments) if ranks is None else RankTally(ranks, *arguments)


def new_gradients(*arguments: Any) -> BatchGradients:
    """Return what computes a batch's gradients: whole, or as this rank's part of a step."""
    return BatchGradients(*arguments) if current() is None else RankGradients(*arguments)


class RankBatch(tuple):
    """(inputs, targets) of this rank's part of a step, and the weight of its loss."""

    weight: float = 1.0


class RankTally(Tally):
    """The sums of one epoch over all ranks; times and peak memory stay this rank's own."""

    def __init__(self, ranks: Ranks, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.ranks = ranks
        self.steps = 0  # the same on all ranks, also where their batches are fewer
        self._leaving = (
            False  # whether all ranks leave the epoch at the same place, and may exchange numbers
        )
        self._told = False  # that exchange is made, or broken off
        self._spoilt = False  # a loss that is no number was read, which the others are to hear of
        self._again = False  # the batch is one taken again

    def __enter__(self) -> Self:
        interruption.__enter__()
        return super().__enter__()

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            super().__exit__(kind, error, trace)
        finally:
            interruption.__exit__(kind, error, trace)

    def batches(self, loader: Iterable) -> Iterator[RankBatch]:
        """Yield this rank's part of each step, and go on until no rank has samples left, or one wants to stop.

        Under a sampler that pads, a sample that comes again is trained on and counted again; in evaluation it is
        left out. Raises on every rank: KeyboardInterrupt, FloatingPointError at the end, and what the loader raised.
        """
        left = None if self.phase == "train" else own_samples(loader)
        iterator, last, end = None, None, object()
        while True:
            asked, batch, size, fault = perf_counter(), None, 0, None
            try:
                iterator = iter(loader) if iterator is None else iterator
                batch = next(iterator, end)
                if batch is not end:
                    last, batch, size = batch, *_first(batch, left)
                if last is None:
                    raise ValueError(
                        f"the {self.phase} loader gave rank {self.ranks.rank} no batch: its part of the"
                        " dataset is empty, or a stream that is already read to its end"
                    )
            except BaseException as error:
                fault = error
            left = None if left is None else left - size
            self.data_seconds += perf_counter() - asked
            stop = interruption.asked or isinstance(fault, KeyboardInterrupt)
            failed = (
                fault is not None and not stop
            )  # an interrupt may take the loader's workers with it
            together, stops, failures, spoilt = self.ranks.sums(size, stop, failed, self._spoilt)
            if stops or failures or spoilt or not together:
                self._leaving, iterator = True, None  # and worker processes are let go
                interruption.raise_if(stops)
                if failures:
                    raise fault or RuntimeError(
                        "another rank could not load its batch and says why: all stop here"
                    )
                return
            self._again = size == 0
            if (
                size or self.phase == "train" or not self.steps
            ):  # at first, since ranks exchange buffers then
                mine = RankBatch(split_batch(batch if size else last))
                mine.weight = size * self.ranks.world / together
                yield mine
            self.steps += 1
            if perf_counter() - self._last_read > tally.READ_SECONDS:
                self._show()

    def add(self, loss: Tensor, outputs: Tensor, targets: Tensor) -> None:
        """Take in a batch, unless it is one taken again."""
        if not self._again:
            super().add(loss, outputs, targets)

    def _totals(self) -> list[float]:
        *sums, bad = super()._totals()
        if self._leaving and not self._told:
            self._told = True  # once: the others would not answer again
            *sums, samples = self.ranks.sums(*sums, self.samples)
            micro_batches, bad = self.ranks.highest(self.micro_batches, -bad)
            self.samples, self.batches_seen, self.micro_batches = (
                int(samples),
                self.steps,
                int(micro_batches),
            )
            bad = -bad
        return [*sums, bad]

    def _refuse(self, bad: float) -> None:
        if self._leaving:
            super()._refuse(bad)
        self._spoilt = self._spoilt or bad < float("inf")


class RankGradients(BatchGradients):
    """Gradients of this rank's part of a step, weighed so that the mean over ranks is that over samples."""

    def __init__(self, model: nn.Module, *arguments: Any) -> None:
        super().__init__(model, *arguments)
        if self.auto is not None:
            raise ValueError(
                "micro_batch_size is 'auto' under several ranks, which would come to sizes of their own:"
                " find it with one process, and give the number"
            )
        self.weight, self._inner = 1.0, self.scale
        self.scale = self._weigh

    def __call__(self, batch: RankBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Add the gradients of all ranks' parts to the parameters; return this part's loss, outputs and targets."""
        self.weight = batch.weight
        before = (
            [] if batch.weight else [(buffer, buffer.clone()) for buffer in self.model.buffers()]
        )
        gradients = super().__call__(batch)
        with torch.no_grad():
            for (
                buffer,
                old,
            ) in before:  # a batch taken again is not to count in BatchNorm's averages either
                buffer.copy_(old)
        return gradients

    def _weigh(self, loss: Tensor) -> Tensor:
        weighed = loss * self.weight
        return weighed if self._inner is None else self._inner(weighed)

    def _parts(self, inputs: object, labels: Tensor) -> Iterator[tuple[object, Tensor]]:
        """The micro-batches of a part; gradients travel between ranks with the last of them only."""
        *parts, last = super()._parts(inputs, labels)
        with self.model.no_sync():
            yield from parts
        yield last


def _first(batch: object, left: int | None) -> tuple[object, int]:
    """Of a batch, what is left to count, and how many samples that is."""
    inputs, labels = split_batch(batch)
    size = labels.shape[0]
    if left is None or size <= left:
        return batch, size
    return (part_of(inputs, slice(left)), labels[:left]), left
