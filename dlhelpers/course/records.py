"""Remember in one local file what was answered; nothing leaves the machine.

The file is the variable DLHELPERS_PROGRESS, else .dlhelpers/progress.json in the home folder: tasks by name, each with
its state ("tried" or "done") and the number of tries, and a random number by which a teacher's table knows a copy. With
DLHELPERS_PROGRESS=/dev/null nothing is kept.
"""

import importlib
import json
import os
import pkgutil
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dlhelpers.base.files import write_whole
from dlhelpers.base.tables import Table
from dlhelpers.course import lessons
from dlhelpers.course.start import say_once

if os.name == "nt":
    import msvcrt
else:
    import fcntl

LARGEST = 1_000_000  # bytes: a file of progress has a few thousand
OPEN = {"state": "open", "tries": 0}


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
    good = path.is_file() and path.stat().st_size < LARGEST
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig")) if good else {}
        good = content["version"] == 1
        for task in content["tasks"].values():
            good &= task["state"] in ("tried", "done") and 0 < task["tries"] < 10**9
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        good = False
    if not good:
        raise ValueError(f"{path.name!r} is no file of progress")
    return content


def _own() -> dict[str, Any]:
    """The content of this learner's file; a new one where there is none."""
    path = progress_file()
    if path and path.exists():
        return read_file(path)
    return {"version": 1, "id": secrets.token_hex(8), "tasks": {}}


def read() -> dict[str, dict]:
    """Return the remembered tasks by name; none where there is no file that can be read and understood."""
    try:
        return _own()["tasks"]
    except (OSError, ValueError):
        return {}


def record(name: str, *, done: bool) -> None:
    """Count one try of a task; once done, it stays done. A disk that refuses is told once, and stops no lesson."""
    path = progress_file()
    if path is None:
        return
    try:
        if path.exists() and not path.is_file():
            raise OSError(f"{path} is no file")  # to read or rename a device could do harm
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path):
            try:
                content = _own()
            except ValueError:
                aside = path.with_name(f"{path.name}.broken-{secrets.token_hex(4)}")
                path.replace(aside)  # it may be of use to somebody
                content = _own()
            task = content["tasks"].setdefault(name, dict(OPEN))
            task["tries"] += 1
            task["state"] = "done" if done or task["state"] == "done" else "tried"
            with write_whole(path) as file:
                file.write(json.dumps(content, indent=1).encode())
    except OSError as error:
        say_once(f"Your progress is not kept: {error}. (DLHELPERS_PROGRESS names another file.)")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let no other kernel read and write `path` meanwhile: each would lose what the other adds."""
    with path.with_name(f"{path.name}.lock").open("a") as file:
        try:
            if os.name == "nt":
                msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
            else:
                fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            pass  # a network's disk may have no locks
        yield  # closing the file frees it, and so does the end of the process


def tasks_of(lesson: str) -> list[Any]:
    """Return the tasks of a lesson, as "lesson_02", in its order."""
    module = importlib.import_module(f"{lessons.__name__}.{lesson}")
    return [value for value in vars(module).values() if hasattr(value, "hints")]


def lesson_names() -> list[str]:
    """Return the names of all lessons, in their order."""
    names = (module.name for module in pkgutil.iter_modules(lessons.__path__))
    return sorted(name for name in names if name.startswith("lesson_"))


def progress(lesson: str | None = None) -> Table:
    """Return how far you are: one row per lesson, or one per task of the lesson named, as "lesson_02".

    `progress.export("name.json")` writes it to a file for your teacher.
    """
    remembered, rows = read(), []
    if lesson is None:
        for name in lesson_names():
            states = [remembered.get(task.name, OPEN)["state"] for task in tasks_of(name)]
            rows.append([name, f"{states.count('done')} of {len(states)}"])
        return Table(["lesson", "done"], rows)
    for task in tasks_of(lesson):
        known = remembered.get(task.name, OPEN)
        rows.append([task.name.partition(".")[2], task.kind, known["state"], known["tries"]])
    return Table(["task", "kind", "state", "tries"], rows)


def export(path: str | Path) -> Path:
    """Copy what was answered to one JSON file, to hand to a teacher; FileExistsError rather than overwrite one.

    Raises OSError where the file of progress cannot be read, ValueError where it is broken.
    """
    text = json.dumps(_own(), indent=1)
    with Path(path).open("x", encoding="utf-8") as file:
        file.write(text)
    return Path(path)


progress.export = export  # so that one name is enough in a lesson
