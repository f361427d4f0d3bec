"""The project of lesson 11: its data, the runs of a learner's project under its conditions, and six requirements.

A project is a class with the numbers in NUMBERS and a method `train(data, checkpoint, epochs)`, which trains until
`epochs` epochs are done, those in the file `checkpoint` included, and returns the History. A judge returns None where
its requirement is met, else a sentence on what is missing; it raises NotWritten for what is still open. The data lie in
one temporary folder for the whole process, so that the lesson and the checks look at the same files.
"""

from collections.abc import Callable
from functools import cached_property, lru_cache
from math import isclose, prod
from numbers import Integral
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch

from dlhelpers.base.sizes import human_bytes
from dlhelpers.base.tables import Table
from dlhelpers.course.capped_examples import write_shards
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
NUMBERS = (*COUNTS, "dataset_bytes")


# ---- the data ----

_places: list[TemporaryDirectory] = []


def data() -> Path:
    """Return the folder of the shards `train` and `held-out`, and of both again in `small`, written at the first call.

    It is removed by `clean_up`, or when the process ends.
    """
    if not _places:
        # Windows keeps what is mapped
        place = TemporaryDirectory(prefix="capstone-", ignore_cleanup_errors=True)
        for folder, counts in (("", (SAMPLES, HELD_OUT)), ("small", FEW)):
            Path(place.name, folder).mkdir(exist_ok=True)
            for seed, name in enumerate(("train", "held-out")):
                write_shards(Path(place.name, folder, name), counts[seed], rows=1_000, seed=seed)
        _places.append(place)
    return Path(_places[0].name)


def clean_up() -> None:
    """Remove the folder of the shards; `data` writes it again."""
    while _places:
        _places.pop().cleanup()


# ---- the runs ----


class Attempt:
    """The runs of one project, each made when it is first asked for, in a child process under the cap."""

    def __init__(self, project: type):
        self.project = project

    @cached_property
    def run(self) -> LimitedRun:
        """The whole training, with an empty place for its checkpoint."""
        self.stated = numbers(self.project)
        [run] = self._train(data(), self.stated["epochs"])
        return run

    @cached_property
    def resuming(self) -> list[LimitedRun]:
        """On the small copy: two epochs at once; one epoch; and from the checkpoint of that one, on to two."""
        small = data() / "small"
        return [*self._train(small, 2), *self._train(small, 1, 2)]

    @property
    def restated(self) -> bool:
        """Whether the project now states other numbers than before its run."""
        return "run" in vars(self) and self.stated != numbers(self.project)

    def _train(self, folder: Path, *epochs: int) -> list[LimitedRun]:
        """Train to each of these epochs, in one place: a second run finds the checkpoint of the first."""
        _meet_optimizer()
        with TemporaryDirectory(prefix="capstone-run-") as place:
            where = self.project, folder, Path(place, "run.pt")
            limits = {"limit": CAP, "timeout": SECONDS}
            return [run_limited(_train, *where, number, **limits) for number in epochs]


@lru_cache(maxsize=1)
def attempt(project: type) -> Attempt:
    """Return the attempt with this very class, the same one at each call; another class starts anew."""
    return Attempt(project)


def numbers(project: type) -> dict[str, object]:
    """Return what a project states now, by name; dots for what it does not."""
    made = project()
    return {name: getattr(made, name, ...) for name in NUMBERS}


def finished(run: LimitedRun, phase: str) -> list[EpochResult]:
    """Return the finished passes of a phase, "train" or "valid", that a run's history holds."""
    results = run.value if isinstance(run.value, History) else []
    return [r for r in results if r.phase == phase and r.complete]


def _train(project: type, folder: Path, checkpoint: Path, epochs: int) -> History:
    torch.seed()  # a process begins with the same random numbers, and a missing seed would go unnoticed
    return project().train(folder, checkpoint, epochs)


def _meet_optimizer() -> None:
    """Take one step here: the first optimizer of a process imports a good part of PyTorch, not to be priced."""
    weight = torch.zeros(1, requires_grad=True)
    weight.sum().backward()
    torch.optim.Adam([weight]).step()


# ---- the judges ----


def judge_price(answer: type) -> str | None:
    """Are the bytes of the dataset stated, and right?"""
    if problem := _unstated(answer, "dataset_bytes"):
        return problem
    stated = answer().dataset_bytes
    known = {
        4 * BYTES: "that is the price as float32. In the shards a number takes one byte.",
        BYTES // 3: "an image has three channels.",
        BYTES + 8 * SAMPLES: "leave the labels out.",
        BYTES + HELD_OUT * prod(SHAPE): "leave the held-out images out.",
    }
    reason = known.get(stated, "that is not images x numbers in an image.")
    return None if stated == BYTES else f"dataset_bytes is {stated:,}: {reason}"


def judge_counts(answer: type) -> str | None:
    """Do the stated counts follow from batch size and epochs? With `drop_last` another pair of numbers is right."""
    if problem := _unstated(answer, *COUNTS):
        return problem
    size, epochs, batches, last, steps = (getattr(answer(), name) for name in COUNTS)
    if size > SAMPLES:
        return f"batch_size is {size:,}, and there are {SAMPLES:,} samples."
    whole, rest = divmod(SAMPLES, size)
    division = f"{SAMPLES:,} samples are {whole:,} batches of {size:,}, and a rest of {rest:,}"
    right = {whole: size}  # the last batch, by the number of batches
    if rest:
        right[whole + 1] = rest
    if batches not in right:
        return f"batches is {batches:,}: {division}."
    if last != right[batches]:
        return (
            f"{batches:,} batches are stated, the last of {last:,}: {division}."
            " The rest is a batch too, or drop_last=True leaves it out: which of them is yours?"
        )
    if steps != batches * epochs:
        return f"optimizer_steps is {steps:,}: one for each of {batches:,} batches, in each of {epochs:,} epochs."
    if (seen := ((batches - 1) * size + last) * epochs) > BUDGET:
        return f"{seen:,} samples would be seen, and the budget is {BUDGET:,}: plan fewer epochs."
    return None


def judge_under_cap(answer: type) -> str | None:
    """Train in a child under the cap, anew at each call: does it come to its end?"""
    attempt.cache_clear()
    return judge_memory(answer)


def judge_memory(answer: type) -> str | None:
    """Did the run that was made come to its end under the cap?"""
    if problem := _unready(answer) or _unended(attempt(answer).run):
        return problem
    run = attempt(answer).run
    if not run.capped and run.peak_private > CAP:  # a cap has decided itself
        return f"{human_bytes(run.peak_private)} of private memory at the peak: {human_bytes(CAP)} are allowed."
    return None


def judge_as_stated(answer: type) -> str | None:
    """Did the run keep to the counts that were stated, and to the budget?"""
    if problem := _unready(answer) or judge_counts(answer) or _unended(attempt(answer).run):
        return problem
    if attempt(answer).restated:
        return "the numbers are stated afresh, after the run: run requirement 3 again."
    project, results = answer(), finished(attempt(answer).run, "train")
    if len(results) != project.epochs:
        return f"{project.epochs} epochs are stated, and the history has {len(results)}."
    samples = (project.batches - 1) * project.batch_size + project.last_batch
    for r in results:
        if (r.batches, r.samples) != (project.batches, samples):
            said = f"{project.batches:,} batches with {samples:,} samples are stated for an epoch"
            return f"{said}, and epoch {r.epoch} had {r.batches:,} with {r.samples:,}."
    if (taken := sum(r.optimizer_steps for r in results)) != project.optimizer_steps:
        return f"{project.optimizer_steps:,} optimizer steps are stated, and {taken:,} were taken."
    return None


def judge_learned(answer: type) -> str | None:
    """Is the last accuracy on the held-out images high enough, with each of them counted once?"""
    if problem := _unready(answer) or _unended(attempt(answer).run):
        return problem
    run = attempt(answer).run
    end, measured = [r for r in run.value if r.complete][-1], finished(run, "valid")
    if not measured or "accuracy" not in measured[-1].metrics:
        return 'no accuracy on held-out images: give `fit` a valid_loader and metrics={"accuracy": accuracy}.'
    if end.phase != "valid":
        return f"the history ends with {end.phase} of epoch {end.epoch}: validate after the last epoch, too."
    if end.samples != HELD_OUT:
        return f"the accuracy is one of {end.samples:,} images: {HELD_OUT:,} are held out, and each counts."
    right = end.metrics["accuracy"] * HELD_OUT
    if abs(right - round(right)) > 1e-3:
        said = f"an accuracy of {end.metrics['accuracy']:.4f} would be {right:.2f} right answers of {HELD_OUT:,}"
        return f"{said}: weigh with samples, as in lesson 03."
    if right < ENOUGH * HELD_OUT:
        return f"{right:.0f} of the {HELD_OUT:,} held-out images are right, and {ENOUGH:.0%} are needed."
    return None


def judge_resumes(answer: type) -> str | None:
    """On a small copy of the data: does a run of one epoch, asked for two, go on as an unbroken run of two?"""
    if problem := _unready(answer):
        return problem
    runs = attempt(answer).resuming
    unbroken, begun, resumed = (finished(run, "train") for run in runs)
    if problem := _unended(runs[0]) or _unended(runs[1]):
        return problem
    if (len(unbroken), len(begun)) != (2, 1):
        return f"asked for 2 epochs and for 1, it trained for {len(unbroken)} and {len(begun)}: obey `epochs`."
    if problem := _unended(runs[2]):
        return problem
    # a result tells its seconds, too, so an equal one can only come from the file
    if begun[0] not in resumed:
        return "the second run did not go on from the first: write to `checkpoint`, load it where it exists."
    if len(resumed) != 2:
        return f"with 1 epoch of 2 done, it trained on to {len(resumed)}: train for those that are missing."
    if not isclose(unbroken[0].loss, begun[0].loss, rel_tol=1e-6):
        return (
            "two runs from the start differ: seed before the model is made, give `fit` a seed, and plan a schedule for"
            " `self.epochs`."
        )
    if not isclose(unbroken[1].loss, resumed[1].loss, rel_tol=1e-6):
        return "the second epoch is not that of an unbroken run: load model and optimizer; give `fit` a seed."
    if unbroken[0].samples > FEW[0]:
        return f"{unbroken[0].samples:,} samples were seen of {FEW[0]:,}: train on those in the folder `data`."
    return None


def _unstated(answer: type, *names: str) -> str | None:
    """What keeps these names from being whole numbers; NotWritten where none of them is stated."""
    if not isinstance(answer, type):
        return f"a class is expected, and {answer!r} is none: pass its name without brackets."
    project = answer()
    values = {name: getattr(project, name, ...) for name in names}
    if all(value is ... for value in values.values()):
        raise NotWritten
    for name, value in values.items():
        if value is ...:
            return f"{name} is not stated yet."
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            return f"{name} is {value!r}: a whole number is expected, at least 1."
    return None


def _unready(answer: type) -> str | None:
    """What keeps a project from being run; NotWritten where its `train` is not written."""
    if isinstance(answer, type) and is_blank(getattr(answer(), "train", None)):
        raise NotWritten
    try:
        return _unstated(answer, "epochs")
    except NotWritten:
        return "epochs is not stated yet, and the run needs to know."


def _unended(run: LimitedRun) -> str | None:
    """What kept a run from its end, with a history of training."""
    if run.outcome == "out of memory":
        return (
            f"out of memory under a cap of {human_bytes(CAP)}: {run.error[:200]}\n"
            "What is too large: all images, a batch with what layers keep, or weights?"
        )
    if run.outcome != "returned":
        # the error of a run that did not fail begins with "killed by"
        how = "failed: " if run.outcome == "failed" else "was "
        bytes_given = "unsigned char" in run.error
        hint = "The shards hold bytes: a transform makes floats. " if bytes_given else ""
        return f"the run {how}{run.error}\n{hint}Called by hand, `train` shows where."
    if not isinstance(run.value, History):
        return f"`train` gave back {type(run.value).__name__}: return the history that `fit` gives."
    if not finished(run, "train"):
        return "the history has no finished epoch of training."
    return None


# ---- the report ----


class Requirement(NamedTuple):
    """One row of the report: `needs` names the run of an Attempt that must have been made, `yours` what it shows."""

    name: str
    asked: str
    judge: Callable[[type], str | None]
    needs: str
    yours: Callable[[Attempt], str]


def _counts(tried: Attempt) -> str:
    made = tried.project()
    return (
        f"{made.batches:,} batches, the last of {made.last_batch:,}; {made.optimizer_steps:,} steps"
    )


def _seen(tried: Attempt) -> str:
    samples = sum(r.samples for r in finished(tried.run, "train"))
    return f"{samples:,} samples in {tried.run.seconds:.1f} s"


def _memory(tried: Attempt) -> str:
    private, file_backed = tried.run.peak_private, tried.run.peak_file_backed
    told = "unknown" if file_backed is None else human_bytes(file_backed)
    return f"{human_bytes(private)} private; file-backed: {told}"


def _accuracy(tried: Attempt) -> str:
    last = finished(tried.run, "valid")[-1]
    return f"{last.metrics['accuracy']:.1%} of {last.samples:,} images"


BEFORE, KEPT = "stated before the run", f"at most {BUDGET:,} samples"
REQUIREMENTS = [
    Requirement("price", BEFORE, judge_price, "", lambda t: f"{t.project().dataset_bytes:,} bytes"),
    Requirement("counts", BEFORE, judge_counts, "", _counts),
    Requirement("memory", f"at most {human_bytes(CAP)}", judge_memory, "run", _memory),
    Requirement(
        "budget", f"batches, samples and steps as stated, {KEPT}", judge_as_stated, "run", _seen
    ),
    Requirement(
        "accuracy", f"at least {ENOUGH:.0%} of {HELD_OUT:,} images", judge_learned, "run", _accuracy
    ),
    Requirement(
        "resuming",
        "as an unbroken run",
        judge_resumes,
        "resuming",
        lambda t: "equal losses, to 1e-6",
    ),
]


def report(answer: type) -> Table:
    """Return one row per requirement: what is asked, what the project has, and "met", "not yet" or "open".

    Nothing is trained for it: a requirement whose run has not been made with this very class is open.
    """
    tried, rows = attempt(answer), []
    for number, wanted in enumerate(REQUIREMENTS, 1):
        state = _state(wanted, tried)
        yours = wanted.yours(tried) if state == "met" else ""
        rows.append([number, wanted.name, wanted.asked, yours, state])
    met = sum(row[-1] == "met" for row in rows)
    headers = ["", "requirement", "asked", "yours", "state"]
    return Table(headers, rows, notes=[f"{met} of {len(rows)} met."])


def _state(wanted: Requirement, tried: Attempt) -> str:
    if wanted.needs and wanted.needs not in vars(tried):
        return "open"
    try:
        stale = not wanted.needs and tried.restated  # stated afresh, after the run
        return "not yet" if stale or wanted.judge(tried.project) else "met"
    except NotWritten:
        return "open"
    except Exception:  # a learner's code may fail in any way; the requirement's own check says how
        return "not yet"
