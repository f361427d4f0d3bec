"""Pool the progress files of a class into one table and one picture, on the teacher's machine, with no server.

    python -m dlhelpers classroom FOLDER [--picture class.png]

Each learner hands in one JSON file, written by `progress.export("name.json")`. What is counted is how many learners
did a task, tried it, or did not reach it; which file is whose is not shown.
"""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes

from dlhelpers.base.tables import Table
from dlhelpers.course.records import lesson_names, parse, tasks_of
from dlhelpers.show.plots import PALETTE, new_axes

LARGEST = 1_000_000  # bytes: a file of progress has a few thousand
COPY = re.compile(r" ?\(\d+\)$| - Copy.*$| copy( \d+)?$")  # what browsers and systems add to a name


@dataclass(frozen=True)
class Classroom:
    """What a class has done: `learners` files were read, `counts` has (task, state) -> learners; `ignored` says why.

    `tasks` are those of each lesson in which somebody tried one, in the order of the lessons.
    """

    learners: int
    tasks: tuple[str, ...]
    counts: Counter
    tries: Counter
    ignored: tuple[str, ...] = ()

    def table(self) -> Table:
        """Return one row per task: learners who did it, only tried, or did not reach it, and tries per learner."""
        rows = []
        for task in self.tasks:
            done, tried = self.counts[task, "done"], self.counts[task, "tried"]
            mean = f"{self.tries[task] / (done + tried):.1f}" if done + tried else ""
            rows.append([task, done, tried, self.learners - done - tried, mean])
        headers = ["task", "done", "tried only", "not reached", "tries a learner"]
        return Table(headers, rows, notes=[f"ignored: {line}" for line in self.ignored])

    def plot(self) -> Axes:
        """Draw a bar for each task: learners who did it, and those who only tried."""
        ax = new_axes(7, 1 + 0.25 * len(self.tasks))
        done, tried = ([self.counts[task, s] for task in self.tasks] for s in ("done", "tried"))
        ax.barh(self.tasks, done, color=PALETTE[0], label="done")
        more = {"color": PALETTE[1], "hatch": "//", "edgecolor": "white", "label": "tried only"}
        ax.barh(self.tasks, tried, left=done, **more)
        ax.set(xlabel=f"learners, of {self.learners}", xlim=(0, self.learners))
        ax.invert_yaxis()
        ax.legend()
        return ax


def pool(folder: str | Path) -> Classroom:
    """Read every file of a folder; what is no file of progress, or a copy, is named in `ignored`, and never changed.

    Of several files of one learner, the one with the most tries counts. Raises NotADirectoryError for a missing folder
    and ValueError where no file of progress is in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise NotADirectoryError(
            f"{folder} is no folder: expected one that holds a JSON file for each learner"
        )
    handed_in: dict[str, dict] = {}
    ignored = []
    for path in sorted(folder.iterdir()):
        name = path.name if path.name.isprintable() else ascii(path.name)
        try:
            content = parse(_read(path))
        except (OSError, ValueError) as error:
            ignored.append(f"{name}: {error}")
            continue
        owner, tasks = str(content.get("id") or COPY.sub("", path.stem)), content["tasks"]
        if owner in handed_in:
            ignored.append(
                f"{name}: another file of the same learner; the one with more tries counts"
            )
        handed_in[owner] = max(handed_in.get(owner, {}), tasks, key=_total)
    if not handed_in:
        raise ValueError(
            f"{folder} holds no file of progress; learners write theirs with progress.export('name.json')"
        )
    return _counted(list(handed_in.values()), ignored)


def _counted(learners: list[dict], ignored: list[str]) -> Classroom:
    """Count the tasks that the lessons ask; of others, which an older course may have asked, only how many they are."""
    counts = Counter((task, kept["state"]) for tasks in learners for task, kept in tasks.items())
    reached = {task for task, _ in counts}
    shown = []
    for lesson in lesson_names():
        names = [task.name for task in tasks_of(lesson)]
        if reached.intersection(names):
            shown += names
    if unknown := len(reached.difference(shown)):
        ignored.append(f"tasks that no lesson asks, {unknown:,}")
    tries = Counter()
    for tasks in learners:
        tries.update({task: kept["tries"] for task, kept in tasks.items()})
    return Classroom(len(learners), tuple(shown), counts, tries, tuple(ignored))


def _total(tasks: dict[str, dict]) -> int:
    return sum(kept["tries"] for kept in tasks.values())


def _read(path: Path) -> str:
    if not path.is_file() or path.is_symlink():
        raise ValueError("no file")
    if path.stat().st_size > LARGEST:
        raise ValueError("too large for a file of progress")
    return path.read_text(encoding="utf-8-sig")
