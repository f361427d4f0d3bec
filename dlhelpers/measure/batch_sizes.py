"""Which batch sizes fit, and which are fast: each size is tried on a copy of the model, and none is promised untried.

Memory often ends without an error that could be caught: a container's kernel is killed, a driver spills into RAM. So
the next peak is predicted from those measured, and the study stops before it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

from torch import Tensor, nn

from dlhelpers.base.checks import check_whole
from dlhelpers.base.sizes import human_bytes
from dlhelpers.base.tables import ShownAsTable, Table
from dlhelpers.machine.devices import move
from dlhelpers.machine.memory import (
    is_out_of_memory,
    memory_budget,
    memory_held,
    peak_memory,
    release_memory,
)
from dlhelpers.measure.trials import OptimizerFn, Rehearsal, plain_sgd, undisturbed
from dlhelpers.train.checks import LossFn
from dlhelpers.train.micro_batching import split_batch

BUDGET = 0.8  # the part of the memory free at the beginning that a size may be predicted to take
NEAR_BEST = 0.95  # of the best samples a second: where a larger batch no longer pays
STEPS = 3  # timed at once
TIMED_SECONDS = 0.2  # small batches are timed again until this is spent


@dataclass(frozen=True)
class BatchSizeTrial:
    """What one batch size took; None where it did not run.

    peak_memory       bytes beyond those held with the model in place: batch, activations, gradients, optimizer
    seconds_per_step  forward pass, backward pass and optimizer step, the batch being there already
    """

    batch_size: int
    peak_memory: int | None = None
    seconds_per_step: float | None = None
    note: str = ""

    @property
    def fits(self) -> bool:
        """Whether it ran."""
        return self.peak_memory is not None

    @property
    def samples_per_second(self) -> float:
        """The samples learned from in a second, where it ran."""
        return self.batch_size / self.seconds_per_step


class BatchSizeStudy(ShownAsTable, list[BatchSizeTrial]):
    """All trials in the order of their sizes; at least one fits."""

    @property
    def fitting(self) -> list[BatchSizeTrial]:
        """The trials that ran."""
        return [trial for trial in self if trial.fits]

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
        names = "batch size", "fits", "peak memory", "ms an iteration", "samples a second", "note"
        rows = []
        for trial in self:
            took = ["no", "", "", ""]
            if trial.fits:
                milliseconds = f"{1000 * trial.seconds_per_step:.1f}"
                speed = f"{trial.samples_per_second:,.0f}"
                took = ["yes", human_bytes(trial.peak_memory), milliseconds, speed]
            rows.append([trial.batch_size, *took, trial.note])
        return Table(
            names,
            rows,
            notes=[
                f"largest that ran {self.largest}, fastest {self.fastest}, recommended {self.recommended}:"
                f" the smallest with at least {NEAR_BEST:.0%} of the best samples a second."
            ],
        )


def study_batch_sizes(
    model: nn.Module,
    make_batch: Callable[[int], tuple[Tensor, Tensor]],
    loss_fn: LossFn,
    optimizer_fn: OptimizerFn = plain_sgd,
    *,
    start: int = 2,
    limit: int = 1024,
) -> BatchSizeStudy:
    """Try doubling batch sizes on a copy of the model, then one half-way to the first that does not fit.

    make_batch    makes (inputs, targets) of the size asked: a DataLoader's batch size cannot be changed
    start, limit  the first size, and the largest that may be tried; sizes below `start` are run once to learn the
                  memory they take, and not listed
    The peak of a size is predicted along the line through the last two that ran; one that would take more than 80 % of
    the memory free at the beginning is not run. Leaves model, gradients, modes and random states as they are. Raises
    ValueError or TypeError for bad input, and MemoryError where not even `start` fits.
    """
    check_whole("start", start, 2, ", since BatchNorm cannot train on a batch of one")
    rehearsal = Rehearsal(model, loss_fn, optimizer_fn)
    device = rehearsal.device
    sizes = [start]
    while sizes[0] >= 4:
        sizes.insert(0, sizes[0] // 2)
    while sizes[-1] * 2 <= limit:
        sizes.append(sizes[-1] * 2)

    def attempt(size: int) -> BatchSizeTrial:
        """Run one size, unless it is predicted to take more than is allowed; nothing of it stays alive."""
        (one, low), (other, high) = peaks[-2:]
        need = high + (high - low) * (size - other) // (other - one)
        if need > allowed:
            found = f"about {human_bytes(need)} of the {human_bytes(allowed)} allowed"
            return BatchSizeTrial(size, note=f"not run: would take {found}")
        trial = BatchSizeTrial(size, note="ran out of memory")
        try:
            with peak_memory(device) as peak:
                batch = make_batch(size)
                if (came := len(split_batch(batch)[1])) != size:
                    raise ValueError(
                        f"make_batch({size}) returned {came} samples: expected {size};"
                        " draw with repetition, or lower `limit`"
                    )
                batch = move(batch, device)
                # untimed; the second begins with the optimizer's memory in place
                rehearsal.train([batch] * 2)
                begin, times = perf_counter(), []
                while not times or perf_counter() - begin < TIMED_SECONDS:
                    times.append(rehearsal.train([batch] * STEPS).seconds / STEPS)
            # the shortest counts, since whatever else runs on the machine only makes a step longer
            trial = BatchSizeTrial(size, max(0, peak.bytes - base), min(times))
            peaks.append((size, trial.peak_memory))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        # out here, since in the block above the error's traceback keeps the tensors alive
        batch = None
        rehearsal.reset()
        release_memory(device, generation=1 if trial.fits else 2)
        return trial

    trials = BatchSizeStudy()
    with undisturbed():
        rehearsal.train([make_batch(sizes[0])])  # loads libraries and threads
        rehearsal.reset()
        release_memory(device)
        base, allowed = memory_held(device), int(BUDGET * memory_budget(device))
        peaks = [(-1, 0), (0, 0)]  # no sample takes nothing, and no more is known
        for size in sizes:
            trial = attempt(size)
            if not trial.fits and not trials:
                raise MemoryError(
                    f"no batch size fits: {size} samples: {trial.note}."
                    " Use smaller inputs, a smaller model or `start`"
                )
            if not trial.fits:
                trials += [attempt((trials.largest + size) // 2), trial]
                break
            if size >= start:
                trials.append(trial)
    return trials
