"""Put the right answers into a lesson, where a learner would write them."""

import ast
from collections.abc import Mapping

from nbformat import NotebookNode

from dlhelpers.course.tasks import Exercise, Prediction, Question, Task


def solve(book: NotebookNode, tasks: Mapping[str, Task]) -> NotebookNode:
    """Answer, in place, each task of a lesson by name: predictions, questions, and exercises by their solution.

    Raises ValueError for a task with no cell to answer it in.
    """
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    for name, task in tasks.items():
        if isinstance(task, Prediction):
            _replace(cells, f"{name}.predict(...)", f"{name}.predict({task.answer!r})")
        elif isinstance(task, Question):
            letter = next(letter for letter, choice in task.choices.items() if choice.right)
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
        for node in (
            ast.parse(cell.source).body if answer in cell.source and "%" not in cell.source else []
        ):
            names = (
                [node.name]
                if hasattr(node, "name")
                else [t.id for t in getattr(node, "targets", [])]
            )
            if answer in names:
                rows = cell.source.splitlines()
                first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
                cell.source = "\n".join([*rows[: first - 1], solution, *rows[node.end_lineno :]])
                return
    raise ValueError(f"{name}: no cell defines {answer} for the learner to complete")
