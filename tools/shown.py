"""What the lessons show, as README, site and slides repeat it: read from their stored cells and the README's table."""

import json
import re
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROW = re.compile(r"^\| (\d\d) \| \[(.+?)\]\(notebooks/(.+?)\.ipynb\) \| (.+?) \| (\d+) \|", re.M)


def cells(number: str) -> dict[str, dict]:
    """Return the cells of a lesson by name."""
    [path] = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    return {cell["id"]: cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]}


def lessons() -> list[tuple[str, ...]]:
    """Return number, title, file name without its ending, question and minutes of each lesson."""
    return ROW.findall((ROOT / "README.md").read_text(encoding="utf-8"))


def code(text: str) -> str:
    """Return a text of Markdown as HTML, with its code in code font."""
    return re.sub("`(.+?)`", r"<code>\1</code>", escape(" ".join(text.split())))
