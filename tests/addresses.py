"""Write the course's address, which stands in pyproject.toml alone, into every set-up cell, launch link and badge.

python tests/addresses.py            after a change of [project.urls] Repository or [tool.course] branch
python tests/addresses.py --check    only say which files disagree
"""

import json
import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COLAB, BINDER, GITHUB = (
    "https://colab.research.google.com/github/",
    "https://mybinder.org/v2/gh/",
    "https://github.com/",
)
LAUNCH = re.compile(rf"(?m)^\[Open in Colab\]\({COLAB}.*$")


@dataclass(frozen=True)
class Home:
    """Where the course lives: "owner/name" on GitHub, the branch, and the version of the helpers."""

    repository: str
    branch: str
    version: str


def home() -> Home:
    """Return what pyproject.toml says; ValueError unless it names a GitHub repository."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    url = project["project"]["urls"]["Repository"]
    if not re.fullmatch(rf"{GITHUB}[\w.-]+/[\w.-]+", url):
        raise ValueError(f"[project.urls] Repository is {url!r}: expected {GITHUB}OWNER/NAME")
    return Home(
        url.removeprefix(GITHUB), project["tool"]["course"]["branch"], project["project"]["version"]
    )


def set_up(where: Home) -> str:
    """Return the text of the set-up cell, the same in all lessons."""
    return f'''\
from importlib.util import find_spec

if not find_spec("dlhelpers") and "google.colab" in str(get_ipython()):  # leaves the torch that is there
    %pip install -q --no-deps braceexpand webdataset "dlhelpers @ {zipped(where)}"
assert find_spec("dlhelpers"), "No dlhelpers: choose the course's kernel; on Colab, go online"
from dlhelpers.course import begin

begin("{where.version}")'''


def zipped(where: Home) -> str:
    """Return the address of the course as one file."""
    return f"{GITHUB}{where.repository}/archive/refs/heads/{where.branch}.zip"


def launch(where: Home, notebook: str) -> str:
    """Return the line of links that opens one lesson elsewhere."""
    colab = f"{COLAB}{where.repository}/blob/{where.branch}/notebooks/{notebook}"
    binder = f"{BINDER}{where.repository}/{where.branch}?urlpath=lab/tree/notebooks/{notebook}"
    return f"[Open in Colab]({colab}) or [on Binder]({binder})."


def lesson(text: str, where: Home, name: str) -> str:
    """Return a notebook's text with this set-up cell, and these links at the end of its first cell."""
    book = json.loads(text)
    first, second = book["cells"][:2]
    opening = LAUNCH.sub("", "".join(first["source"])).rstrip() + "\n\n" + launch(where, name)
    first["source"], second["source"] = opening.splitlines(True), set_up(where).splitlines(True)
    return json.dumps(book, indent=1, ensure_ascii=False) + "\n"


def page(text: str, where: Home) -> str:
    """Return a Markdown text in which every launch address and every address to clone from is this home's."""
    text = re.sub(
        rf"({COLAB})[^/)\s]+/[^/)\s]+/blob/[^/)\s]+",
        rf"\g<1>{where.repository}/blob/{where.branch}",
        text,
    )
    text = re.sub(
        rf"({BINDER})[^/)\s]+/[^/)\s]+/[^?)\s]+", rf"\g<1>{where.repository}/{where.branch}", text
    )
    return re.sub(
        r"(git clone https://github\.com/)[^/\s]+/[^/\s]+", rf"\g<1>{where.repository}", text
    )


def rewritten(where: Home) -> dict[Path, str]:
    """Return each file that would change, with its new text."""
    files = [
        *(ROOT / "notebooks").glob("*.ipynb"),
        ROOT / "README.md",
        *(ROOT / "docs").glob("*.md"),
    ]
    changed = {}
    for path in sorted(files):
        text = path.read_text(encoding="utf-8")
        new = page(text, where) if path.suffix == ".md" else lesson(text, where, path.name)
        if new != text:
            changed[path] = new
    return changed


def main() -> int:
    """Rewrite, or with --check only list; return 1 where a check finds something."""
    changed = rewritten(home())
    for path, text in changed.items():
        print(path.relative_to(ROOT))
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
    return int(bool(changed) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
