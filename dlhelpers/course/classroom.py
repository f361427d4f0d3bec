"""Pool the progress files of a class into one table and one picture, on the teacher's machine, with no server.

    python -m dlhelpers classroom FOLDER [--picture class.png]

Each learner hands in one JSON file, written by `dlhelpers.course.records.export("name.json")`. Names of
learners' files are never shown: what is counted is how many learners did a task, tried it, or did not come to it.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes

from dlhelpers.base.tables import Table
from dlhelpers.course.records import parse
from dlhelpers.show.plots import PALETTE, new_axes

LARGEST = 1_000_000  # bytes: a file of progress has a few thousand
STATES = ("done", "tried")


@dataclass(frozen=True)
class Classroom:
    """What a class has done: `learners` files were read, `counts` has (task, state) -> learners; `ignored` says why."""

    learners: int
    counts: Counter
    tries: Counter
    ignored: tuple[str, ...] = ()

    @property
    def tasks(self) -> list[str]:
        """The tasks that somebody tried, in the order of lessons and names."""
        return sorted({task for task, _ in self.counts})

    def table(self) -> Table:
        """Return one row a task: learners who did it, who only tried, who did not come to it, and tries a learner."""
        rows = []
        for task in self.tasks:
            done, tried = (self.counts[task, state] for state in STATES)
            mean = self.tries[task] / (done + tried)
            rows.append([task, done, tried, self.learners - done - tried, f"{mean:.1f}"])
        headers = ["task", "done", "tried only", "not reached", "tries a learner"]
        return Table(headers, rows, notes=[f"ignored: {line}" for line in self.ignored])

    def plot(self) -> Axes:
        """Draw a bar for each task: learners who did it, and those who only tried."""
        ax = new_axes(7, 1 + 0.25 * len(self.tasks))
        done, tried = ([self.counts[task, state] for task in self.tasks] for state in STATES)
        ax.barh(self.tasks, done, color=PALETTE[0], label="done")
        ax.barh(
            self.tasks,
            tried,
            left=done,
            color=PALETTE[1],
            hatch="//",
            edgecolor="white",
            label="tried only",
        )
        ax.set(xlabel=f"learners, of {self.learners}", xlim=(0, self.learners))
        ax.invert_yaxis()
        ax.legend()
        return ax


def pool(folder: str | Path) -> Classroom:
    """Read every file of a folder; what is no file of progress is named in `ignored`, and never changed.

    Raises NotADirectoryError for a missing folder and ValueError where no file of progress is in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise NotADirectoryError(
            f"{folder} is no folder: expected one that holds a JSON file for each learner"
        )
    counts, tries, ignored, learners = Counter(), Counter(), [], 0
    for path in sorted(folder.iterdir()):
        try:
            tasks = parse(_read(path))
        except (OSError, ValueError) as error:
            ignored.append(f"{path.name}: {error}")
            continue
        learners += 1
        for task, answered in tasks.items():
            counts[task, answered["state"]] += 1
            tries[task] += answered["tries"]
    if not learners:
        raise ValueError(
            f"{folder} holds no file of progress; learners write theirs with progress.export('name.json')"
        )
    return Classroom(learners, counts, tries, tuple(ignored))


def _read(path: Path) -> str:
    if not path.is_file() or path.is_symlink():
        raise ValueError("no file")
    if path.stat().st_size > LARGEST:
        raise ValueError("too large for a file of progress")
    return path.read_text(encoding="utf-8")
