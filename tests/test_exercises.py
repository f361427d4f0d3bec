"""Every task of every lesson answers: unsolved, solved, wrong in a known way, and broken."""

import ast
import re
from importlib import import_module
from inspect import cleandoc

import nbformat
import pytest
from judged import JUDGED, without_return
from long_cases import FULL
from nbformat.v4 import new_code_cell
from notebook_rules import texts
from run_notebooks import execute, lessons
from solve import solve
from test_capstone import CHECKS

from dlhelpers.course.records import key, lesson_names, read, tasks_of
from dlhelpers.course.tasks import Exercise, Prediction, Question

LESSONS = {name: tasks_of(name) for name in lesson_names()}
TASKS = [
    pytest.param(task.name, task, id=task.name) for tasks in LESSONS.values() for task in tasks
]
QUICK = ("lesson_02",)  # with all of their exercises solved; the others take minutes


def of_kind(kind):
    return [param for param in TASKS if isinstance(param.values[1], kind)]


predictions = pytest.mark.parametrize(("name", "task"), of_kind(Prediction))
questions = pytest.mark.parametrize(("name", "task"), of_kind(Question))
each_exercise = pytest.mark.parametrize(("name", "task"), of_kind(Exercise))
each_exercise_but_the_project = pytest.mark.parametrize(  # test_capstone trains that one
    ("name", "task"), [p for p in of_kind(Exercise) if p.values[1] not in CHECKS]
)
each_task = pytest.mark.parametrize(("name", "task"), TASKS)


@pytest.fixture(autouse=True)
def own_progress(tmp_path, monkeypatch):
    """Keep what these tests answer out of every other file, and forget the guess that a test made."""
    monkeypatch.setenv("DLHELPERS_PROGRESS", str(tmp_path / "progress.json"))
    yield
    for param in TASKS:
        vars(param.values[1]).update(guess=..., _tries=0, _measured="")


def defined_by(source):
    """Run a solution and return what it defined last: a function, a class, or a value."""
    space = {}
    exec(source, space)
    last = ast.parse(source).body[-1]
    return space[last.name if hasattr(last, "name") else last.targets[-1].id]


def wants_class(task):
    return isinstance(defined_by(task.solution().text), type)


def test_names_say_where_the_tasks_are():
    for lesson, tasks in LESSONS.items():
        named = vars(import_module(f"dlhelpers.course.lessons.{lesson}"))
        assert all(named[task.name.removeprefix(f"{lesson}.")] is task for task in tasks)


@each_task
def test_hints_are_there_and_give_nothing_away(name, task):
    assert task.hints and all(len(hint) > 5 for hint in task.hints)
    if isinstance(task, Exercise):
        body = " ".join(task.solution().text.split("return ")[-1].split())
        assert not any(body in hint for hint in task.hints)
    if isinstance(task, Question):
        right = next(choice for choice in task.lettered.values() if choice.right)
        assert not any(right.text in hint or right.why in hint for hint in task.hints)


@predictions
def test_an_open_prediction_is_no_error_and_leaves_no_trace(name, task):
    assert task.predict(...).kind == "open"
    reply = task.reveal(task.answer)
    assert reply.kind == "result" and task.because in reply.text
    assert read() == {}


@predictions
def test_the_answer_is_right_and_each_known_wrong_guess_is_told_why(name, task):
    assert task.predict(task.answer).kind == "noted"
    assert task.reveal(task.answer).kind == "right"
    assert read() == {key(name): {"state": "done", "tries": 1, "first": "right"}}
    assert task.wrong, "a prediction without a known wrong guess teaches nothing"
    for guess, why in task.wrong.items():
        assert task.predict(guess).kind == "noted", guess
        reply = task.reveal(task.answer)
        assert reply.kind == "missed" and why in reply.text, (guess, reply)
        assert task.because in reply.text


@questions
def test_a_question_explains_each_of_its_answers(name, task):
    assert task.check(...).kind == "open" and read() == {}
    assert [choice.right for choice in task.lettered.values()].count(True) == 1
    for letter, choice in task.lettered.items():
        reply = task.check(f" {letter.upper()} ")
        assert reply.kind == ("right" if choice.right else "wrong")
        assert choice.text in reply.text and choice.why[1:] in reply.text
    assert task.check("z").kind == task.check(3).kind == "wrong"
    assert read()[key(name)]["state"] == "done"


@each_exercise
def test_an_unsolved_exercise_is_open_and_leaves_no_trace(name, task):
    empty = type("Empty", (), {}) if wants_class(task) else lambda *arguments: None
    assert task.check(...).kind == task.check(None).kind == task.check(empty).kind == "open"
    assert read() == {}


@each_exercise_but_the_project
def test_the_reference_solution_is_right(name, task):
    reply = task.check(defined_by(task.solution().text))
    assert reply.kind == "right", reply
    assert read() == {key(name): {"state": "done", "tries": 1, "first": "right"}}


@each_exercise
def test_each_known_mistake_gets_the_message_that_names_it(name, task):
    judged = JUDGED.get(name, {})
    mistakes = [*task.wrong, *zip(judged.values(), judged, strict=True)]
    assert mistakes, (
        "an exercise without a known mistake teaches nothing; a judge's mistakes are in judged.py"
    )
    for mistake, message in mistakes:
        reply = task.check(mistake)
        assert reply.kind == "wrong" and message in reply.text, reply


@each_exercise_but_the_project
def test_what_is_no_function_or_class_or_returns_nothing_is_told_so(name, task):
    assert "pass a name without brackets" in task.check(3).text
    reply = task.check(without_return)
    if wants_class(task):
        assert "a class is expected" in reply.text
    else:
        said = r"returned None(\b|Type: (is|return))|holds None|Loader|iterable|weight|gradient|epochs|you found it"
        named = re.search(said, reply.text)
        assert reply.kind != "right" and named and "raised" not in reply.text, reply


@each_exercise
def test_what_is_given_to_repair_is_wrong(name, task):
    if task.given:
        assert task.check(defined_by(cleandoc(task.given))).kind == "wrong"


@each_exercise
def test_an_answer_that_raises_is_reported(name, task):
    def broken(*arguments):
        raise ZeroDivisionError("no samples")

    methods = {"__init__": broken, "__len__": broken, "__getitem__": broken}
    reply = task.check(type("Broken", (), methods) if wants_class(task) else broken)
    assert reply.kind == "wrong" and "ZeroDivisionError: no samples" in reply.text
    assert read() == {key(name): {"state": "tried", "tries": 1, "first": "wrong"}}


@pytest.mark.parametrize("path", lessons(), ids=lambda path: path.stem)
def test_with_every_task_solved_a_lesson_says_right_to_each(path):
    name = f"lesson_{path.name[:2]}"
    if name not in QUICK and not FULL:
        pytest.skip("takes long: only with DLHELPERS_FULL=1")
    book = solve(nbformat.read(path, as_version=4), LESSONS[name])
    once = len(book.cells)
    # and each reveal again, at the end, when cells further down may have changed what it looks at
    lines = [line for cell in book.cells for line in cell.source.splitlines()]
    call = re.compile(rf"{name}\.\w+\.reveal\(.*\)")
    book.cells += [new_code_cell(line) for line in lines if call.fullmatch(line)]
    execute(book, path.parent)
    said, again = (
        [text for cell in cells if cell.cell_type == "code" for text in texts(cell)]
        for cells in (book.cells[:once], book.cells[once:])
    )
    assert [text for text in said if text.startswith(("Not yet", "Not so"))] == []
    assert sum(text.startswith("Right") for text in said) == len(LESSONS[name])
    assert again and [text for text in again if not text.startswith(("Right", "Changed"))] == []
