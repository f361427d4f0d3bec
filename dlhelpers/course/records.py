"""Remember in one local file what was answered; nothing leaves the machine.

The file is the variable DLHELPERS_PROGRESS, else .dlhelpers/progress.json in the home folder: tasks by their lesson's
title and their name, each with its state ("tried" or "done"), the number of tries and how the first one went, and a
random number by which a teacher's table knows a copy. With DLHELPERS_PROGRESS=/dev/null nothing is kept.
"""

import importlib
import json
import os
import pkgutil
import secrets
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock

from dlhelpers.base.tables import Table
from dlhelpers.base.whole_files import write_whole
from dlhelpers.course import lessons
from dlhelpers.course.start import say_once

OPEN = {"state": "open"}
MARKS = {"done": "\u25cf", "tried": "\u25d0", "open": "\u25cb"}  # full, half full and empty circles
# The first edition kept tasks by the number of their lesson: these are its titles.
TITLES = """
    start_here count_your_dataset count_your_batches weigh_your_averages write_the_loop choose_a_batch_size
    count_your_steps feed_the_device outgrow_your_memory stream_your_data leave_one_machine put_it_together
""".split()
FIRST_EDITION = {f"lesson_{number:02}": title for number, title in enumerate(TITLES)}


def progress_file() -> Path | None:
    """Return where progress is kept; None for /dev/null (on Windows also NUL): nowhere."""
    named = os.environ.get("DLHELPERS_PROGRESS")
    if named in ("/dev/null", os.devnull):
        return None
    return Path(named) if named else Path.home() / ".dlhelpers" / "progress.json"


def read_file(path: Path) -> dict[str, Any]:
    """Return the content of a progress file, with "tasks" and, as a rule, a random "id" of its learner.

    Raises ValueError for any other file, OSError for one that cannot be read.
    """
    try:
        content = json.loads(_beginning(path))
        for task in content["tasks"].values():
            if (
                task["state"] not in ("tried", "done")
                or type(task["tries"]) is not int
                or not 0 < task["tries"] < 1_000_000
                or type(task.get("first", "")) is not str
            ):
                raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"{path.name!r} is no file of progress") from None
    for name in [name for name in content["tasks"] if name.startswith("lesson_")]:
        content["tasks"][_second_edition(name)] = content["tasks"].pop(name)
    return content


def _beginning(path: Path) -> bytes:
    """The first 2 MB of a file, where a learner's has 20 kB; nothing of a device, a pipe or a folder."""
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(2_000_000)


def _second_edition(name: str) -> str:
    """The key of a task of the first edition, as lesson_04.handed_over, which may have moved to another lesson."""
    lesson, _, task = name.partition(".")
    kept = f"{FIRST_EDITION.get(lesson, lesson)}.{task}"
    if kept in all_tasks():
        return kept
    return next((now for now in all_tasks() if now.endswith(f".{task}")), kept)


@cache
def all_tasks() -> dict[str, Any]:
    """Return the tasks of the course in its order, by the names under which they are kept."""
    return {key(task.name): task for lesson in lesson_names() for task in tasks_of(lesson)}


def _own() -> dict[str, Any]:
    """The content of this learner's file; a new one where there is none."""
    path = progress_file()
    if path and path.exists():
        return read_file(path)
    return {"id": secrets.token_hex(8), "tasks": {}}


def read() -> dict[str, dict]:
    """Return the remembered tasks by name; none where there is no file that can be read and understood."""
    try:
        return _own()["tasks"]
    except (OSError, ValueError):
        return {}


def key(name: str) -> str:
    """Return the name under which a task is kept: lesson_02.batch_of becomes count_your_batches.batch_of."""
    lesson, _, task = name.partition(".")
    return f"{_lesson(lesson).TITLE.lower().replace(' ', '_')}.{task}"


def _lesson(name: str) -> Any:
    return importlib.import_module(f"{lessons.__name__}.{name}")


def record(name: str, *, done: bool, first: str) -> None:
    """Count one try of a task; once done, it stays done. Of the first, `first` says how it went: no answers are kept.

    What keeps it from being written, as a full disk or a broken file, is told once, and stops no lesson.
    """
    path = progress_file()
    if path is None:
        return
    # here: it imports a lesson, which may take longer than another kernel waits for the lock
    known = key(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # another kernel would lose what this one adds, and this one what the other does
        with FileLock(f"{path}.lock", timeout=5):
            content = _own()
            begun = {"state": "tried", "tries": 0, "first": first}
            task = content["tasks"].setdefault(known, begun)
            task["tries"] += 1
            if done:
                task["state"] = "done"
            with write_whole(path) as file:
                file.write(json.dumps(content, indent=1).encode())
    except (OSError, ValueError, NotImplementedError) as error:
        say_once(f"Your progress is not kept: {error}. (DLHELPERS_PROGRESS names another file.)")


def lesson_names() -> list[str]:
    """Return the names of all lessons, as "lesson_02", in their order."""
    return [name for _, name, _ in pkgutil.iter_modules(lessons.__path__)]


def tasks_of(lesson: str) -> list[Any]:
    """Return the tasks of a lesson, in its order."""
    return [value for value in vars(_lesson(lesson)).values() if hasattr(value, "hints")]


def progress(lesson: str | None = None) -> Table:
    """Return how far you are: one row per lesson, or one per task of the lesson named, as "lesson_02".

    `progress.export("name.json")` writes it to a file for your teacher. Raises ValueError for an unknown lesson.
    """
    remembered, names, rows = read(), lesson_names(), []
    if lesson is not None:
        following = names[names.index(lesson) + 1 :]
        found = _kept(remembered, lesson)
        for task, known in zip(tasks_of(lesson), found, strict=True):
            kept = [known.get(part, "") for part in ("state", "tries", "first")]
            kept[2] = kept[2].rstrip(" 0123456789")  # which known mistake it was is for a teacher
            rows.append([MARKS[known["state"]], task.name.partition(".")[2], task.kind, *kept])
        headers = ["", "task", "kind", "state", "tries", "first try"]
        note = f"{_title(lesson)}: {_done(found)} done."
        note += f" Next: {_next(following)}." if following else ""
        return Table(headers, rows, notes=[note])
    unfinished = []
    for name in names:
        found = _kept(remembered, name)
        rows.append([_title(name), "".join(MARKS[known["state"]] for known in found), _done(found)])
        if any(known["state"] != "done" for known in found):
            unfinished.append(name)
    return Table(["lesson", "tasks", "done"], rows, notes=[f"Next: {_next(unfinished)}."])


def _kept(remembered: dict[str, dict], lesson: str) -> list[dict]:
    """What is remembered of each task of a lesson."""
    return [remembered.get(key(task.name), OPEN) for task in tasks_of(lesson)]


def _done(found: list[dict]) -> str:
    return f"{sum(known['state'] == 'done' for known in found)} of {len(found)}"


def _title(lesson: str) -> str:
    return f"{lesson[-2:]} {_lesson(lesson).TITLE}"


def _next(left: list[str]) -> str:
    return _title(left[0]) if left else "all lessons are done"


def export(path: str | Path) -> Path:
    """Copy what was answered to one JSON file, to hand to a teacher; FileExistsError rather than overwrite one.

    Raises OSError where the file of progress cannot be read, ValueError where it is broken.
    """
    text = json.dumps(_own(), indent=1)
    try:
        with Path(path).open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise FileExistsError(f"{str(path)!r} is there already: choose another name") from None
    return Path(path)


progress.export = export  # so that one name is enough in a lesson
