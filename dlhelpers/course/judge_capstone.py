"""Judge a learner's project by the six requirements of lesson 11, one function each.

A judge returns None where its requirement is met, else what is missing, and raises NotWritten for what is still open.
"""

from collections.abc import Callable
from functools import wraps
from math import ceil, isclose, prod
from numbers import Integral

from dlhelpers.base.sizes import human_bytes
from dlhelpers.course.capstone import (
    BUDGET,
    CAP,
    ENOUGH,
    FEW,
    HELD_OUT,
    SAMPLES,
    SHAPE,
    Attempt,
    Project,
    attempt,
    finished,
)
from dlhelpers.course.judges import NotWritten, is_blank
from dlhelpers.machine.capped import LimitedRun
from dlhelpers.train.history import History

BYTES = SAMPLES * prod(SHAPE)
COUNTS = ("batch_size", "epochs", "batches", "last_batch", "optimizer_steps")
Judge = Callable[[type[Project]], str | None]


class _Missing(Exception):
    """Says what a requirement lacks."""


def _judge(require: Callable[[type[Project]], None]) -> Judge:
    """Make a judge of a function that raises _Missing."""

    @wraps(require)
    def judge(answer: type[Project]) -> str | None:
        try:
            return require(answer)
        except _Missing as missing:
            return str(missing)

    return judge


@_judge
def judge_price(answer: type[Project]) -> None:
    """Are the bytes of the dataset stated, and right?"""
    stated = _stated(_made(answer), "dataset_bytes").dataset_bytes
    known = {
        4 * BYTES: "that is the price as float32. In the shards a number takes one byte.",
        BYTES // 3: "an image has three channels.",
        BYTES + 8 * SAMPLES: "leave the labels out.",
        BYTES + HELD_OUT * prod(SHAPE): "leave the held-out images out.",
    }
    if stated != BYTES:
        raise _Missing(
            f"dataset_bytes is {stated:,}: {known.get(stated, 'that is not images x numbers in an image.')}"
        )


@_judge
def judge_counts(answer: type[Project]) -> None:
    """Do the stated counts follow from batch size and epochs? With `drop_last` another pair of numbers is right."""
    project = _stated(_made(answer), *COUNTS)
    size, batches, last = project.batch_size, project.batches, project.last_batch
    if size > SAMPLES:
        raise _Missing(f"batch_size is {size:,}, and there are {SAMPLES:,} samples.")
    whole, rest = divmod(SAMPLES, size)
    division = f"{SAMPLES:,} samples are {whole:,} batches of {size:,}, and a rest of {rest:,}"
    right = {(ceil(SAMPLES / size), rest or size), (whole, size)}
    if batches not in {number for number, _ in right}:
        raise _Missing(f"batches is {batches:,}: {division}.")
    if (batches, last) not in right:
        said = f"{batches:,} batches are stated, the last of {last:,}: {division}"
        raise _Missing(
            f"{said}. The rest is a batch too, or drop_last=True leaves it out: which of them is yours?"
        )
    if project.optimizer_steps != batches * project.epochs:
        said = f"optimizer_steps is {project.optimizer_steps:,}"
        raise _Missing(
            f"{said}: one for each of {batches:,} batches, in each of {project.epochs:,} epochs."
        )
    if (seen := ((batches - 1) * size + last) * project.epochs) > BUDGET:
        raise _Missing(
            f"{seen:,} samples would be seen, and the budget is {BUDGET:,}: plan fewer epochs."
        )


@_judge
def judge_under_cap(answer: type[Project]) -> None:
    """Train in a child under the cap, anew at each call: does it come to its end?"""
    _under_cap(_tried(answer, afresh=True).run)


@_judge
def judge_last_run(answer: type[Project]) -> None:
    """Ask the same of the run that was made already."""
    _under_cap(_tried(answer).run)


@_judge
def judge_as_stated(answer: type[Project]) -> None:
    """Did the run keep to the counts that were stated, and to the budget?"""
    tried = _tried(answer)
    if problem := judge_counts(answer):
        raise _Missing(problem)
    _ended(tried.run)
    if tried.stated_afresh:
        raise _Missing("the numbers are stated afresh, after the run: run requirement 3 again.")
    project, results = tried.project(), finished(tried.run, "train")
    if len(results) != project.epochs:
        raise _Missing(f"{project.epochs} epochs are stated, and the history has {len(results)}.")
    samples = (project.batches - 1) * project.batch_size + project.last_batch
    for r in results:
        if (r.batches, r.samples) != (project.batches, samples):
            said = f"{project.batches:,} batches with {samples:,} samples are stated for an epoch"
            raise _Missing(f"{said}, and epoch {r.epoch} had {r.batches:,} with {r.samples:,}.")
    if (taken := sum(r.optimizer_steps for r in results)) != project.optimizer_steps:
        raise _Missing(
            f"{project.optimizer_steps:,} optimizer steps are stated, and {taken:,} were taken."
        )


@_judge
def judge_learned(answer: type[Project]) -> None:
    """Is the last accuracy on the held-out images high enough, with each of them counted once?"""
    tried = _tried(answer)
    _ended(tried.run)
    last = next(iter(finished(tried.run, "valid")[::-1]), None)
    if last is None or "accuracy" not in last.metrics:
        raise _Missing(
            'no accuracy on held-out images: give `fit` a valid_loader and metrics={"accuracy": accuracy}.'
        )
    if (end := [r for r in tried.run.value if r.complete][-1]).phase != "valid":
        raise _Missing(
            f"the history ends with {end.phase} of epoch {end.epoch}: validate after the last epoch, too."
        )
    if last.samples != HELD_OUT:
        raise _Missing(
            f"the accuracy is one of {last.samples:,} images: {HELD_OUT:,} are held out, and each counts."
        )
    right = last.metrics["accuracy"] * HELD_OUT
    if abs(right - round(right)) > 1e-3:
        said = f"an accuracy of {last.metrics['accuracy']:.4f} would be {right:.2f} right answers of {HELD_OUT:,}"
        raise _Missing(f"{said}: weigh with samples, as in lesson 03.")
    if right < ENOUGH * HELD_OUT:
        raise _Missing(
            f"{right:.0f} of the {HELD_OUT:,} held-out images are right, and {ENOUGH:.0%} are needed."
        )


@_judge
def judge_resumes(answer: type[Project]) -> None:
    """On a small copy of the data: does a run that was stopped after its first epoch go on as one that was not?"""
    runs = _tried(answer).unbroken_and_resumed
    unbroken, begun, resumed = (finished(run, "train") for run in runs)
    for run in runs[:2]:
        _ended(run)
    if (counts := (len(unbroken), len(begun))) != (2, 1):
        raise _Missing(
            f"asked for 2 epochs and for 1, it trained for {counts[0]} and {counts[1]}: obey `epochs`."
        )
    _ended(runs[2])
    if (
        begun[0] not in resumed
    ):  # a result tells its seconds, too, so an equal one can only come from the file
        raise _Missing(
            "the second run did not go on from the first: write to `checkpoint`, load it where it exists."
        )
    if len(resumed) != 2:
        raise _Missing(
            f"with 1 epoch of 2 done, it trained on to {len(resumed)}: train for those that are missing."
        )
    if not isclose(unbroken[0].loss, begun[0].loss, rel_tol=1e-6):
        raise _Missing(
            "two runs from the start differ: seed before the model is made, and give `fit` a seed."
        )
    if not isclose(unbroken[1].loss, resumed[1].loss, rel_tol=1e-6):
        raise _Missing(
            "the second epoch is not that of an unbroken run: load model and optimizer; give `fit` a seed."
        )
    if unbroken[0].samples > FEW[0]:
        raise _Missing(
            f"{unbroken[0].samples:,} samples were seen of {FEW[0]:,}: train on those in the folder `data`."
        )


def _made(answer: type[Project]) -> Project:
    if not isinstance(answer, type):
        raise _Missing(
            f"a class is expected, and {answer!r} is none: pass its name without brackets."
        )
    return answer()


def _stated(project: Project, *names: str) -> Project:
    """The project, if it states whole numbers under all these names; NotWritten where it states none."""
    values = {name: getattr(project, name, ...) for name in names}
    if all(value is ... for value in values.values()):
        raise NotWritten
    for name, value in values.items():
        if value is ...:
            raise _Missing(f"{name} is not stated yet.")
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise _Missing(f"{name} is {value!r}: a whole number is expected, at least 1.")
    return project


def _tried(answer: type[Project], *, afresh: bool = False) -> Attempt:
    """The attempt with a project whose `train` is written and whose `epochs` are stated."""
    project = _made(answer)
    if is_blank(getattr(answer, "train", None)):
        raise NotWritten
    if getattr(project, "epochs", ...) is ...:
        raise _Missing("epochs is not stated yet, and the run needs to know.")
    _stated(project, "epochs")
    return attempt(answer, afresh=afresh)


def _ended(run: LimitedRun) -> None:
    """_Missing unless the run came to its end with a history of training."""
    if run.outcome == "out of memory":
        said = f"out of memory under a cap of {human_bytes(CAP)}: {run.error[:200]}"
        raise _Missing(
            f"{said}\nWhat is too large: all images, a batch with what layers keep, or weights?"
        )
    if run.outcome != "returned":
        how = (
            "failed: " if run.outcome == "failed" else "was "
        )  # an error of the latter begins with "killed by"
        hint = (
            "The shards hold bytes: a transform makes floats. "
            if "unsigned char" in run.error
            else ""
        )
        raise _Missing(f"the run {how}{run.error}\n{hint}Called by hand, `train` shows where.")
    if not isinstance(run.value, History):
        raise _Missing(
            f"`train` gave back {type(run.value).__name__}: return the history that `fit` gives."
        )
    if not finished(run, "train"):
        raise _Missing("the history has no finished epoch of training.")


def _under_cap(run: LimitedRun) -> None:
    _ended(run)
    if not run.capped and run.peak_private > CAP:  # a cap has decided itself
        raise _Missing(
            f"{human_bytes(run.peak_private)} of private memory at the peak: {human_bytes(CAP)} are allowed."
        )
