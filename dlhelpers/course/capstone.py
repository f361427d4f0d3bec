"""The project of lesson 15: its data, the run of a learner's project under its conditions, and two reports.

A project is a class with a `plan` (of `dlhelpers.measure.plan`) and a method `train(data, checkpoint, epochs)`, which
trains until `epochs` epochs are done, those in the file `checkpoint` included, and returns the model and its History.
What is still open raises NotWritten. What is required stands in the lesson: functions that take the project, and return
what it has or raise Unmet with what is missing.

The data lie in one temporary folder for the whole process: JPEG files in `train` and `held-out`, a folder for each
class, and less of both in `small`. The exam is drawn when a run is over, from a seed that nobody knew before.
"""

import os
import re
import secrets
import sys
from collections.abc import Callable
from functools import lru_cache
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

from dlhelpers.base.tables import Table
from dlhelpers.base.whole_files import write_whole
from dlhelpers.course.judges import NotWritten, is_blank
from dlhelpers.course.records import progress, progress_file
from dlhelpers.data.drawn_images import SHAPES, draw_shapes
from dlhelpers.data.folders import ImageFiles
from dlhelpers.machine.capped import LimitedRun, run_limited
from dlhelpers.measure.plans import Plan
from dlhelpers.train.history import History

FILES, HELD_OUT = 2_405, 603  # to learn from, one of them damaged, and to validate on
FEW = (301, 60)  # of both, in the small copy
DAMAGED = (0, 207)  # the file that is cut short: its seed and its number
EXAM, CHUNK = 600, 25  # images that no project sees before its exam, and as many at a time
BATCH = 256  # samples that each optimizer step has to learn from
CAP = 88_000_000  # bytes of private memory
BUDGET = 10_000  # samples seen in training: seconds would depend on the machine, and on what else it does
SECONDS = 600  # until a run is stopped: it needs some 20, and ten times that on a busy machine
ENOUGH = 0.95  # accuracy in the exam
CHANGES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate")
STARTS = ("os.fork", "os.posix_spawn", "os.system", "subprocess.Popen")


# ---- the data ----


def draw(start: int, stop: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return drawn images `start` to `stop` - 1 and their labels; every other one, on average, is a negative.

    So no pixel is brighter for one shape than for another: a weighted sum of pixels cannot tell them apart.
    """
    images, labels = draw_shapes(start, stop, size=64, seed=seed)
    negative = images[:, 0, 0, 0] % 2 == 1  # the corner is noise
    images[negative] = 255 - images[negative]
    return images, labels


@lru_cache
def _place() -> TemporaryDirectory:
    # Windows keeps what is open
    place = TemporaryDirectory(prefix="capstone-", ignore_cleanup_errors=True)
    for folder, counts in (("", (FILES, HELD_OUT)), ("small", FEW)):
        for seed, name in enumerate(("train", "held-out")):
            for k, (image, label) in enumerate(zip(*draw(0, counts[seed], seed), strict=True)):
                file = Path(place.name, folder, name, SHAPES[label], f"{k:04}.jpg")
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image.transpose(1, 2, 0)).save(file, quality=90)
                if (seed, k) == DAMAGED:
                    os.truncate(file, 900)
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
    return runs(project, data(), stated(project).epochs)[0]


def runs(project: type, folder: Path, *epochs: int) -> list[LimitedRun]:
    """Train to each of these epochs, in one place: a second run finds the checkpoint of the first."""
    if is_blank(getattr(project(), "train", None)):
        raise NotWritten
    with TemporaryDirectory(prefix="capstone-run-") as place:
        where = project, folder, Path(place, "run.pt")
        return [run_limited(_train, *where, n, limit=CAP, timeout=SECONDS) for n in epochs]


class _Watch:
    """Counts a project's looks at the held-out files, and lets it write beside its checkpoint and nowhere else."""

    def __init__(self, data: Path, place: Path):
        self.held_out, self.place, self.looks, self.on = data / "held-out", place, 0, True

    def __call__(self, event: str, args: tuple) -> None:
        if not self.on:
            return
        if event in STARTS:
            _no_process()
        named = args[: 1 + (event == "os.rename")]  # what follows isn't a path, but can be text
        paths = [Path(p).absolute() for p in named if isinstance(p, (str, Path))]
        if event == "open" and not args[2] & (os.O_WRONLY | os.O_RDWR):
            self.looks += self.held_out in paths[0].parents if paths else 0
        elif event == "open" or event in CHANGES:
            for path in paths:
                if self.place not in path.parents and str(path) != os.devnull:
                    raise PermissionError(f"it writes {path.name} outside the checkpoint's folder")


def _no_process(*_: object) -> None:
    """Refuse to start a process."""
    raise PermissionError("it starts a process: keep to one, with num_workers=0")


def _train(project: type, folder: Path, checkpoint: Path, epochs: int) -> dict[str, object]:
    """What a project's run gave: its plan afterwards, its history, and what the judge measured of its model."""
    torch.seed()  # a process begins with the same random numbers, and a missing seed would go unnoticed
    one, watch = project(), _Watch(folder, checkpoint.parent)
    sys.addaudithook(watch)
    BaseProcess.start = _no_process  # multiprocessing spawns without an event
    try:
        gave = one.train(folder, checkpoint, epochs)
    finally:
        watch.on = False
    match gave:
        case nn.Module() as model, History() as history:
            model.eval()
        case _:
            came = type(gave).__name__
            raise TypeError(f"`train` returned {came}: return the model and its history")
    with torch.inference_mode():
        files = DataLoader(ImageFiles(folder / "held-out"), CHUNK)
        right = sum((model(images).argmax(1) == labels).sum().item() for images, labels in files)
        seed = 2 + secrets.randbelow(2**32)  # 0 and 1 are the data's
        drawn = (draw(k, k + CHUNK, seed)[0] for k in range(0, EXAM, CHUNK))
        exam = [model(torch.from_numpy(images).float() / 255).argmax(1) for images in drawn]
    return {
        "plan": one.plan,
        "history": history,
        "looks": watch.looks,
        "right": right / len(files.dataset),
        "exam": (seed, torch.cat(exam)),
    }


# ---- the requirements ----

Rule = Callable[[type], str]  # from a project to what it has
REQUIREMENTS: dict[str, tuple[str, Rule]] = {}  # what is asked, and its rule; lesson 15 has them
# of the last check of a requirement with a class: "met" or "not yet", and what the class has
found: dict = {}


class Unmet(Exception):
    """Raised with a sentence on what keeps a requirement from being met."""


def expect(holds: object, otherwise: str) -> None:
    """Raise Unmet with the sentence `otherwise`, unless the first holds."""
    if not holds:
        raise Unmet(otherwise)


def requirement(name: str, asked: str) -> Callable[[Rule], Rule]:
    """Enter the function below it as the rule of a requirement, after those that were entered before."""

    def enter(rule: Rule) -> Rule:
        REQUIREMENTS[name] = asked, rule
        return rule

    return enter


def judge(*names: str) -> Callable[[type], str | None]:
    """Return a judge of projects: it gives None where they meet these requirements, else the first that binds."""

    def judged(answer: type) -> str | None:
        for name in names:
            try:
                found[name, answer] = "met", REQUIREMENTS[name][1](answer)
            except Unmet as missing:
                found[name, answer] = "not yet", re.split(r", |: \D|\n", str(missing))[0]
                return f"requirement `{name}`: {missing}"
        return None

    return judged


def stated(project: type) -> Plan:
    """Return the plan of a project; NotWritten where none is stated."""
    plan = getattr(project(), "plan", ...)
    if plan is ...:
        raise NotWritten
    expect(isinstance(plan, Plan), f"plan is {type(plan).__name__}: `measure.plan(...)` makes one.")
    return plan


# ---- the reports ----


def report(answer: type) -> Table:
    """Return one row per requirement: what is asked, what the project has, and "met", "not yet" or "open".

    Nothing is checked for it: a requirement whose check has not been made with this very class is open.
    """
    rows = []
    for name, (asked, _) in REQUIREMENTS.items():
        state, yours = found.get((name, answer), ("open", ""))
        rows.append([name, asked, yours, state])
    met = sum(row[-1] == "met" for row in rows)
    headers = ["requirement", "asked", "yours", "state"]
    return Table(headers, rows, notes=[f"{met} of {len(rows)} met."])


def save_report(answer: type) -> str:
    """Write the project's report and the progress of the course to report.html, beside the file of progress."""
    path = progress_file()
    if path is None:
        return "no progress is being kept, so there's nowhere to save it"
    with write_whole(path.with_name("report.html")) as file:
        parts = ("My project", report(answer)), ("My course", progress())
        body = "".join(f"<h2>{title}</h2>{part._repr_html_()}" for title, part in parts)
        file.write(f"<!doctype html><meta charset=utf-8>{LOOK}{body}".encode())
    return "report.html is saved, next to your progress"


LOOK = (
    "<title>Batches, Epochs, Memory</title><style>body {font: 16px sans-serif; margin: 5vw}</style>"
)
