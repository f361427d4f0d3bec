"""Pool the progress files of a class into one table, on the teacher's machine, with no server.

    python -m dlhelpers classroom FOLDER

Each learner hands in one JSON file, written by `progress.export("name.json")`. What is counted is how many learners
did a task, tried it, or did not reach it; which file is whose is not shown.
"""

from collections import Counter
from pathlib import Path

from dlhelpers.base.tables import Table
from dlhelpers.course.records import key, lesson_names, read_file, tasks_of


def pool(folder: str | Path) -> Table:
    """Return a row for each task of a begun lesson: how many learners did it, only tried it, or did not reach it.

    Reads every file of a folder; what is no file of progress, or a copy, is named in a note, and never changed. Of
    several files of one learner, the one with the most tries counts. Raises FileNotFoundError for a missing folder and
    ValueError where no file of progress is in it.
    """
    handed_in, notes = {}, []
    for path in sorted(Path(folder).iterdir()):
        try:
            content = read_file(path)
        except (OSError, ValueError) as error:
            notes.append(f"ignored: {error}")
            continue
        owner = str(content.get("id", path.stem))
        if owner in handed_in:
            notes.append(
                f"{path.name!r} is of the same learner as another: the one with more tries counts"
            )
        known = handed_in.get(owner, {}), content["tasks"]
        handed_in[owner] = max(known, key=lambda tasks: sum(t["tries"] for t in tasks.values()))
    if not handed_in:
        raise ValueError(
            f"{folder} holds no file of progress; learners write theirs with progress.export('name.json')"
        )
    rows = []
    for tasks in map(tasks_of, lesson_names()):
        found = {
            task.name: [own[key(task.name)] for own in handed_in.values() if key(task.name) in own]
            for task in tasks
        }
        if not any(found.values()):
            continue
        for name, known in found.items():
            count = Counter(one["state"] for one in known)
            mean = f"{sum(one['tries'] for one in known) / len(known):.1f}" if known else ""
            unseen = len(handed_in) - len(known)
            rows.append([name, count["done"], count["tried"], unseen, mean])
    headers = ["task", "done", "tried only", "not reached", "tries a learner"]
    return Table(headers, rows, notes=[f"learners: {len(handed_in)}", *notes])
