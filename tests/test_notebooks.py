"""The lessons keep the course's anatomy, and the rules that say so can fail."""

from copy import deepcopy
from functools import cache

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from notebook_rules import (
    CLOSING,
    RULES,
    shape_of_the_second_edition,
    tasks_are_used,
)
from prose_numbers import unshown
from run_notebooks import VIEW, complaints, lessons, tidy

from dlhelpers.course.records import tasks_of
from dlhelpers.course.tasks import Choice, Exercise, Prediction, Question

each_lesson = pytest.mark.parametrize("path", lessons(), ids=lambda path: path.stem)


@cache
def read(path):
    return nbformat.read(path, as_version=4)


def tasks_in(path):
    return {task.name: task for task in tasks_of(f"lesson_{path.name[:2]}")}


@each_lesson
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_lesson_keeps_the_rule(path, rule):
    assert list(rule(read(path))) == []


@each_lesson
def test_a_lesson_carries_nothing_that_a_machine_made(path):
    assert list(complaints(path)) == []


@each_lesson
def test_a_lesson_shows_and_asks_each_of_its_tasks(path):
    assert list(tasks_are_used(read(path), tasks_in(path))) == []


@each_lesson
def test_a_lesson_has_the_shape_of_the_second_edition(path):
    assert list(shape_of_the_second_edition(read(path), tasks_in(path))) == []


@each_lesson
def test_every_number_in_the_text_was_shown_by_a_cell(path):
    assert list(unshown(read(path), tasks_in(path))) == []


# ---- the rules can fail: each is shown a miniature lesson that is good but for one thing ----

FIGURE = '<img alt="Two bars." src="data:image/png;base64,iVBORw0KGgo=">'


def shows(text, **data):
    return new_output("execute_result", {"text/plain": text, **data}, execution_count=1)


def miniature():
    """A lesson without fault, as small as the rules allow."""
    book = new_notebook(
        cells=[
            new_markdown_cell("# Count the miniature", id="title"),
            new_code_cell("import torch", id="set-up"),
            new_markdown_cell("## How many?\n\nWe count 313 batches.", id="question"),
            new_code_cell("batches = 313", id="run"),
            new_code_cell("batches", id="result", outputs=[shows("313")]),
            new_markdown_cell("There are 313 of them.", id="explain"),
            new_code_cell(
                "show(ax)",
                id="figure",
                outputs=[shows("Figure: Two bars.", **{"text/html": FIGURE})],
            ),
            *[
                new_markdown_cell(f"{title}\n\nWords.", id=f"closing-{k}")
                for k, title in enumerate(CLOSING)
            ],
        ]
    )
    for count, cell in enumerate((cell for cell in book.cells if cell.cell_type == "code"), 1):
        cell.execution_count = count
    return tidy(book)


def test_the_miniature_has_no_fault():
    assert [complaint for rule in RULES for complaint in rule(miniature())] == []
    assert list(unshown(miniature(), {})) == []


def write(cell, text):
    return lambda book: book.cells[cell].update(source=text)


def add(cell, text):
    return lambda book: book.cells[cell].update(source=book.cells[cell].source + text)


def put(cell, **entries):
    return lambda book: book.cells[cell].update(**entries)


def out(cell, text, **data):
    return put(cell, outputs=[shows(text, **data)])


def tag(cell, name, **more):
    return lambda book: book.cells[cell].metadata.update(tags=[name], **more)


def bare_image(book):
    book.cells[6].outputs = [
        shows("<Figure size 640x480 with 1 Axes>", **{"image/png": "iVBORw0KGgo="})
    ]


def strip(book):
    for cell in book.cells:
        cell.update({"outputs": []} if cell.cell_type == "code" else {})


ERROR = new_output("error", ename="ValueError", evalue="no", traceback=[])
BROKEN = [
    (put(3, execution_count=7), "execution counts"),
    (strip, "nothing would be compared"),
    (put(3, outputs=[ERROR]), "an error is stored"),
    (write(3, "clear_output()"), "clear_output"),
    (add(2, "\n\n# Another title"), "one heading of level 1"),
    (add(2, "\n\n#### Deep"), "skips a level"),
    (add(10, "\n\n## And more"), "ends with"),
    (put(1, id="imports"), "second cell"),
    (write(3, 'open("/home/ann/data.npy")'), "absolute path"),
    (out(4, "no such file:\n/root/data"), "absolute path"),
    (lambda book: book.metadata.update(widgets={}), "metadata.widgets"),
    (out(4, "Slider", **{VIEW: {"model_id": "1"}}), "widget view"),
    (bare_image, "bare image"),
    (out(6, "Figure: ", **{"text/html": FIGURE.replace("Two bars.", "")}), "alt text must be"),
    (add(5, "\n\n![](chart.png)"), "without alt text"),
    (tag(3, "nbval-ignore-output"), "without a reason"),
    (tag(4, "nbval-ignore-output", reason="Each machine says something else."), "1 of 2 cells"),
]


@pytest.mark.parametrize(
    ("breakage", "complaint"), BROKEN, ids=[f"{k}-{text}" for k, (_, text) in enumerate(BROKEN)]
)
def test_a_rule_sees_a_broken_lesson(breakage, complaint):
    book = miniature()
    breakage(book)
    found = [text for rule in RULES for text in rule(book)]
    assert any(complaint in text for text in found), found


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("There are 314 of them.", "314"),
        ("It takes 6.03 GB.", "6.03 GB"),
    ],
)
def test_a_number_that_no_cell_has_shown_is_reported(text, missing):
    book = miniature()
    book.cells[5].source = text
    assert list(unshown(book, {})) == [f"explain: {missing!r} is shown by no cell above"]


@pytest.mark.parametrize(
    ("source", "output", "text"),
    [
        ("", "6021120000", "It takes 6.02 GB, or 6,021 MB."),
        ("", "0.19778", "It prints 19.8 %, that is 0.198."),
        ("range(1, 41)", "", "Up to 40."),
        ("", "", "See lessons 13, 14 and 15, and `len(40)`, and [forty](https://example.org/40)."),
    ],
)
def test_a_number_that_a_cell_has_shown_is_accepted(source, output, text):
    book = miniature()
    book.cells[3].source, book.cells[4].outputs, book.cells[5].source = (
        source,
        [shows(output)],
        text,
    )
    book.cells[2].source = "## How many?"
    assert list(unshown(book, {})) == []


def test_what_is_not_compared_is_no_evidence():
    book = miniature()
    book.cells[5].source = "It took 17 s."
    book.cells[4].outputs = [shows("17")]
    assert list(unshown(book, {})) == []
    book.cells[4].metadata.tags = ["nbval-ignore-output"]
    assert len(list(unshown(book, {}))) == 1


def test_what_a_card_asks_may_be_repeated_and_its_reason_may_not():
    task = Prediction(
        "t.p",
        "How many batches do 77 samples make?",
        answer=3,
        because="88.",
        wrong={},
        hints=["?"],
    )
    book = miniature()
    book.cells[3].source = "batches = 313"
    book.cells[4].outputs = [shows(repr(task.predict(...))), shows("313. 88.")]
    book.cells[5].source = "77 samples, and 88."
    assert list(unshown(book, {"t.p": task})) == ["explain: '88' is shown by no cell above"]


def small_tasks():
    right, hints = Choice("Yes", "so it is.", right=True), ["Think of it."]
    tasks = [
        Prediction(f"t.p{k}", f"How many, {k}?", answer=k, because="So.", wrong={}, hints=hints)
        for k in range(3)
    ]
    tasks += [
        Exercise(f"t.e{k}", f"Write e{k}.", minutes=1, hints=hints, code="e = 1") for k in range(2)
    ]
    return {task.name: task for task in [*tasks, Question("t.q", "Is it?", [right], hints=hints)]}


def asking(tasks):
    calls = {
        Prediction: "{0}.predict(...)\n{0}.reveal(1)",
        Exercise: "{0}\n{0}.check(f)",
        Question: "{0}.check(...)",
    }
    cells = [new_code_cell(calls[type(task)].format(name)) for name, task in tasks.items()]
    return new_notebook(cells=cells)


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("t.p0.predict(...)", "t.p0.predict(3)"),
        ("t.q.check(...)", 't.q.check("a")'),
        ("t.e0\n", "t.e0.hint()\n"),
    ],
)
def test_a_task_that_is_solved_or_not_shown_or_not_asked_is_a_breach(good, bad):
    tasks = small_tasks()
    book = asking(tasks)
    assert list(tasks_are_used(book, tasks)) == []
    for cell in book.cells:
        cell.source = cell.source.replace(good, bad)
    assert len(list(tasks_are_used(book, tasks))) == 1


def unfold(book, tasks):
    book.cells[1].metadata["jupyter"]["source_hidden"] = False


def everywhere(old, new):
    def change(book, tasks):
        for cell in book.cells:
            cell.source = cell.source.replace(old, new)

    return change


BREACHES = {
    "words outside folds": lambda book, tasks: book.cells[0].update(source="word " * 2001),
    "at most 84": lambda book, tasks: book.cells[3].update(source="x = " + "1" * 81),
    "show the numbers": lambda book, tasks: book.cells[3].update(outputs=[shows("True")]),
    "has to be folded": unfold,
    "cells with pictures": lambda book, tasks: [c.pop("outputs", 0) for c in book.cells[2:50]],
    "0 explorers": everywhere("explore_", "x"),
    "in the first third": everywhere("    ...", "    pass"),
    "no exercise gives code": lambda book, tasks: tasks.pop("lesson_02.cut_into_batches"),
    "name the false belief": lambda book, tasks: tasks.update(p=small_tasks()["t.p0"]),
}


@pytest.mark.parametrize("said", BREACHES)
def test_the_shape_of_the_second_edition_can_be_missed(said):
    [path] = [path for path in lessons() if path.name.startswith("02")]
    book, tasks = deepcopy(read(path)), tasks_in(path)
    BREACHES[said](book, tasks)
    for cell in book.cells:
        cell.setdefault("outputs", [])
    assert any(said in each for each in shape_of_the_second_edition(book, tasks))
