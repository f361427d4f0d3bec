"""Put a copy of each lesson, without outputs, into my-lessons: `make lab` opens those.

No stored output answers before the learner does, and a pull never meets what the learner has written. A copy that is
there is never written over: where the lesson has changed since, the new edition is put beside it.

With the name of a new folder, as in `make class`: write the course there as a class gets it, without outputs, tests and
teacher's notes. In that folder `make lab` works as here.
"""

import hashlib
import json
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = "my-lessons"  # beside notebooks/, so that their links hold
HANDED_OUT = """dlhelpers docs/images docs/set-up.md docs/LICENSE tools LICENSE Makefile README.md environment.yml
pyproject.toml"""


def main(root: Path = ROOT) -> None:
    """Make the copies that are missing, and say where a newer edition lies beside an older one."""
    folder = root / FOLDER
    folder.mkdir(exist_ok=True)
    for lesson in sorted((root / "notebooks").glob("*.ipynb")):
        book = cleared(lesson)
        edition = hashlib.sha256(json.dumps(book).encode()).hexdigest()[:8]
        copy = folder / lesson.name
        if copy.exists() and edition_of(copy) != edition:
            copy = folder / f"{lesson.stem}.new-{edition}.ipynb"
            if not copy.exists():
                print(
                    f"{FOLDER}/{lesson.name} is yours and stays; the lesson has a new edition, {copy.name}"
                )
        if not copy.exists():
            book["metadata"]["edition"] = edition
            write(book, copy)


def hand_out(target: Path, root: Path = ROOT) -> None:
    """Write what a class needs into a new folder; FileExistsError where one is."""
    (target / "notebooks").mkdir(parents=True)
    for lesson in sorted((root / "notebooks").glob("*.ipynb")):
        write(cleared(lesson), target / "notebooks" / lesson.name)
    for name in HANDED_OUT.split():
        if (root / name).is_dir():
            leave = shutil.ignore_patterns("__pycache__")
            shutil.copytree(root / name, target / name, ignore=leave)
        else:
            shutil.copy(root / name, target / name)
    readme = target / "README.md"

    def link(found: re.Match[str]) -> str:
        return found[0] if (target / found[2]).exists() else found[1]

    text = re.sub(r"\[([^\[\]]+)\]\((?!https:)([^)]+)\)", link, readme.read_text(encoding="utf-8"))
    readme.write_text(text, encoding="utf-8")  # what was not handed out is only named
    print(f"{target} is ready to be handed out")


def write(book: dict, path: Path) -> None:
    """Write a notebook as JupyterLab does."""
    path.write_text(json.dumps(book, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def cleared(lesson: Path) -> dict:
    """Return a notebook without outputs and counts."""
    book = json.loads(lesson.read_text(encoding="utf-8"))
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    return book


def edition_of(copy: Path) -> "str | None":
    """Return which edition of a lesson a learner's copy was made from, where it says so."""
    try:
        return json.loads(copy.read_text(encoding="utf-8"))["metadata"].get("edition")
    except (ValueError, KeyError, AttributeError):
        return None  # emptied, or no notebook any more: it is the learner's


if __name__ == "__main__":
    try:
        hand_out(Path(sys.argv[1])) if sys.argv[1:] else main()
    except FileExistsError as error:
        sys.exit(f"{error.filename} is there already: name a new folder, or remove that one first")
