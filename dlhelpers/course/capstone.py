"""What lesson 11 hands out, and the run of a learner's project under its conditions.

The data lie in one temporary folder for the whole process, so that the lesson and the checks look at the same files.
"""

import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import torch

from dlhelpers.course.capped_examples import write_shards
from dlhelpers.machine.capped import LimitedRun, run_limited
from dlhelpers.train.history import EpochResult, History

SAMPLES, HELD_OUT = 12_345, 1_777  # images to learn from, and those held out
FEW = (1_000, 150)  # of both, in the small copy
SHAPE = (3, 64, 64)
CAP = 30_000_000  # bytes of private memory
BUDGET = 60_000  # samples seen in training: seconds would depend on the machine, and on what else it does
SECONDS = 300  # until a run is stopped: a small model needs far fewer for the budget, on a slow machine too
ENOUGH = 0.9  # accuracy on the held-out images
NUMBERS = (
    "batch_size",
    "epochs",
    "dataset_bytes",
    "batches",
    "last_batch",
    "optimizer_steps",
)  # a project's own

_places: list[TemporaryDirectory] = []


class Project(Protocol):
    """What the learner writes: numbers stated beforehand, and the training."""

    batch_size: int
    epochs: int
    dataset_bytes: int
    batches: int
    last_batch: int
    optimizer_steps: int

    def train(self, data: Path, checkpoint: Path, epochs: int) -> History:
        """Train on `data` until `epochs` epochs are done, those in the file `checkpoint` included."""


def data() -> Path:
    """Return the folder of the shards `train` and `held-out`, and of both again in `small`, written at the first call.

    It is removed by `clean_up`, or when the process ends.
    """
    if not _places:
        place = TemporaryDirectory(
            prefix="capstone-", ignore_cleanup_errors=True
        )  # Windows keeps what is mapped
        for folder, counts in (
            (Path(place.name), (SAMPLES, HELD_OUT)),
            (Path(place.name, "small"), FEW),
        ):
            folder.mkdir(exist_ok=True)
            for seed, (name, count) in enumerate(zip(("train", "held-out"), counts, strict=True)):
                write_shards(folder / name, count, rows=1_000, seed=seed)
        _places.append(place)
    return Path(_places[0].name)


def clean_up() -> None:
    """Remove the folder of the shards; `data` writes it again."""
    while _places:
        _places.pop().cleanup()


class Attempt:
    """The runs of one project, each made when it is first asked for, in a child process under the cap."""

    def __init__(self, project: type[Project]):
        self.project = project

    @cached_property
    def stated(self) -> dict[str, object]:
        """The project's numbers when this is first asked for, which `run` does before it starts."""
        return numbers(self.project)

    @cached_property
    def run(self) -> LimitedRun:
        """The whole training, with an empty place for its checkpoint."""
        (run,) = self._runs(data(), (_train, self.stated["epochs"]))
        return run

    @property
    def stated_afresh(self) -> bool:
        """Whether the run has been made, and the project now states other numbers than before it."""
        return "run" in vars(self) and self.stated != numbers(self.project)

    @cached_property
    def unbroken_and_resumed(self) -> list[LimitedRun]:
        """On the small copy: two epochs at once; two that are stopped after the first checkpoint; those begun again.

        A project that cannot be stopped so, since it saves in another way, is asked for one epoch, and then for two.
        """
        small = data() / "small"
        unbroken, broken = (
            self._runs(small, (_train, 2)),
            self._runs(small, (_train_to_checkpoint, 2), (_train, 2)),
        )
        if len(finished(broken[0], "train")) != 1:
            broken = self._runs(small, (_train, 1), (_train, 2))
        return [*unbroken, *broken]

    def _runs(self, folder: Path, *runs: tuple[Callable, int]) -> list[LimitedRun]:
        """Train in each of these ways to so many epochs, in one place: a second run finds what the first has left."""
        with TemporaryDirectory(prefix="capstone-run-") as place:
            shared = self.project, folder, Path(place, "run.pt")
            return [
                run_limited(train, *shared, epochs, limit=CAP, timeout=SECONDS)
                for train, epochs in runs
            ]


_latest: list[Attempt] = []


def attempt(project: type[Project], *, afresh: bool = False) -> Attempt:
    """Return the attempt with this very class, the same one at each call; another class, or `afresh`, starts anew."""
    if afresh or not _latest or _latest[0].project is not project:
        _latest[:] = [Attempt(project)]
    return _latest[0]


def numbers(project: type[Project]) -> dict[str, object]:
    """Return what a project states now, by name; dots for what it does not."""
    made = project()
    return {name: getattr(made, name, ...) for name in NUMBERS}


def finished(run: LimitedRun, phase: str) -> list[EpochResult]:
    """Return the finished passes of a phase, "train" or "valid", that a run's history holds."""
    return (
        [r for r in run.value if r.phase == phase and r.complete]
        if isinstance(run.value, History)
        else []
    )


def _train(project: type[Project], folder: Path, checkpoint: Path, epochs: int) -> History:
    torch.seed()  # a new process always begins with the same numbers, and a missing seed would go unnoticed
    return project().train(folder, checkpoint, epochs)


def _train_to_checkpoint(
    project: type[Project], folder: Path, checkpoint: Path, epochs: int
) -> History:
    """Train, and be interrupted once, when the file `checkpoint` has been put into its place by os.replace."""
    replace, stopped = os.replace, False

    def replace_and_stop(source: Any, target: Any, **places: Any) -> None:
        nonlocal stopped
        replace(source, target, **places)
        if not stopped and Path(os.fsdecode(target)) == checkpoint:
            stopped = True
            raise KeyboardInterrupt

    os.replace = replace_and_stop
    try:
        return _train(project, folder, checkpoint, epochs)
    finally:
        os.replace = replace
