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

from dlhelpers.base.checks import shown
from dlhelpers.base.files import write_whole
from dlhelpers.base.tables import Table
from dlhelpers.course import lessons
from dlhelpers.course.start import say_once

if os.name == "nt":
    import msvcrt
else:
    import fcntl

VERSION = 1
MOST_TRIES = 10**9
OPEN = {"state": "open", "tries": 0}


def progress_file() -> Path | None:
    """Return where progress is kept; None for /dev/null (on Windows also NUL): nowhere."""
    named = os.environ.get("DLHELPERS_PROGRESS")
    if named in ("/dev/null", os.devnull):
        return None
    return Path(named) if named else Path.home() / ".dlhelpers" / "progress.json"


def parse(text: str) -> dict[str, Any]:
    """Return the content of a progress file, with "version", "tasks" and, since it has one, "id".

    Raises ValueError for any other text.
    """
    try:
        content = json.loads(text)
        version, tasks = content["version"], content["tasks"].values()
        answered = [(task["state"], task["tries"]) for task in tasks]
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("no file of progress") from error
    if version != VERSION:
        raise ValueError(f"version {shown(version)}: expected {VERSION}")
    for state, tries in answered:
        if state not in ("tried", "done") or type(tries) is not int or not 0 <= tries < MOST_TRIES:
            raise ValueError("a task that is neither tried nor done, or no number of tries")
    return content


def read() -> dict[str, dict]:
    """Return the remembered tasks by name; none where there is no file that can be read and understood."""
    try:
        return _stored(progress_file())["tasks"]
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
                content = _stored(path)
            except ValueError:
                aside = path.with_name(f"{path.name}.broken-{secrets.token_hex(4)}")
                path.replace(aside)  # it may be of use to somebody
                content = _stored(path)
            before = content["tasks"].get(name, OPEN)
            state = "done" if done or before["state"] == "done" else "tried"
            content["tasks"][name] = {"state": state, "tries": before["tries"] + 1}
            content.setdefault("id", secrets.token_hex(8))
            with write_whole(path) as file:
                file.write(json.dumps(content, indent=1).encode())
    except OSError as error:
        say_once(f"Your progress is not kept: {error}. (DLHELPERS_PROGRESS names another file.)")


def _stored(path: Path | None) -> dict[str, Any]:
    """The content of the file of progress; OSError where it cannot be read, ValueError where it is broken."""
    if path is None or not path.is_file():
        return {"version": VERSION, "tasks": {}}
    return parse(path.read_text(encoding="utf-8-sig"))


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

    `progress.export("name.json")` writes it to a file for your teacher. Raises ValueError for a lesson that does not
    exist.
    """
    names, remembered = lesson_names(), read()
    if lesson is None:
        rows = []
        for name in names:
            states = [remembered.get(task.name, OPEN)["state"] for task in tasks_of(name)]
            rows.append([name, f"{states.count('done')} of {len(states)}"])
        return Table(["lesson", "done"], rows)
    if lesson not in names:
        raise ValueError(f"there is no {lesson!r}: expected one of {', '.join(names)}")
    rows = []
    for task in tasks_of(lesson):
        known = remembered.get(task.name, OPEN)
        rows.append([task.name.partition(".")[2], task.kind, known["state"], known["tries"]])
    return Table(["task", "kind", "state", "tries"], rows)


def export(path: str | Path) -> Path:
    """Copy what was answered to one JSON file, to hand to a teacher; FileExistsError rather than overwrite one.

    Raises OSError where the file of progress cannot be read, ValueError where it is broken.
    """
    kept = progress_file()
    try:
        text = json.dumps(_stored(kept), indent=1)
    except ValueError as error:
        raise ValueError(f"{kept} is broken: {error}") from error
    with Path(path).open("x", encoding="utf-8") as file:
        file.write(text)
    return Path(path)


progress.export = export  # so that one name is enough in a lesson
