"""Write the course's address, which stands in pyproject.toml alone, into every set-up cell, launch link and citation.

python tools/addresses.py             after a change of [project.urls] Repository or [tool.course] branch
python tools/addresses.py --remote    take both from this clone: where `origin` is on GitHub, and the branch it is on
python tools/addresses.py --check     only say which files disagree
"""

import json
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

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
    binder = f"{BINDER}{in_binder(where)}?urlpath=lab/tree/my-lessons/{notebook}"
    hint = "outputs stored there answer before you do: *Edit, Clear all outputs*"
    return f"[Open in Colab]({colab}) ({hint}) or [on Binder]({binder})."


def in_binder(where: Home) -> str:
    """Return repository and branch as Binder's addresses want them, where a slash would end the branch's name."""
    return f"{where.repository}/{quote(where.branch, safe='')}"


def lesson(text: str, where: Home, name: str) -> str:
    """Return a notebook's text with this set-up cell, and these links at the end of its first cell."""
    book = json.loads(text)
    first, second = book["cells"][:2]
    opening = LAUNCH.sub("", "".join(first["source"])).rstrip() + "\n\n" + launch(where, name)
    first["source"], second["source"] = opening.splitlines(True), set_up(where).splitlines(True)
    return json.dumps(book, indent=1, ensure_ascii=False) + "\n"


def page(text: str, where: Home) -> str:
    """Return a Markdown text in which every launch address and every address to clone from is this home's."""
    moved = {
        rf"({COLAB})[^/)\s]+/[^/)\s]+/blob/[^)\s]+?(?=/notebooks/)": f"{where.repository}/blob/{where.branch}",
        rf"({BINDER})[^/)\s]+/[^/)\s]+/[^?)\s]+": in_binder(where),
        rf"(git clone {GITHUB})[^/\s]+/[^/\s;]+": where.repository,
        rf'(repository-code: "{GITHUB})[^"]+': where.repository,
        r"(?m)^(version: )\S+$": where.version,
    }
    for address, new in moved.items():
        text = re.sub(address, rf"\g<1>{new}", text)
    return text


def full(text: str, where: Home) -> str:
    """Return a Markdown text in which pictures and links within the repository have their full addresses."""
    for kind, opening in {"raw": r"!\[[^\]]*\]\(", "blob": r"\]\("}.items():
        address = f"{GITHUB}{where.repository}/{kind}/{where.branch}/"
        text = re.sub(rf"({opening})(?!https:)", rf"\g<1>{address}", text)
    return text


def take_remote() -> None:
    """Write where this clone comes from, and its branch, into pyproject.toml; ValueError where that is not GitHub."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True)
        return done.stdout.strip()

    origin, branch = git("remote", "get-url", "origin"), git("branch", "--show-current")
    found = re.search(r"github\.com[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?$", origin)
    if not found or not branch:
        raise ValueError(
            f"origin is {origin!r}, on branch {branch!r}: expected a branch of a clone from GitHub. Else put the"
            " address into pyproject.toml, as Repository"
        )
    path = ROOT / "pyproject.toml"
    text = path.read_text(encoding="utf-8")
    text = re.sub('(?m)^(Repository = )"[^"]*"', rf'\g<1>"{GITHUB}{found[1]}"', text)
    path.write_text(re.sub('(?m)^(branch = )"[^"]*"', rf'\g<1>"{branch}"', text), encoding="utf-8")


def rewritten(where: Home) -> dict[Path, str]:
    """Return each file that would change, with its new text."""
    files = [
        *(ROOT / "notebooks").glob("*.ipynb"),
        ROOT / "README.md",
        ROOT / "CITATION.cff",
        *(ROOT / "docs").glob("*.md"),
    ]
    changed = {}
    for path in sorted(files):
        text = path.read_text(encoding="utf-8")
        new = lesson(text, where, path.name) if path.suffix == ".ipynb" else page(text, where)
        if new != text:
            changed[path] = new
    return changed


def main() -> int:
    """Rewrite, or with --check only list; return 1 where a check finds something."""
    try:
        if "--remote" in sys.argv:
            take_remote()
        changed = rewritten(home())
    except ValueError as error:
        sys.exit(str(error))
    for path, text in changed.items():
        print(path.relative_to(ROOT))
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
    return int(bool(changed) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
