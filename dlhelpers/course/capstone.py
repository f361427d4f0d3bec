"""The project of lesson 15: its data, the runs of a learner's project under its conditions, and six requirements.

A project is a class with the numbers in COUNTS, `dataset_bytes`, and a method `train(data, checkpoint, epochs)`, which
trains until `epochs` epochs are done, those in the file `checkpoint` included, and returns the History. What is still
open raises NotWritten. The data lie in one temporary folder for the whole process, so that the lesson and the checks
look at the same files. Each requirement is a function that takes the project, and returns what it has or raises Unmet
with what is missing.
"""

from functools import lru_cache
from math import isclose, prod
from numbers import Integral
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from dlhelpers.base.sizes import human_bytes
from dlhelpers.base.tables import Table
from dlhelpers.course.capped_examples import write_packed
from dlhelpers.course.judges import NotWritten, is_blank
from dlhelpers.machine.capped import LimitedRun, run_limited
from dlhelpers.train.history import EpochResult, History

SAMPLES, HELD_OUT = 12_345, 1_777  # images to learn from, and those held out
FEW = (1_000, 150)  # of both, in the small copy
SHAPE = (3, 64, 64)
BYTES = SAMPLES * prod(SHAPE)
CAP = 30_000_000  # bytes of private memory
BUDGET = 60_000  # samples seen in training: seconds would depend on the machine, and on what else it does
SECONDS = 300  # until a run is stopped: a small model needs far fewer for the budget, on a slow machine too
ENOUGH = 0.9  # accuracy on the held-out images
COUNTS = ("batch_size", "epochs", "batches", "last_batch", "optimizer_steps")


# ---- the data ----


@lru_cache
def _place() -> TemporaryDirectory:
    # Windows keeps what is mapped
    place = TemporaryDirectory(prefix="capstone-", ignore_cleanup_errors=True)
    for folder, counts in (("", (SAMPLES, HELD_OUT)), ("small", FEW)):
        for seed, name in enumerate(("train", "held-out")):
            write_packed(Path(place.name, folder, name), counts[seed], seed=seed)
    return place


def data() -> Path:
    """Return the folder of `train` and `held-out`, and of both again in `small`, written at the first call.

    It is removed by `clean_up`, or when the process ends.
    """
    return Path(_place().name)


def clean_up() -> None:
    """Remove the folder; `data` writes it again."""
    _place().cleanup()
    _place.cache_clear()


# ---- the runs ----


@lru_cache(maxsize=1)
def whole_run(project: type) -> LimitedRun:
    """Return the whole training of a project, made at the first call with this very class."""
    return _runs(project, data(), _stated(project, *COUNTS)[1])[0]


def _runs(project: type, folder: Path, *epochs: int) -> list[LimitedRun]:
    """Train to each of these epochs, in one place: a second run finds the checkpoint of the first."""
    if is_blank(getattr(project(), "train", None)):
        raise NotWritten
    with TemporaryDirectory(prefix="capstone-run-") as place:
        where = project, folder, Path(place, "run.pt")
        return [run_limited(_train, *where, n, limit=CAP, timeout=SECONDS) for n in epochs]


def _train(project: type, folder: Path, checkpoint: Path, epochs: int) -> History:
    torch.seed()  # a process begins with the same random numbers, and a missing seed would go unnoticed
    return project().train(folder, checkpoint, epochs)


def _finished(run: LimitedRun) -> list[EpochResult]:
    """The finished passes of training of a run that came to its end with a history of them."""
    expect(
        run.outcome == "returned",
        f"the run {run}\nOut of memory? What is too large: all images, a batch with what layers keep, or weights?"
        " Called by hand, `train` shows where.",
    )
    kept = isinstance(run.value, History)
    results = [r for r in run.value if r.phase == "train" and r.complete] if kept else []
    expect(
        results,
        f"`train` gave back {type(run.value).__name__}: return the history that `fit` gives, with a finished epoch of"
        " training.",
    )
    return results


# ---- the requirements ----


class Unmet(Exception):
    """Raised with a sentence on what keeps a requirement from being met."""


def expect(holds: object, otherwise: str) -> None:
    """Raise Unmet with the sentence `otherwise`, unless the first holds."""
    if not holds:
        raise Unmet(otherwise)


def _stated(project: type, *names: str) -> list[int]:
    """These numbers of a project, which have to be whole; NotWritten where none of them is stated."""
    values = [getattr(project(), name, ...) for name in names]
    if all(value is ... for value in values):
        raise NotWritten
    for name, value in zip(names, values, strict=True):
        stated = isinstance(value, Integral) and value >= 1
        expect(stated, f"{name} is {value!r}: a whole number is expected, at least 1.")
    return values


def _price(project: type) -> str:
    """The bytes of the dataset are stated, and right."""
    [stated] = _stated(project, "dataset_bytes")
    known = {
        4 * BYTES: "that is the price as float32. In the file a number takes one byte.",
        BYTES // 3: "an image has three channels.",
        BYTES + 8 * SAMPLES: "leave the labels out.",
        BYTES + HELD_OUT * prod(SHAPE): "leave the held-out images out.",
    }
    reason = known.get(stated, "that is not images x numbers in an image.")
    expect(stated == BYTES, f"dataset_bytes is {stated:,}: {reason}")
    return f"{stated:,} bytes"


def _counts(project: type) -> str:
    """The counts follow from batch size and epochs. With `drop_last` another pair of numbers is right."""
    size, epochs, batches, last, steps = _stated(project, *COUNTS)
    whole, rest = divmod(SAMPLES, size)
    expect(
        (batches, last) in [(whole, size), (whole + 1, rest)],
        f"{batches:,} batches are stated, the last of {last:,}:"
        f" {SAMPLES:,} samples are {whole:,} batches of {size:,}, and a rest of {rest:,}."
        " The rest is a batch too, or drop_last=True leaves it out: which of them is yours?",
    )
    expect(
        steps == batches * epochs,
        f"optimizer_steps is {steps:,}: one for each of {batches:,} batches, in each of {epochs:,} epochs.",
    )
    seen = ((batches - 1) * size + last) * epochs
    expect(
        seen <= BUDGET,
        f"{seen:,} samples would be seen, and the budget is {BUDGET:,}: plan fewer epochs.",
    )
    return f"{batches:,} batches, the last of {last:,}; {steps:,} steps"


def _memory(project: type) -> str:
    """A run that is made anew at each check came to its end under the cap."""
    whole_run.cache_clear()
    run = whole_run(project)
    _finished(run)
    private = f"{human_bytes(run.peak_private)} of private memory at the peak"
    # where the system has a cap, that has decided itself
    expect(run.capped or run.peak_private <= CAP, f"{private}: {human_bytes(CAP)} are allowed.")
    return private


def _budget(project: type) -> str:
    """The run kept to the counts that were stated, and to the budget."""
    _counts(project)
    size, epochs, batches, last, _ = _stated(project, *COUNTS)
    run = whole_run(project)
    samples = (batches - 1) * size + last
    had = [(r.batches, r.samples, r.optimizer_steps) for r in _finished(run)]
    expect(
        had == [(batches, samples, batches)] * epochs,
        f"{epochs} epochs are stated, each of {batches:,} batches, {samples:,} samples and {batches:,} optimizer steps;"
        f" of batches, samples and steps, the history has {', '.join(map(str, had))}.",
    )
    return f"{samples * epochs:,} samples in {run.seconds:.1f} s"


def _accuracy(project: type) -> str:
    """The last accuracy on the held-out images is high enough, with each of them counted once."""
    _finished(whole_run(project))
    end = [r for r in whole_run(project).value if r.complete][-1]
    expect(
        end.phase == "valid" and "accuracy" in end.metrics,
        f"the history ends with {end.phase} of epoch {end.epoch}, and no accuracy on held-out images: give `fit` a"
        ' valid_loader and metrics={"accuracy": accuracy}, and validate after the last epoch, too.',
    )
    expect(
        end.samples == HELD_OUT,
        f"the accuracy is one of {end.samples:,} images: {HELD_OUT:,} are held out, and each counts.",
    )
    accuracy = end.metrics["accuracy"]
    expect(
        accuracy >= ENOUGH,
        f"{accuracy:.1%} of the held-out images are right, and {ENOUGH:.0%} are needed.",
    )
    return f"{accuracy:.1%} of {HELD_OUT:,} images"


def _resumes(project: type) -> str:
    """On a small copy of the data, a run of one epoch, asked for two, goes on as an unbroken run of two."""
    small = data() / "small"
    runs = [*_runs(project, small, 2), *_runs(project, small, 1, 2)]
    unbroken, begun, resumed = map(_finished, runs)
    trained = [len(unbroken), len(begun), len(resumed)]
    expect(
        trained == [2, 1, 2],
        f"asked for 2 epochs, for 1, and from there for 2, it had trained for {trained}: obey `epochs`, and train for"
        " those that are missing.",
    )
    # a result tells its seconds, too, so an equal one can only come from the file
    expect(
        begun[0] in resumed,
        "the second run did not go on from the first: write to `checkpoint`, load it where it exists.",
    )
    expect(
        isclose(unbroken[1].loss, resumed[1].loss, rel_tol=1e-6),
        "the second epoch is not that of an unbroken run: seed before the model is made, give `fit` a seed, load model"
        " and optimizer, and plan a schedule for `self.epochs`.",
    )
    return "equal losses, to 1e-6"


# ---- the report ----

REQUIREMENTS = {  # what is asked, and the rule
    "price": ("stated before the run", _price),
    "counts": ("stated before the run", _counts),
    "memory": (f"at most {human_bytes(CAP)}", _memory),
    "budget": (f"batches, samples and steps as stated, at most {BUDGET:,} samples", _budget),
    "accuracy": (f"at least {ENOUGH:.0%} of {HELD_OUT:,} images", _accuracy),
    "resuming": ("as an unbroken run", _resumes),
}
# by the last check of a requirement with a class; "" where it was not met
found: dict[tuple[str, type], str] = {}


def judge(requirement: str, answer: type) -> str | None:
    """Return None where a project meets a requirement, else a sentence on what is missing."""
    try:
        found[requirement, answer] = REQUIREMENTS[requirement][1](answer)
    except Unmet as missing:
        found[requirement, answer] = ""
        return str(missing)
    return None


def report(answer: type) -> Table:
    """Return one row per requirement: what is asked, what the project has, and "met", "not yet" or "open".

    Nothing is checked for it: a requirement whose check has not been made with this very class is open.
    """
    rows = []
    for number, (name, (asked, _)) in enumerate(REQUIREMENTS.items(), 1):
        yours = found.get((name, answer))
        state = "open" if yours is None else "met" if yours else "not yet"
        rows.append([number, name, asked, yours or "", state])
    met = sum(row[-1] == "met" for row in rows)
    headers = ["", "requirement", "asked", "yours", "state"]
    return Table(headers, rows, notes=[f"{met} of {len(rows)} met."])
