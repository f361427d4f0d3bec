"""Pool the progress files of a class, on the teacher's machine, with no server.

    python -m dlhelpers classroom FOLDER

Each learner hands in one JSON file, written by `progress.export("name.json")`. A prediction is done once it was
revealed, so what a class knows shows in its first tries: how many were right, and which mistake was the commonest.
A learner has no name here but that of the file, and no answer stands beside one.
"""

import csv
import io
import json
import re
import shutil
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlhelpers.base.tables import Table
from dlhelpers.base.whole_files import write_whole
from dlhelpers.course.records import all_tasks, lesson_names, read_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STUCK_SHOWN = 20  # learners in the table; --json and --csv have all
DRAWN = 10  # tasks in the picture: more would be too small to read across a room
PAUSE = 3  # seconds between two looks at the folder


@dataclass(frozen=True)
class Classroom:
    """What a class answered.

    learners  whose file could be read
    tasks     one dict per task of the course, in its order. Counts of learners: `reached` and `done`; `first_tries`
              that are known, and how many of them were `right`; the commonest known `mistake`, `made_by` how many;
              `stuck` lists the file and the tries of those who have most tries here, two at least, and
              are not done
    notes     which files and tasks were left out, and why
    """

    learners: int
    tasks: list[dict[str, Any]]
    notes: list[str]

    def __repr__(self) -> str:
        shown = [row for row in self.tasks if row["reached"]]
        begun = {_lesson(row) for row in shown}
        # what the columns before it need, so that a mistake keeps to its own
        width = max((len(_short(row)) for row in shown), default=0) + 35
        width = max(40, shutil.get_terminal_size((120, 24)).columns - width)
        lines = []
        for row in shown:
            words = textwrap.wrap(_said(row), width, max_lines=2, placeholder=" ...") or [""]
            by = row["made_by"] or ""
            lines.append([_short(row), row["reached"], _percent(row), by, words[0]])
            lines += [["", "", "", "", more] for more in words[1:]]
        tasks = Table(["task", "reached", "right first", "people", "commonest mistake"], lines)
        parts = [repr(tasks)] if lines else []
        stuck = [(one, row) for row in self.tasks for one in row["stuck"]]
        stuck.sort(key=lambda pair: -pair[0]["tries"])
        if stuck:
            lines = [[one["file"], _short(row), one["tries"]] for one, row in stuck[:STUCK_SHOWN]]
            parts.append(repr(Table(["stuck", "at task", "tries"], lines)))
        notes = [f"learners: {self.learners}", *self.notes]
        if len(stuck) > STUCK_SHOWN:
            notes.append(f"{len(stuck) - STUCK_SHOWN} more are stuck, with fewer tries")
        missed = [row for row in self.tasks if _lesson(row) in begun and not row["reached"]]
        unseen = [name[-2:] for name in lesson_names() if name not in begun]
        if missed:
            notes.append(f"nobody has reached {', '.join(map(_short, missed))}")
        if unseen and begun:
            notes.append(f"nobody has begun lesson {', '.join(unseen)}")
        return "\n\n".join([*parts, "\n".join(f"Note: {note}" for note in notes)])

    def json(self) -> str:
        """Return everything as one JSON object."""
        return json.dumps(asdict(self), indent=1)

    def csv(self) -> str:
        """Return the tasks as comma-separated values, where no cell is a formula to a spreadsheet."""
        file = io.StringIO()
        writer = csv.DictWriter(file, self.tasks[0], lineterminator="\n")
        writer.writeheader()
        for row in self.tasks:
            stuck = "; ".join(f"{one['file']} ({one['tries']})" for one in row["stuck"])
            # also behind a semicolon, which parts cells where the comma parts decimals
            writer.writerow(
                {
                    k: re.sub(r"(^|[;,])(?=\s*[=+@-])", r"\1'", str(v))
                    for k, v in (row | {"stuck": stuck}).items()
                }
            )
        return file.getvalue().rstrip("\n")

    def plot(self) -> "Axes":
        """Draw the tasks with the most wrong first tries, without a name; return the axes, for `show`.

        Raises ValueError where nobody has tried a task.
        """
        from dlhelpers.show.plots import PALETTE, new_axes, sentences

        tried = [row for row in self.tasks if row["first_tries"]]
        if not tried:
            raise ValueError("nobody has tried a task yet")
        wrong = sorted(tried, key=lambda row: row["right"] - row["first_tries"])
        rows = [row for row in tried if row in wrong[:DRAWN]]
        ax, grey = new_axes(16, 9), "#555555"
        shares = [row["right"] / row["first_tries"] for row in rows]
        ax.barh(range(len(rows)), 1, height=0.6, color="#EEEEEE")
        ax.barh(range(len(rows)), shares, height=0.6, color=PALETTE[0])
        for y, row in enumerate(rows):
            look = {"va": "center", "parse_math": False}
            for x, number in ((1.32, _percent(row)), (1.63, row["made_by"] or "")):
                ax.text(x, y, number, ha="right", fontsize=20, fontweight="bold", **look)
            words = textwrap.wrap(_said(row), 58, max_lines=2, placeholder=" ...")
            ax.text(1.7, y, "\n".join(words), fontsize=18, linespacing=1.05, **look)
        ax.set_yticks(range(len(rows)), map(_short, rows), fontsize=20, color=grey)
        heads = {"right at the first try": 0, "people": 1.63, "commonest mistake": 1.7}
        for text, x in heads.items():
            ha = "right" if text == "people" else "left"
            ax.text(x, -0.65, text, ha=ha, fontsize=18, color=grey)
        ax.set(xlim=(0, 4.4), ylim=(DRAWN - 0.4, -1), xticks=[])
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        missed = wrong[0]["first_tries"] - wrong[0]["right"]
        message = f"{_short(wrong[0])}, {missed} of {wrong[0]['first_tries']}"
        message = f"Most often wrong at first: {message}" if missed else "Each first try was right"
        ax.figure.suptitle(message, x=0.01, ha="left", fontsize=30, fontweight="bold")
        about = f"the {len(rows)} of {len(tried)} tasks with the most wrong first tries"
        about = f"{self.learners} learners; {about}"
        ax.figure.supxlabel(about, x=0.01, ha="left", fontsize=18, color=grey)
        ax.figure.get_layout_engine().set(w_pad=0.15, h_pad=0.15)
        bars = ", ".join(f"{_short(row)} {_percent(row)}" for row in rows)
        sentences[ax] = f"{message}. {about}. Right at the first try: {bars}."
        return ax


def pool(folder: str | Path) -> Classroom:
    """Return what the learners of a folder of progress files answered.

    What is no file of progress, or a copy, is named in a note, and never changed. Of several files of one learner, the
    one with the most tries counts. Raises FileNotFoundError for a missing folder.
    """
    handed_in: dict[object, tuple[str, dict[str, dict]]] = {}
    known, notes = all_tasks(), []
    for path in sorted(Path(folder).iterdir()):
        if path.name.startswith("."):
            continue  # half written, or the system's own
        name = _safe(path.name)
        try:
            content = read_file(path)
        except OSError as error:
            notes.append(f"ignored: '{name}' cannot be read: {error.strerror}")
            continue
        except ValueError:
            notes.append(f"ignored: '{name}' is no file of progress")
            continue
        strange = [task for task in content["tasks"] if task not in known]
        if strange:
            some = ", ".join(f"'{_safe(task)}'" for task in strange[:3])
            more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
            notes.append(f"'{name}' has tasks unknown here: {some}{more}")
        tasks = {task: one for task, one in content["tasks"].items() if task in known}
        owner = content["id"] if isinstance(content.get("id"), str) else path
        if owner in handed_in:
            notes.append(
                f"'{name}' is of the same learner as another: the one with more tries counts"
            )
        both = handed_in.get(owner, ("", {})), (name, tasks)
        handed_in[owner] = max(both, key=lambda one: sum(t["tries"] for t in one[1].values()))
    if not handed_in:
        notes.append(
            "no file of progress yet; a learner writes one with progress.export('me.json')"
        )
    stuck: dict[str, list[dict[str, Any]]] = {}
    for name, tasks in handed_in.values():
        tries = {
            task: tasks[task]["tries"]
            for task in reversed(known)  # of equals the later one, where the learner is now
            if task in tasks and tasks[task]["state"] == "tried" and tasks[task]["tries"] > 1
        }
        if tries:
            worst = max(tries, key=tries.get)
            stuck.setdefault(worst, []).append({"file": name, "tries": tries[worst]})
    rows = []
    for kept, task in known.items():
        found = [tasks[kept] for _, tasks in handed_in.values() if kept in tasks]
        rows.append(_counted(task, found) | {"stuck": stuck.get(kept, [])})
    return Classroom(len(handed_in), rows, notes)


def report(folder: str, form: str = "", picture: str = "", watch: bool = False) -> int:
    """Print what a class answered, as a table or in the `form` "json" or "csv"; return the exit code.

    picture  a file to draw it into, replaced if it is there: its ending .png, .pdf or .svg is the format
    watch    look again every few seconds, and print it anew when it has changed, until interrupted
    The exit code is 0 where at least one learner could be read, else 1.
    """
    shown = None
    try:
        while True:
            found = pool(folder)
            if found != shown:
                _print(getattr(found, form)() if form else f"{found}\n")
                if picture:
                    _draw(found, picture)
                shown = found
            if not watch:
                break
            time.sleep(PAUSE)
    except KeyboardInterrupt:
        if not shown:
            raise
    return int(not shown.learners)


def _draw(found: Classroom, picture: str) -> None:
    """Write a picture, whole, since someone may be showing the one before."""
    from matplotlib.pyplot import close  # here, since a table needs no matplotlib

    try:
        figure = found.plot().figure
    except ValueError as error:
        _print(f"No picture is written: {error}.")
        return
    try:
        with write_whole(picture) as file:
            figure.savefig(file, format=Path(picture).suffix[1:], dpi=120)
    finally:
        close(figure)


def _print(text: str) -> None:
    """Print, also where a file takes the output that can't hold each letter of a name, as on Windows."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def _counted(task: Any, found: list[dict]) -> dict[str, Any]:
    """The row of a task, from what is kept of it for each learner who reached it."""
    firsts = Counter(one["first"] for one in found if "first" in one)
    mistakes = {
        name: (firsts[name], words) for name, words in _mistakes(task).items() if firsts[name]
    }
    made_by, mistake = max(mistakes.values(), key=lambda one: one[0], default=(0, ""))
    return {
        "task": task.name,
        "reached": len(found),
        "done": sum(one["state"] == "done" for one in found),
        "first_tries": firsts.total(),
        "right": firsts["right"],
        "made_by": made_by,
        "mistake": mistake,
    }


def _mistakes(task: Any) -> dict[str, str]:
    """The known mistakes of a task in words, by the name under which a record keeps them."""
    words: Iterable[str]
    if task.kind == "predict":
        words = (f"{guess}: {why}" for guess, why in task.wrong.items())
    elif task.kind == "question":
        words = map(task.label, task.lettered)
    else:
        words = (message[0].upper() + message[1:] for _, message in task.wrong)
    return {f"known mistake {k}": " ".join(text.split()) for k, text in enumerate(words, 1)}


def _said(row: dict[str, Any]) -> str:
    """What a row tells of wrong first tries."""
    unknown = "" if row["right"] == row["first_tries"] else "not recorded: ask what they did"
    return row["mistake"] or unknown


def _percent(row: dict[str, Any]) -> str:
    return (
        f"{row['right'] / row['first_tries']:.0%}".replace("%", " %") if row["first_tries"] else ""
    )


def _lesson(row: dict[str, Any]) -> str:
    return row["task"].partition(".")[0]


def _short(row: dict[str, Any]) -> str:
    """A task as people call it: 02 small_loader."""
    return row["task"].removeprefix("lesson_").replace(".", " ")


def _safe(text: str) -> str:
    """A name from outside as one short line, in which nothing takes over a terminal."""
    return repr(text if len(text) <= 60 else f"{text[:57]}...")[1:-1]
