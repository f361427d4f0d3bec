"""What each epoch gave: one result an epoch and phase, and the list of them that `fit` returns.

A history only remembers. It is filled by the loops, and survives whatever stops them.
"""

import math
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from dlhelpers.base.tables import ShownAsTable, Table


@dataclass
class EpochResult:
    """One pass over a loader: exact means over its samples, and what it took.

    loss, metrics    means over samples, however they were batched
    optimizer_steps  updates of the weights; skipped_steps were left out because float16 overflowed
    seconds          the whole pass
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
    peak_memory: int | None = None
    complete: bool = True
    micro_batches: int = 0

    @property
    def means(self) -> dict[str, float]:
        """The loss and all metrics by name."""
        return {"loss": self.loss, **self.metrics}

    def value(self, name: str) -> float:
        """The loss, a metric or a field by its name; KeyError for any other."""
        return (vars(self) | self.means)[name]


class History(ShownAsTable, list[EpochResult]):
    """The results of all epochs, in order. Pass it to `fit` again to go on where it ended.

    `stop_reason` says why the last `fit` ended early, and is None where it did not.
    """

    stop_reason: str | None = None

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, str):
            raise TypeError(
                f"history[{index!r}]: expected a number; history.column({index!r}) gives a column"
            )
        return super().__getitem__(index)

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
        for result in self:
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
        history = cls(EpochResult(**values) for values in state["results"])
        history.stop_reason = state["stop_reason"]
        return history

    def column(self, name: str) -> list[float]:
        """Return one number for each finished epoch: a loss, metric or field behind its phase, as "train_seconds".

        Raises KeyError for an unknown column, with the known ones.
        """
        return [value for value, _ in self._found(name)]

    def _found(self, name: str) -> list[tuple[float, EpochResult]]:
        """The numbers of a column, each with its epoch."""
        found = []
        for result in self:
            key = name.removeprefix(f"{result.phase}_")
            if result.complete and key != name:
                with suppress(KeyError):
                    found.append((result.value(key), result))
        if not found:
            columns = ", ".join(self.to_dict()) or "no finished epoch yet"
            raise KeyError(f"no column {name!r}: this history has {columns}")
        return found

    def to_dict(self) -> dict[str, list[float]]:
        """Return all losses and metrics by column, ready for pandas.DataFrame: one row for each epoch.

        NaN stands where a phase of that epoch was not finished, as when an interrupt fell into its validation.
        """
        names, rows = _rows(result for result in self if result.complete)
        return {name: [row.get(name, math.nan) for row in rows.values()] for name in names}

    def best(self, name: str = "valid_loss", mode: str = "min") -> EpochResult:
        """Return the finished epoch whose column is lowest, or highest with mode="max"; ties go to the earliest.

        An epoch whose number is NaN is passed over. Raises KeyError for an unknown column or mode, ValueError for a
        column of nothing but NaN.
        """
        found = [pair for pair in self._found(name) if not math.isnan(pair[0])]
        if not found:
            raise ValueError(
                f"{name} is NaN in each finished epoch, so none is best: choose another column"
            )
        pick = {"min": min, "max": max}[mode]
        return pick(found, key=lambda pair: pair[0])[1]

    def table(self) -> Table:
        """Return one row an epoch: losses, metrics, and whether it was finished, the last time that it was tried."""
        names, rows = _rows(self)
        whole = {result.epoch: result.complete for result in self}
        cells = []
        for epoch, row in rows.items():
            numbers = [f"{row[name]:.3f}" if name in row else "" for name in names]
            cells.append([epoch, *numbers, "yes" if whole[epoch] else "no, broken off"])
        headers = ["epoch", *(name.replace("_", " ") for name in names), "finished"]
        notes = [f"stopped early: {self.stop_reason}."] if self.stop_reason else []
        return Table(headers, cells, notes=notes)


def _rows(results: Iterable[EpochResult]) -> tuple[list[str], dict[int, dict[str, float]]]:
    """The columns of losses and metrics, as "train_loss", and for each epoch its numbers by column."""
    names: dict[str, None] = {}
    rows: dict[int, dict[str, float]] = {}
    for result in results:
        row = rows.setdefault(result.epoch, {})
        for key, value in result.means.items():
            row[f"{result.phase}_{key}"] = value
        names |= dict.fromkeys(row)
    return list(names), rows
