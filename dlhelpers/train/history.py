"""What each epoch gave: one frozen result an epoch and phase, and the list of them that `fit` returns.

A history only remembers. It is filled by the loops, and survives whatever stops them.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Self

from dlhelpers.base.checks import check_kind, shown
from dlhelpers.base.tables import Table

NUMBERS = (  # of each EpochResult, beside its loss and metrics
    "samples",
    "batches",
    "micro_batches",
    "optimizer_steps",
    "skipped_steps",
    "seconds",
    "data_seconds",
    "samples_per_second",
)


@dataclass(frozen=True)
class EpochResult:
    """One pass over a loader: exact means over its samples, and what it took.

    loss, metrics    means over samples, however they were batched
    optimizer_steps  updates of the weights; skipped_steps were left out because float16 overflowed
    seconds          the whole pass; data_seconds of it the host waited for the loader
    peak_memory      most bytes held on a CUDA device, None elsewhere
    micro_batches    forward and backward passes; more than batches where these were split
    complete         False where the pass was broken off
    """

    phase: str
    epoch: int
    loss: float
    metrics: dict[str, float] = field(default_factory=dict)
    samples: int = 0
    batches: int = 0
    optimizer_steps: int = 0
    skipped_steps: int = 0
    seconds: float = 0.0
    data_seconds: float = 0.0
    peak_memory: int | None = None
    complete: bool = True
    micro_batches: int = 0

    @property
    def samples_per_second(self) -> float:
        """Samples a second over the whole pass."""
        return self.samples / self.seconds if self.seconds else math.nan

    def value(self, name: str) -> float:
        """The loss, a metric or a field by its name; KeyError with the known names for any other."""
        check_kind("name", name, str, "'loss', a metric's, or a field's")
        known = {"loss": self.loss, **self.metrics, **{key: getattr(self, key) for key in NUMBERS}}
        if name not in known:
            raise KeyError(f"{name!r} is not among {', '.join(known)}")
        return known[name]


class History(Sequence[EpochResult]):
    """The results of all epochs, in order. Pass it to `fit` again to go on where it ended.

    `stop_reason` says why the last `fit` ended early, and is None where it did not.
    """

    def __init__(self) -> None:
        self._results: list[EpochResult] = []
        self.stop_reason: str | None = None

    def __len__(self) -> int:
        return len(self._results)

    def __getitem__(self, index: int) -> EpochResult:
        if isinstance(index, str):
            raise TypeError(
                f"history[{index!r}]: expected a number; history.column({index!r}) gives a column"
            )
        return self._results[index]

    def __iter__(self) -> Iterator[EpochResult]:
        return iter(self._results)

    def add(self, result: EpochResult) -> EpochResult:
        """Append a result and return it."""
        self._results.append(result)
        return result

    @property
    def interrupted(self) -> bool:
        """Whether the last `fit` was stopped by an interrupt."""
        return self.stop_reason == "interrupted"

    @property
    def epochs(self) -> int:
        """The number of the last finished training epoch, 0 before the first.

        An evaluation that somebody calls "train" takes no step and is none.
        """
        last = 0
        for result in self._results:
            steps = result.optimizer_steps + result.skipped_steps
            if result.phase == "train" and result.complete and steps:
                last = max(last, result.epoch)
        return last

    def state_dict(self) -> dict[str, object]:
        """Return the history as plain values, for a checkpoint."""
        return {"results": [asdict(result) for result in self], "stop_reason": self.stop_reason}

    @classmethod
    def from_state_dict(cls, state: dict) -> Self:
        """Return the history that `state_dict` described."""
        if not isinstance(state, Mapping) or not {"results", "stop_reason"} <= state.keys():
            raise ValueError(f"state is {shown(state)}: expected what state_dict() returned")
        history = cls()
        history._results = [EpochResult(**values) for values in state["results"]]
        history.stop_reason = state["stop_reason"]
        return history

    def names(self) -> list[str]:
        """The columns of losses and metrics, as "train_loss" or "valid_accuracy"."""
        return list(dict.fromkeys(f"{r.phase}_{key}" for r in self for key in ("loss", *r.metrics)))

    def column(self, name: str) -> list[float]:
        """Return one number for each finished epoch: a loss, metric or field behind its phase, as "train_seconds".

        Raises KeyError for an unknown column, with the known ones.
        """
        return [value for value, _ in self._found(name)]

    def _found(self, name: str) -> list[tuple[float, EpochResult]]:
        """The numbers of a column, each with its epoch; where phases begin alike, of the first that has it."""
        check_kind("name", name, str, "a column's, as 'valid_loss'")
        finished = [(f"{r.phase}_", r) for r in self if r.complete]
        for phase in dict.fromkeys(start for start, _ in finished if name.startswith(start)):
            with suppress(KeyError):
                return [
                    (r.value(name.removeprefix(phase)), r)
                    for start, r in finished
                    if start == phase
                ]
        known = ", ".join(self.to_dict()) or "no finished epoch yet"
        raise KeyError(f"no column {name!r}: this history has {known}")

    def to_dict(self) -> dict[str, list[float]]:
        """Return all losses and metrics by column, ready for pandas.DataFrame: one row for each epoch.

        NaN stands where a phase of that epoch was not finished, as when an interrupt fell into its validation.
        """
        finished = [r for r in self if r.complete]
        epochs = sorted({r.epoch for r in finished})
        columns: dict[str, list[float]] = {}
        for r in finished:
            for key in ("loss", *r.metrics):
                columns.setdefault(f"{r.phase}_{key}", [math.nan] * len(epochs))[
                    epochs.index(r.epoch)
                ] = r.value(key)
        return columns

    def best(self, name: str = "valid_loss", mode: str = "min") -> EpochResult:
        """Return the finished epoch whose column is lowest, or highest with mode="max"; ties go to the earliest.

        An epoch whose number is NaN is passed over. Raises KeyError for an unknown column, ValueError for another mode,
        and for a column of nothing but NaN.
        """
        if mode not in ("min", "max"):
            raise ValueError(f"mode is {mode!r}: expected 'min' or 'max'")
        found = [(value, r) for value, r in self._found(name) if not math.isnan(value)]
        if not found:
            raise ValueError(
                f"{name} is NaN in each finished epoch, so none is best: choose another column"
            )
        pick = min if mode == "min" else max
        return pick(found, key=lambda pair: pair[0])[1]

    def table(self) -> Table:
        """Return one row an epoch: losses, metrics, samples, and whether it was finished."""
        names = self.names()
        rows = []
        for epoch in sorted({r.epoch for r in self}):
            results = {
                r.phase: r for r in self if r.epoch == epoch
            }.values()  # the last of each, if one was redone
            cells = {
                f"{r.phase}_{key}": f"{r.value(key):.3f}"
                for r in results
                for key in ("loss", *r.metrics)
            }
            end = "yes" if all(r.complete for r in results) else "no, broken off"
            rows.append([epoch, *(cells.get(name, "") for name in names), end])
        headers = ["epoch", *(name.replace("_", " ") for name in names), "finished"]
        return Table(
            headers, rows, notes=[f"stopped early: {self.stop_reason}."] if self.stop_reason else []
        )

    def __repr__(self) -> str:
        return repr(self.table()) if len(self) else "History: no epoch yet"

    def _repr_html_(self) -> str:
        return self.table()._repr_html_() if len(self) else "<p>History: no epoch yet</p>"
