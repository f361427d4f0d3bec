"""Which batch sizes fit, and which are fast: each size is tried on a copy of the model, and none is promised untried.

Memory often ends without an error that could be caught: a container's kernel is killed, a driver spills into RAM. So
the next peak is predicted from those measured, and the study stops before it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from time import perf_counter
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dlhelpers.base.checks import check_callable, check_whole
from dlhelpers.base.sizes import human_bytes
from dlhelpers.base.tables import ShownAsTable, Table
from dlhelpers.machine.devices import Device
from dlhelpers.machine.memory import is_out_of_memory, memory_budget
from dlhelpers.machine.peaks import memory_held, peak_memory, predicted_peak, release_memory
from dlhelpers.measure.trials import OptimizerFn, Rehearsal, plain_sgd, undisturbed
from dlhelpers.train.checks import LossFn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEAR_BEST = 0.95  # of the best samples a second: where a larger batch no longer pays
OUT = "ran out of memory"
TIMED_SECONDS = 0.2  # small batches are timed again until this is spent

COLUMNS = {"samples_per_second": ("samples a second", 1), "peak_memory": ("peak memory (MB)", 1e6)}


@dataclass(frozen=True)
class BatchSizeTrial:
    """What one batch size took; None where it did not run.

    peak_memory       bytes beyond those held with the model in place: batch, activations, gradients, optimizer
    seconds_per_step  forward pass, backward pass and optimizer step, the batch being there already
    """

    batch_size: int
    fits: bool
    peak_memory: int | None = None
    seconds_per_step: float | None = None
    samples_per_second: float | None = None
    note: str = ""


class BatchSizeStudy(ShownAsTable, Sequence[BatchSizeTrial]):
    """All trials in the order of their sizes; at least one fits."""

    def __init__(self, trials: Sequence[BatchSizeTrial]):
        self._trials = sorted(trials, key=lambda trial: trial.batch_size)
        self.fitting = [trial for trial in self._trials if trial.fits]

    def __len__(self) -> int:
        return len(self._trials)

    def __getitem__(self, index: int) -> BatchSizeTrial:
        return self._trials[index]

    @property
    def largest(self) -> int:
        """The largest size that ran; so near to a limit, it may not run twice when memory is in pieces."""
        return self.fitting[-1].batch_size

    @property
    def fastest(self) -> int:
        """The size with the most samples a second; it is often hardly faster than `recommended`."""
        return max(self.fitting, key=lambda trial: trial.samples_per_second).batch_size

    @property
    def recommended(self) -> int:
        """The smallest size with at least 95 % of the best samples a second."""
        enough = NEAR_BEST * max(trial.samples_per_second for trial in self.fitting)
        return min(trial.batch_size for trial in self.fitting if trial.samples_per_second >= enough)

    def table(self) -> Table:
        """Return one row a size: whether it fits, peak memory, milliseconds an iteration, samples a second."""
        headers = [
            "batch size",
            "fits",
            "peak memory",
            "ms an iteration",
            "samples a second",
            "note",
        ]
        rows = []
        for trial in self:
            took = ["no", "", "", ""]
            if trial.fits:
                milliseconds = f"{1000 * trial.seconds_per_step:.1f}"
                speed = f"{trial.samples_per_second:,.0f}"
                took = ["yes", human_bytes(trial.peak_memory), milliseconds, speed]
            rows.append([trial.batch_size, *took, trial.note])
        note = (
            f"largest that ran {self.largest}, fastest {self.fastest}, recommended {self.recommended}:"
            f" the smallest with at least {NEAR_BEST:.0%} of the best samples a second."
        )
        return Table(headers, rows, notes=[note])

    def plot(self, column: str = "samples_per_second", ax: "Axes | None" = None) -> "Axes":
        """Draw "samples_per_second" or "peak_memory" over the sizes that ran; return the axes, for `show`."""
        from dlhelpers.show.studies import plot_batch_sizes

        if column not in COLUMNS:
            raise KeyError(f"no column {column!r}: expected one of {', '.join(COLUMNS)}")
        label, unit = COLUMNS[column]
        sizes = [trial.batch_size for trial in self.fitting]
        values = [getattr(trial, column) / unit for trial in self.fitting]
        return plot_batch_sizes(sizes, values, ylabel=label, recommended=self.recommended, ax=ax)


def study_batch_sizes(
    model: nn.Module,
    make_batch: Callable[[int], tuple[Tensor, Tensor]],
    loss_fn: LossFn,
    optimizer_fn: OptimizerFn = plain_sgd,
    *,
    device: Device | None = None,
    start: int = 2,
    limit: int = 1024,
    budget: float = 0.8,
    steps: int = 3,
    amp_dtype: torch.dtype | None = None,
) -> BatchSizeStudy:
    """Try doubling batch sizes on a copy of the model, then some in between towards the first that does not fit.

    make_batch    makes (inputs, targets) of the size asked: a DataLoader's batch size cannot be changed
    start, limit  the first size, and the largest that may be tried; sizes below `start` are run once to learn the
                  memory they take, and not listed
    budget        the part of the memory free at the beginning that a trial may be predicted to take
    steps         steps timed at each size at least, after an untimed one
    Leaves model, gradients, modes and random states as they are. Raises ValueError or TypeError for bad input, and
    MemoryError where not even `start` fits.
    """
    check_whole("start", start, 2, ", since BatchNorm cannot train on a batch of one")
    check_whole("limit", limit, start, ", as start")
    check_whole("steps", steps, 1)
    if not (isinstance(budget, Real) and 0 < budget <= 1):
        raise ValueError(
            f"budget is {budget!r}: expected a part of the free memory, above 0 and at most 1"
        )
    check_callable("make_batch", make_batch, "a function from a size to a batch")
    rehearsal = Rehearsal(model, loss_fn, optimizer_fn, device, amp_dtype)
    with undisturbed(rehearsal.device):
        return BatchSizeStudy(_Study(rehearsal, make_batch, budget, steps).run(start, limit))


class _Study:
    """The trials of one study, and the peaks that the next prediction is made from."""

    def __init__(self, rehearsal: Rehearsal, make_batch: Callable, budget: float, steps: int):
        self.rehearsal, self.device = rehearsal, rehearsal.device
        self.make_batch, self.budget, self.steps = make_batch, budget, steps
        self.base = 0  # bytes held before
        self.peaks: list[tuple[int, int]] = []  # (batch size, bytes) of what ran

    def run(self, start: int, limit: int) -> list[BatchSizeTrial]:
        """All trials from `start` on, after smaller unlisted ones, and after one that loads libraries and threads."""
        sizes = [start]
        while sizes[0] >= 4:
            sizes.insert(0, sizes[0] // 2)
        while sizes[-1] * 2 <= limit:
            sizes.append(sizes[-1] * 2)
        if self._attempt(sizes[0], 0) is None:
            raise _nothing_fits(sizes[0], OUT)
        release_memory(self.device)
        self.base = memory_held(self.device)
        self.allowed = int(self.budget * memory_budget(self.device))
        trials: dict[int, BatchSizeTrial] = {}
        while sizes:
            size = sizes[0]
            trials[size] = trial = self._try(size, self.steps if size >= start else 0)
            if trial.fits:
                sizes.pop(0)
                continue
            if size <= start:
                raise _nothing_fits(size, trial.note)
            failed, low = trial.note == OUT, self.peaks[-1][0]
            middle = (low + size) // 2
            if (middle - low) * (2 if failed else 8) < low:
                break
            if failed:
                sizes = [middle]
            else:  # only predicted, so it is asked again after the size in between
                sizes.insert(0, middle)
        predicted = sorted(size for size, trial in trials.items() if trial.note not in ("", OUT))
        return [trials[size] for size in trials if size >= start and size not in predicted[1:]]

    def _try(self, size: int, steps: int) -> BatchSizeTrial:
        """Run one size, unless it is predicted to take more than is allowed."""
        if self.peaks and (need := predicted_peak(self.peaks, size)) > self.allowed:
            found = f"about {human_bytes(need)} of the {human_bytes(self.allowed)} allowed"
            return BatchSizeTrial(size, False, note=f"not run: would take {found}")
        if (took := self._attempt(size, steps)) is None:
            return BatchSizeTrial(size, False, note=OUT)
        peak, seconds = took
        self.peaks.append((size, peak))
        return BatchSizeTrial(size, True, peak, seconds, size / seconds if seconds else None)

    def _attempt(self, size: int, steps: int) -> tuple[int, float] | None:
        """The bytes of the peak and the seconds a step, or None where memory ran out; nothing of it stays alive."""
        took = None
        try:
            took = self._run(size, steps)
        except Exception as error:
            # oneDNN has words of its own, believed at a size above one that ran
            if not (is_out_of_memory(error) or self.peaks and "create a primitive" in str(error)):
                raise
        # out here, since in the block above the error's traceback keeps the tensors alive
        self.rehearsal.reset()
        release_memory(self.device, generation=2 if took is None else 1)
        return took

    def _run(self, size: int, steps: int) -> tuple[int, float]:
        with peak_memory(self.device) as peak:
            batch = self.rehearsal.batch(self.make_batch, size)
            # untimed; the second begins with the optimizer's memory in place
            self.rehearsal.seconds(batch, 2)
            begin, times = perf_counter(), []
            while steps and (not times or perf_counter() - begin < TIMED_SECONDS):
                times.append(self.rehearsal.seconds(batch, steps) / steps)
        # the shortest counts, since whatever else runs on the machine only makes a step longer
        return max(0, peak.bytes - self.base), min(times, default=0.0)


def _nothing_fits(size: int, why: str) -> MemoryError:
    return MemoryError(
        f"no batch size fits: {size} samples: {why}. Use smaller inputs, a smaller model or `start`"
    )
