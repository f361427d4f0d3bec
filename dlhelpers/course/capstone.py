"""The project of lesson 11: its data, the runs of a learner's project under its conditions, and six requirements.

A project is a class with the numbers in COUNTS, `dataset_bytes`, and a method `train(data, checkpoint, epochs)`, which
trains until `epochs` epochs are done, those in the file `checkpoint` included, and returns the History. What is still
open raises NotWritten. The data lie in one temporary folder for the whole process, so that the lesson and the checks
look at the same files.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
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

_places: list[TemporaryDirectory] = []


def data() -> Path:
    """Return the folder of `train` and `held-out`, and of both again in `small`, written at the first call.

    It is removed by `clean_up`, or when the process ends.
    """
    if not _places:
        # Windows keeps what is mapped
        place = TemporaryDirectory(prefix="capstone-", ignore_cleanup_errors=True)
        for folder, counts in (("", (SAMPLES, HELD_OUT)), ("small", FEW)):
            Path(place.name, folder).mkdir(exist_ok=True)
            for seed, name in enumerate(("train", "held-out")):
                write_packed(Path(place.name, folder, name), counts[seed], seed=seed)
        _places.append(place)
    return Path(_places[0].name)


def clean_up() -> None:
    """Remove the folder; `data` writes it again."""
    while _places:
        _places.pop().cleanup()


# ---- the runs ----


@dataclass(eq=False)
class Attempt:
    """The runs of one project, each made when it is first asked for, in a child process under the cap."""

    project: type

    @cached_property
    def run(self) -> LimitedRun:
        """The whole training, with an empty place for its checkpoint."""
        return self._train(data(), getattr(self.project(), "epochs", ...))[0]

    @cached_property
    def resuming(self) -> list[LimitedRun]:
        """On the small copy: two epochs at once; one epoch; and from the checkpoint of that one, on to two."""
        small = data() / "small"
        return [*self._train(small, 2), *self._train(small, 1, 2)]

    def _train(self, folder: Path, *epochs: int) -> list[LimitedRun]:
        """Train to each of these epochs, in one place: a second run finds the checkpoint of the first."""
        if is_blank(getattr(self.project(), "train", None)):
            raise NotWritten
        expect(... not in epochs, "epochs is not stated yet, and the run needs to know.")
        with TemporaryDirectory(prefix="capstone-run-") as place:
            where = self.project, folder, Path(place, "run.pt")
            limits = {"limit": CAP, "timeout": SECONDS}
            return [run_limited(_train, *where, number, **limits) for number in epochs]


# The same attempt at each call with this very class; another class starts anew.
attempt = lru_cache(maxsize=1)(Attempt)


def _train(project: type, folder: Path, checkpoint: Path, epochs: int) -> History:
    torch.seed()  # a process begins with the same random numbers, and a missing seed would go unnoticed
    return project().train(folder, checkpoint, epochs)


# ---- the requirements: each returns what the project has, or raises Unmet with what is missing ----


class Unmet(Exception):
    """Raised with a sentence on what keeps a requirement from being met."""


def expect(holds: object, otherwise: str) -> None:
    """Raise Unmet with the sentence `otherwise`, unless the first holds."""
    if not holds:
        raise Unmet(otherwise)


def _price(tried: Attempt) -> str:
    """The bytes of the dataset are stated, and right."""
    [stated] = _stated(tried, "dataset_bytes")
    known = {
        4 * BYTES: "that is the price as float32. In the file a number takes one byte.",
        BYTES // 3: "an image has three channels.",
        BYTES + 8 * SAMPLES: "leave the labels out.",
        BYTES + HELD_OUT * prod(SHAPE): "leave the held-out images out.",
    }
    reason = known.get(stated, "that is not images x numbers in an image.")
    expect(stated == BYTES, f"dataset_bytes is {stated:,}: {reason}")
    return f"{stated:,} bytes"


def _counts(tried: Attempt) -> str:
    """The counts follow from batch size and epochs. With `drop_last` another pair of numbers is right."""
    size, epochs, batches, last, steps = _stated(tried, *COUNTS)
    expect(size <= SAMPLES, f"batch_size is {size:,}, and there are {SAMPLES:,} samples.")
    whole, rest = divmod(SAMPLES, size)
    division = f"{SAMPLES:,} samples are {whole:,} batches of {size:,}, and a rest of {rest:,}"
    right = {whole: size}  # the last batch, by the number of batches
    if rest:
        right[whole + 1] = rest
    expect(batches in right, f"batches is {batches:,}: {division}.")
    expect(
        last == right[batches],
        f"{batches:,} batches are stated, the last of {last:,}: {division}."
        " The rest is a batch too, or drop_last=True leaves it out: which of them is yours?",
    )
    each = f"one for each of {batches:,} batches, in each of {epochs:,} epochs"
    expect(steps == batches * epochs, f"optimizer_steps is {steps:,}: {each}.")
    seen = ((batches - 1) * size + last) * epochs
    over = f"{seen:,} samples would be seen, and the budget is {BUDGET:,}: plan fewer epochs."
    expect(seen <= BUDGET, over)
    return f"{batches:,} batches, the last of {last:,}; {steps:,} steps"


def _memory(tried: Attempt) -> str:
    """The run came to its end under the cap."""
    _finished(tried.run)
    private, file_backed = tried.run.peak_private, tried.run.peak_file_backed
    if not tried.run.capped:  # else the cap has decided itself
        over = (
            f"{human_bytes(private)} of private memory at the peak: {human_bytes(CAP)} are allowed."
        )
        expect(private <= CAP, over)
    told = "unknown" if file_backed is None else human_bytes(file_backed)
    return f"{human_bytes(private)} private; file-backed: {told}"


def _budget(tried: Attempt) -> str:
    """The run kept to the counts that were stated, and to the budget."""
    _counts(tried)
    results = _finished(tried.run)
    size, epochs, batches, last, steps = _stated(tried, *COUNTS)
    said = f"{epochs} epochs are stated, and the history has {len(results)}."
    expect(len(results) == epochs, said)
    samples = (batches - 1) * size + last
    for r in results:
        said = f"{batches:,} batches with {samples:,} samples are stated for an epoch"
        had = f"epoch {r.epoch} had {r.batches:,} with {r.samples:,}"
        expect((r.batches, r.samples) == (batches, samples), f"{said}, and {had}.")
    taken = sum(r.optimizer_steps for r in results)
    expect(taken == steps, f"{steps:,} optimizer steps are stated, and {taken:,} were taken.")
    return f"{samples * epochs:,} samples in {tried.run.seconds:.1f} s"


def _accuracy(tried: Attempt) -> str:
    """The last accuracy on the held-out images is high enough, with each of them counted once."""
    _finished(tried.run)
    end = [r for r in tried.run.value if r.complete][-1]
    measured = any(r.phase == "valid" and "accuracy" in r.metrics for r in tried.run.value)
    how = 'give `fit` a valid_loader and metrics={"accuracy": accuracy}'
    expect(measured, f"no accuracy on held-out images: {how}.")
    late = f"the history ends with {end.phase} of epoch {end.epoch}"
    expect(end.phase == "valid", f"{late}: validate after the last epoch, too.")
    each = f"{HELD_OUT:,} are held out, and each counts"
    expect(end.samples == HELD_OUT, f"the accuracy is one of {end.samples:,} images: {each}.")
    accuracy = end.metrics["accuracy"]
    right = accuracy * HELD_OUT
    said = f"an accuracy of {accuracy:.4f} would be {right:.2f} right answers of {HELD_OUT:,}"
    expect(abs(right - round(right)) <= 1e-3, f"{said}: weigh with samples, as in lesson 03.")
    said = f"{right:.0f} of the {HELD_OUT:,} held-out images are right"
    expect(right >= ENOUGH * HELD_OUT, f"{said}, and {ENOUGH:.0%} are needed.")
    return f"{accuracy:.1%} of {end.samples:,} images"


def _resumes(tried: Attempt) -> str:
    """On a small copy of the data, a run of one epoch, asked for two, goes on as an unbroken run of two."""
    unbroken, begun = map(_finished, tried.resuming[:2])
    trained = f"it trained for {len(unbroken)} and {len(begun)}"
    expect(
        (len(unbroken), len(begun)) == (2, 1),
        f"asked for 2 epochs and for 1, {trained}: obey `epochs`.",
    )
    resumed = _finished(tried.resuming[2])
    # a result tells its seconds, too, so an equal one can only come from the file
    expect(
        begun[0] in resumed,
        "the second run did not go on from the first: write to `checkpoint`, load it where it exists.",
    )
    expect(
        len(resumed) == 2,
        f"with 1 epoch of 2 done, it trained on to {len(resumed)}: train for those that are missing.",
    )
    expect(
        isclose(unbroken[0].loss, begun[0].loss, rel_tol=1e-6),
        "two runs from the start differ: seed before the model is made, give `fit` a seed, and plan a schedule for"
        " `self.epochs`.",
    )
    expect(
        isclose(unbroken[1].loss, resumed[1].loss, rel_tol=1e-6),
        "the second epoch is not that of an unbroken run: load model and optimizer; give `fit` a seed.",
    )
    seen = f"{unbroken[0].samples:,} samples were seen of {FEW[0]:,}"
    expect(unbroken[0].samples <= FEW[0], f"{seen}: train on those in the folder `data`.")
    return "equal losses, to 1e-6"


def _stated(tried: Attempt, *names: str) -> list[int]:
    """These numbers of a project, which have to be whole; NotWritten where none of them is stated."""
    project = tried.project()
    values = [getattr(project, name, ...) for name in names]
    if all(value is ... for value in values):
        raise NotWritten
    for name, value in zip(names, values, strict=True):
        expect(value is not ..., f"{name} is not stated yet.")
        whole = isinstance(value, Integral) and value >= 1
        expect(whole, f"{name} is {value!r}: a whole number is expected, at least 1.")
    return values


def _finished(run: LimitedRun) -> list[EpochResult]:
    """The finished passes of training of a run that came to its end with a history of them."""
    if run.outcome == "out of memory":
        raise Unmet(
            f"out of memory under a cap of {human_bytes(CAP)}: {run.error[:200]}\n"
            "What is too large: all images, a batch with what layers keep, or weights?"
        )
    # the error of a run that did not fail begins with "killed by"
    how = "failed: " if run.outcome == "failed" else "was "
    bytes_given = "unsigned char" in run.error
    hint = "The file holds bytes: a transform makes floats. " if bytes_given else ""
    where = "Called by hand, `train` shows where."
    expect(run.outcome == "returned", f"the run {how}{run.error}\n{hint}{where}")
    given = f"`train` gave back {type(run.value).__name__}"
    expect(isinstance(run.value, History), f"{given}: return the history that `fit` gives.")
    results = [r for r in run.value if r.phase == "train" and r.complete]
    expect(results, "the history has no finished epoch of training.")
    return results


# ---- the report ----


@dataclass(frozen=True)
class Requirement:
    """One row of the report, and the judge of its exercise; `needs` names the run that must have been made."""

    name: str
    asked: str
    yours: Callable[[Attempt], str]
    needs: str = ""

    def __call__(self, answer: type) -> str | None:
        """Return None where a project meets this, else a sentence on what is missing."""
        if not isinstance(answer, type):
            return f"a class is expected, and {answer!r} is none: pass its name without brackets."
        try:
            self.yours(attempt(answer))
        except Unmet as missing:
            return str(missing)
        return None

    def row(self, tried: Attempt) -> list[str]:
        """Return name, what is asked, what the project has, and "met", "not yet" or "open"."""
        yours, state = "", "open"
        if not self.needs or self.needs in vars(tried):
            try:
                yours, state = self.yours(tried), "met"
            except NotWritten:
                pass
            except Exception:  # a learner's code may fail in any way; the exercise says how
                state = "not yet"
        return [self.name, self.asked, yours, state]


BEFORE, WITHIN = "stated before the run", f"at most {BUDGET:,} samples"
judge_price = Requirement("price", BEFORE, _price)
judge_counts = Requirement("counts", BEFORE, _counts)
judge_memory = Requirement("memory", f"at most {human_bytes(CAP)}", _memory, "run")
judge_as_stated = Requirement(
    "budget", f"batches, samples and steps as stated, {WITHIN}", _budget, "run"
)
judge_learned = Requirement(
    "accuracy", f"at least {ENOUGH:.0%} of {HELD_OUT:,} images", _accuracy, "run"
)
judge_resumes = Requirement("resuming", "as an unbroken run", _resumes, "resuming")
REQUIREMENTS = [
    judge_price,
    judge_counts,
    judge_memory,
    judge_as_stated,
    judge_learned,
    judge_resumes,
]


def judge_under_cap(answer: type) -> str | None:
    """Judge the memory of a run that is made anew at each call."""
    attempt.cache_clear()
    return judge_memory(answer)


def report(answer: type) -> Table:
    """Return one row per requirement: what is asked, what the project has, and "met", "not yet" or "open".

    Nothing is trained for it: a requirement whose run has not been made with this very class is open.
    """
    tried = attempt(answer)
    rows = [[number, *wanted.row(tried)] for number, wanted in enumerate(REQUIREMENTS, 1)]
    met = sum(row[-1] == "met" for row in rows)
    headers = ["", "requirement", "asked", "yours", "state"]
    return Table(headers, rows, notes=[f"{met} of {len(rows)} met."])
