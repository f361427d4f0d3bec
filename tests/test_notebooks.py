"""The lessons keep the course's anatomy, and the rules that say so can fail."""

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
from dlhelpers.course.tasks import Prediction

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
@pytest.mark.parametrize(
    "rule",
    (tasks_are_used, shape_of_the_second_edition, unshown),
    ids=lambda rule: rule.__name__,
)
def test_a_lesson_keeps_the_rule_on_its_tasks_and_numbers(path, rule):
    assert list(rule(read(path), tasks_in(path))) == []


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


BROKEN = [
    (put(3, execution_count=7), "execution counts"),
    (strip, "nothing would be compared"),
    (write(3, "clear_output()"), "clear_output"),
    (add(2, "\n\n# Another title"), "one heading of level 1"),
    (add(2, "\n\n#### Deep"), "skips a level"),
    (add(10, "\n\n## And more"), "ends with"),
    (put(1, id="imports"), "second cell"),
    (write(3, 'open("/home/ann/data.npy")'), "absolute path"),
    (out(4, "no such file:\n/root/data"), "absolute path"),
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
    "change",
    [
        lambda book: book.metadata.update(widgets={}),
        out(4, "Slider", **{VIEW: {"model_id": "1"}}),
    ],
)
def test_what_a_machine_made_is_seen(tmp_path, change):
    book = miniature()
    change(book)
    nbformat.write(book, tmp_path / "book.ipynb")
    assert len(list(complaints(tmp_path / "book.ipynb"))) == 1


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
    book.cells[4].metadata.tags = ["nbval-ignore-output"]
    assert len(list(unshown(book, {}))) == 1


BATCHES = Prediction(
    "t.p", "How many batches do 77 samples make?", answer=3, because="88.", wrong={}, hints=["?"]
)


def test_what_a_card_asks_may_be_repeated_and_its_reason_may_not():
    book = miniature()
    book.cells[3].source = "batches = 313"
    book.cells[4].outputs = [shows(repr(BATCHES.predict(...))), shows("313. 88.")]
    book.cells[5].source = "77 samples, and 88."
    assert list(unshown(book, {"t.p": BATCHES})) == ["explain: '88' is shown by no cell above"]


def test_what_tasks_and_shape_ask_for_can_be_missed():
    book, tasks = miniature(), {"t.p": BATCHES}
    assert len([*tasks_are_used(book, tasks)]) == 5, "few of each kind, and this one isn't asked"
    assert len([*shape_of_the_second_edition(book, tasks)]) == 6, "fold, pictures, and what to do"
    book.cells[0].source += " word" * 2001
    book.cells[3].update(source="x = " + "1" * 81, outputs=[shows("True")])
    assert len([*shape_of_the_second_edition(book, tasks)]) == 9, "long, a long line, a bare True"
