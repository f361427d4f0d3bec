"""Where a number in a lesson's text comes from: a cell must have shown it, or the text may not say it.

A number in digits in a markdown cell counts as shown where
- it is a number in the source or the compared output of a code cell above, or in the source of the code cells that
  follow at once, or the prompt of a card there, which the text announces;
- the first cell, headings and `What we saw` may look at the whole lesson;
- or a shown number rounds to it at the digits that the text gives, also as a percentage (0.198 as 19.8 %) or in kB,
  MB, GB, thousands or millions (6,021,120,000 as 6.02 GB).

Not checked: whole numbers up to 12, which are mostly words for counting; code in backticks and addresses; "lesson 03";
the paragraph "You need"; the section "Further reading" (years, issues).
Not evidence: outputs that nbval does not compare, and what a task replies beyond the result that a cell measured.
"""

import re
from collections.abc import Iterator, Mapping

from nbformat import NotebookNode
from notebook_rules import of_kind, prose, texts

from dlhelpers.course.tasks import Task

WRITTEN = r"(?<![\w.,-])-?\d[\d,]*(?:\.\d+)?(?:\s*(?:%|[kMG]?B\b|thousand|million))?"
SHOWN = r"(?<![\w.])\d[\d_,]*(?:\.\d+)?(?:e[+-]?\d+)?"
SCALES = {"%": 0.01, "kB": 1e3, "MB": 1e6, "GB": 1e9, "thousand": 1e3, "million": 1e6}


def unshown(book: NotebookNode, tasks: Mapping[str, Task]) -> Iterator[str]:
    """Yield each number that a lesson's text says and no cell has shown."""
    everything = {number for cell in of_kind(book, "code") for number in _shown_by(cell, tasks)}
    shown: set[float] = set()
    section = ""
    for k, cell in enumerate(book.cells):
        if cell.cell_type == "code":
            shown |= _shown_by(cell, tasks)
            continue
        section = (re.findall(r"(?m)^## (.*)$", cell.source) or [section])[-1]
        if section == "Further reading":
            continue
        known = (
            everything if k == 0 or section == "What we saw" else shown | _announced(book, k, tasks)
        )
        for line in _checked_text(cell.source).splitlines():
            for number in re.findall(WRITTEN, line):
                if not _is_shown(number, everything if line.startswith("#") else known):
                    yield f"{cell.id}: {number.strip(' ,')!r} is shown by no cell above"


def _checked_text(source: str) -> str:
    """A markdown cell without what is not checked: code, addresses, "You need", names of lessons."""
    text = re.sub(r"(?s)\*\*You need\*\*.*?(\n\n|\Z)", "", prose(NotebookNode(source=source)))
    return re.sub(r"(?i)\blessons?(\s+\d\d(,| and| to)?)+", "", text)


def _announced(book: NotebookNode, k: int, tasks: Mapping[str, Task]) -> set[float]:
    """The numbers in the source of the code cells right after markdown cell `k`, and in the cards that they show."""
    found: set[float] = set()
    for cell in book.cells[k + 1 :]:
        if cell.cell_type != "code":
            break
        found |= _in_source(cell.source)
        for name, task in tasks.items():
            if f"{name}.predict(" in cell.source or f"{name}.check(" in cell.source:
                found |= _numbers(task.prompt)
    return found


def _shown_by(cell: NotebookNode, tasks: Mapping[str, Task]) -> set[float]:
    """The numbers in a code cell's source and in its compared output."""
    found = _in_source(cell.source)
    if "nbval-ignore-output" in cell.metadata.get("tags", []):
        return found
    said = " ".join(texts(cell))
    for task in tasks.values():
        said = said.replace(getattr(task, "because", "") or "\0", "")
    return found | _numbers(said)


def _in_source(source: str) -> set[float]:
    ends = re.findall(
        r"\brange\((?:[^()]*,\s*)?(\d[\d_]*)\)", source
    )  # the last value of a range is one less
    return _numbers(source) | {float(end.replace("_", "")) - 1 for end in ends}


def _numbers(text: str) -> set[float]:
    return {float(re.sub("[_,]", "", number)) for number in re.findall(SHOWN, text)}


def _is_shown(written: str, shown: set[float]) -> bool:
    digits, unit = re.fullmatch(r"-?([\d,.]+?)[.,]*\s*(\D*)", written).groups()
    value = float(digits.replace(",", ""))
    if value <= 12 and value.is_integer() and unit != "%":
        return True
    places = len(digits.partition(".")[2])
    scaled = {number / scale for number in shown for scale in {1, SCALES.get(unit, 1)}}
    return any(abs(number - value) <= 0.5 * 10**-places * (1 + 1e-9) for number in scaled)
