"""Put the right answers into a lesson, where a learner would write them."""

import ast
import re
from collections.abc import Iterable

from nbformat import NotebookNode

from dlhelpers.course.tasks import Exercise, Prediction, Question, Task


def solve(book: NotebookNode, tasks: Iterable[Task]) -> NotebookNode:
    """Answer, in place, each task of a lesson: predictions, questions, and exercises by their solution.

    Raises ValueError for a task with no cell to answer it in.
    """
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    for task in tasks:
        name = task.name
        if isinstance(task, Prediction):
            _replace(cells, f"{name}.predict(...)", f"{name}.predict({task.answer!r})")
        elif isinstance(task, Question):
            letter = next(letter for letter, choice in task.lettered.items() if choice.right)
            _replace(cells, f"{name}.check(...)", f"{name}.check({letter!r})")
        elif isinstance(task, Exercise):
            _write_solution(cells, name, task.solution().text)
    return book


def _replace(cells: list[NotebookNode], call: str, answered: str) -> None:
    cell = next((cell for cell in cells if call in cell.source), None)
    if cell is None:
        raise ValueError(f"no cell has {call}")
    cell.source = cell.source.replace(call, answered)


def _write_solution(cells: list[NotebookNode], name: str, solution: str) -> None:
    """Replace the learner's definition, in the cell that checks it or in the nearest one above."""
    last = next((k for k, cell in enumerate(cells) if f"{name}.check(" in cell.source), None)
    if last is None:
        raise ValueError(f"no cell has {name}.check(")
    answer = cells[last].source.partition(f"{name}.check(")[2].partition(")")[0].strip()
    for cell in reversed(cells[: last + 1]):
        if answer not in cell.source or re.search(r"(?m)^ *%", cell.source):  # a magic
            continue
        for node in ast.parse(cell.source).body:
            targets = [target.id for target in getattr(node, "targets", [])]
            if answer in (getattr(node, "name", None), *targets):
                rows = cell.source.splitlines()
                rows[node.lineno - 1 : node.end_lineno] = [solution]
                cell.source = "\n".join(rows)
                return
    raise ValueError(f"{name}: no cell defines {answer} for the learner to complete")
