"""Remember in one local file what was answered; nothing leaves the machine.

The file is the variable DLHELPERS_PROGRESS, else .dlhelpers/progress.json in the home folder: tasks by name, each with
its state ("tried" or "done") and the number of tries.
"""

import importlib
import json
import os
import pkgutil
from pathlib import Path

from dlhelpers.base.tables import Table
from dlhelpers.course import lessons as exercises

VERSION = 1


def progress_file() -> Path:
    """Return where progress is kept."""
    return Path(
        os.environ.get("DLHELPERS_PROGRESS") or Path.home() / ".dlhelpers" / "progress.json"
    )


def read() -> dict[str, dict]:
    """Return the remembered tasks by name; a file that cannot be understood is set aside, never overwritten."""
    try:
        return _stored()
    except OSError:
        return {}


def parse(text: str) -> dict[str, dict]:
    """Return the tasks of a progress file's text; ValueError where it is none of ours, or of another version."""
    try:
        content = json.loads(text)
        if content["version"] != VERSION:
            raise ValueError(f"version {content['version']!r}: expected {VERSION}")
        tasks = {name: (task["state"], task["tries"]) for name, task in content["tasks"].items()}
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("no file of progress") from error
    if not all(
        state in ("tried", "done") and type(tries) is int and tries >= 0
        for state, tries in tasks.values()
    ):
        raise ValueError("a task that is neither tried nor done, or tries that are no number")
    if not all(name.isprintable() for name in tasks):  # a teacher's terminal would obey it
        raise ValueError("a task whose name cannot be printed")
    return {name: {"state": state, "tries": tries} for name, (state, tries) in tasks.items()}


def export(path: str | Path) -> Path:
    """Copy what was answered to one JSON file, to hand to a teacher; FileExistsError rather than overwrite one."""
    text = json.dumps({"version": VERSION, "tasks": read()}, indent=1)
    with Path(path).open("x", encoding="utf-8") as file:
        file.write(text)
    return Path(path)


def _stored() -> dict[str, dict]:
    path = progress_file()
    try:
        return parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        number = 1
        while (aside := path.with_name(f"{path.name}.broken-{number}")).exists():
            number += 1
        path.replace(aside)
        return {}


def record(name: str, *, done: bool) -> None:
    """Count one try of a task; once done, it stays done. A disk that refuses is no reason to stop a lesson."""
    path = progress_file()
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        tasks = _stored()
        before = tasks.get(name, {"state": "tried", "tries": 0})
        state = "done" if done or before["state"] == "done" else "tried"
        tasks[name] = {"state": state, "tries": before["tries"] + 1}
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(
            json.dumps({"version": VERSION, "tasks": tasks}, indent=1), encoding="utf-8"
        )
        unfinished.replace(path)  # at once, so that a crash leaves the old file or the new one
    except OSError:
        pass


def progress(lesson: str | None = None) -> Table:
    """Return how far you are: one row a lesson, or one row a task of the lesson named, as "lesson_02".

    Raises ValueError for a lesson that does not exist.
    """
    names = sorted(
        module.name
        for module in pkgutil.iter_modules(exercises.__path__)
        if "lesson_" in module.name
    )
    if lesson is not None and lesson not in names:
        raise ValueError(f"there is no {lesson!r}: expected one of {', '.join(names)}")
    remembered = read()
    tasks = {
        name: [
            t
            for t in vars(importlib.import_module(f"dlhelpers.course.lessons.{name}")).values()
            if hasattr(t, "hints")
        ]
        for name in ([lesson] if lesson else names)
    }
    if lesson:
        states = [
            remembered.get(task.name, {"state": "open", "tries": 0}) for task in tasks[lesson]
        ]
        rows = [
            [task.name.partition(".")[2], task.kind, state["state"], state["tries"]]
            for task, state in zip(tasks[lesson], states, strict=True)
        ]
        return Table(["task", "kind", "state", "tries"], rows)
    rows = []
    for name, of_lesson in tasks.items():
        done = sum(remembered.get(task.name, {}).get("state") == "done" for task in of_lesson)
        rows.append([name, f"{done} of {len(of_lesson)}"])
    return Table(["lesson", "done"], rows)
