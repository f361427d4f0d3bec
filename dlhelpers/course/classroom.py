"""Pool the progress files of a class into one table and one picture, on the teacher's machine, with no server.

    python -m dlhelpers classroom FOLDER [--picture class.png]

Each learner hands in one JSON file, written by `progress.export("name.json")`. What is counted is how many learners
did a task, tried it, or did not reach it; which file is whose is not shown.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes

from dlhelpers.base.tables import Table
from dlhelpers.course.records import lesson_names, read_file, tasks_of
from dlhelpers.show.plots import PALETTE, new_axes


@dataclass(frozen=True)
class Classroom:
    """What a class has done: `learners` files were read; `ignored` says which were not, and why.

    `tasks` has, for each task of each lesson that somebody began, how many learners are "done", how many "tried", and
    the "tries" of all together.
    """

    learners: int
    tasks: dict[str, Counter]
    ignored: list[str]

    def table(self) -> Table:
        """Return one row per task: learners who did it, only tried, or did not reach it, and tries per learner."""
        rows = []
        for name, count in self.tasks.items():
            reached = count["done"] + count["tried"]
            mean = f"{count['tries'] / reached:.1f}" if reached else ""
            rows.append([name, count["done"], count["tried"], self.learners - reached, mean])
        headers = ["task", "done", "tried only", "not reached", "tries a learner"]
        return Table(headers, rows, notes=[f"ignored: {line}" for line in self.ignored])

    def plot(self) -> Axes:
        """Draw a bar for each task: learners who did it, and those who only tried."""
        ax = new_axes(7, 1 + 0.25 * len(self.tasks))
        done, tried = ([count[s] for count in self.tasks.values()] for s in ("done", "tried"))
        ax.barh(list(self.tasks), done, color=PALETTE[0], label="done")
        more = {"color": PALETTE[1], "hatch": "//", "edgecolor": "white", "label": "tried only"}
        ax.barh(list(self.tasks), tried, left=done, **more)
        ax.set(xlabel=f"learners, of {self.learners}", xlim=(0, self.learners))
        ax.invert_yaxis()
        ax.legend()
        return ax


def pool(folder: str | Path) -> Classroom:
    """Read every file of a folder; what is no file of progress, or a copy, is named in `ignored`, and never changed.

    Of several files of one learner, the one with the most tries counts. Raises FileNotFoundError for a missing folder
    and ValueError where no file of progress is in it.
    """
    handed_in: dict[str, dict] = {}
    ignored = []
    for path in sorted(Path(folder).iterdir()):
        try:
            content = read_file(path)
        except (OSError, ValueError) as error:
            ignored.append(str(error))
            continue
        owner = str(content.get("id", path.stem))
        if owner in handed_in:
            another = "another file of the same learner; the one with more tries counts"
            ignored.append(f"{path.name!r}: {another}")
        handed_in[owner] = max(handed_in.get(owner, {}), content["tasks"], key=_tries)
    if not handed_in:
        raise ValueError(
            f"{folder} holds no file of progress; learners write theirs with progress.export('name.json')"
        )
    counts = {}
    for lesson in lesson_names():
        asked = {task.name: Counter() for task in tasks_of(lesson)}
        for tasks in handed_in.values():
            for name in asked.keys() & tasks.keys():
                asked[name].update({tasks[name]["state"]: 1, "tries": tasks[name]["tries"]})
        if any(asked.values()):
            counts |= asked
    return Classroom(len(handed_in), counts, ignored)


def _tries(tasks: dict[str, dict]) -> int:
    return sum(kept["tries"] for kept in tasks.values())
