"""How tasks answer, when two answers are the same, and that progress survives crashes, broken files and full disks."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dlhelpers.course import records as progress
from dlhelpers.course.judges import judge_cases
from dlhelpers.course.replies import Reply, same, show_value
from dlhelpers.course.tasks import Choice, Exercise, Prediction, Question


@pytest.fixture(autouse=True)
def kept_in(tmp_path, monkeypatch):
    path = tmp_path / "kept" / "progress.json"
    monkeypatch.setenv("DLHELPERS_PROGRESS", str(path))
    return path


def prediction(**more):
    return Prediction(
        "lesson_02.p", "How many?", answer=3, because="Rounded up.", hints=["Count.", "Up."], **more
    )


def exercise(**more):
    more = {"cases": [((1, 2), 3), ((2, 2), 4)], **more}
    return Exercise(
        "lesson_02.e", "Write `add`.", minutes=2, hints=["+"], solution="    add = sum", **more
    )


def question():
    choices = [Choice("Yes", "it is not so."), Choice("No", "right so.", right=True)]
    return Question("lesson_02.q", "Is it?", choices, hints=["Think."])


def test_hints_come_one_at_a_time_and_the_last_stays():
    task = prediction()
    last = "Up. (the last hint; then lesson_02.p.solution())"
    assert [task.hint().text for _ in range(3)] == ["Count. (hint 1 of 2)", last, last]


def test_a_task_shows_itself_and_its_solution():
    assert prediction().markdown() == "**Predict.** How many?"
    assert exercise().markdown() == "**Exercise.** Write `add`. (2 minutes)"
    assert question().markdown() == "**Question.** Is it?\n\n* **a** Yes\n* **b** No"
    assert prediction().solution().text == "3. Rounded up."
    assert exercise().solution().text == "add = sum"
    assert question().solution().text == "b) No\nright so."


def test_a_near_guess_does_not_get_the_message_of_its_neighbour():
    task = prediction(wrong={99.6: "the truth", 100: "a hundred"})
    for guess, why in ((100, "a hundred"), (99.6, "the truth"), (99.55, "the truth")):
        task.predict(guess)
        assert why in task.reveal(3).text


def test_a_guess_within_the_distance_is_right_and_one_beyond_it_is_not():
    task = prediction(within=0.5)
    for guess, kind in (
        (3, "right"),
        (3.5, "right"),
        (2.5, "right"),
        (3.51, "missed"),
        (0, "missed"),
        (-3, "missed"),
    ):
        task.predict(guess)
        reply = task.reveal(3)
        assert reply.kind == kind and ("near enough" in reply.text) == (
            kind == "right" and guess != 3
        ), guess


def test_a_choice_may_be_written_loosely():
    task = Prediction(
        "lesson_02.p", "?", answer="up", because="So.", choices=("up", "down"), hints=["?"]
    )
    assert task.predict(" Up ").kind == "noted"
    assert task.reveal("up").kind == "right"


def test_dots_take_a_guess_back():
    task = prediction()
    task.predict(2)
    task.predict(...)
    assert task.reveal(3).kind == "result"


def test_a_guess_among_choices_must_be_one_of_them():
    task = Prediction(
        "lesson_02.p", "?", answer="up", because="So.", choices=("up", "down"), hints=["?"]
    )
    reply = task.predict("sideways")
    assert reply.kind == "wrong" and "'up', 'down'" in reply.text and task.guess is ...


@pytest.mark.parametrize("guess", ["3", True, None, [3], 3 + 0j])
def test_a_guess_that_is_no_number_is_refused_with_the_remedy(guess):
    reply = prediction().predict(guess)
    assert reply.kind == "wrong" and repr(guess) in reply.text and "without quotes" in reply.text


def test_the_first_failing_case_is_shown():
    reply = exercise().check(lambda a, b: 3)
    assert reply.kind == "wrong" and "(2, 2) gives 3, and 4 is expected" in reply.text


def test_a_call_is_shown_as_one_would_type_it():
    problem = judge_cases(lambda samples, batch_size: 0, [((10_000, 32), 313)], [])
    assert problem == "your function(10_000, 32) gives 0, and 313 is expected."


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda a, b: print(a + b), "(1, 2) gave back None: is a `return` missing?"),
        (
            lambda a, b: str(a + b),
            "(1, 2) gives the text '3', and 3 is expected: return it without quotes.",
        ),
        (lambda a, b: a + b + 1e-5, "gives 3.00001, and 3.0 is expected: do not round."),
        (lambda a: a, "(1, 2) raised TypeError"),
        (lambda a, b: a / 0, "(1, 2) raised ZeroDivisionError: division by zero"),
    ],
)
def test_usual_slips_are_named(answer, message):
    reply = exercise(cases=[((1, 2), 3.0), ((2, 2), 4)]).check(answer)
    assert reply.kind == "wrong" and message in reply.text


def empty(a, b): ...


def passing(a, b):
    """Add."""
    pass


@pytest.mark.parametrize("answer", [empty, passing, lambda a, b: None])
def test_what_is_not_written_yet_is_open(answer):
    assert exercise().check(answer).kind == "open"


@pytest.mark.parametrize(
    "answer", [lambda a, b: a, lambda a, b: 7, lambda a, b: 0, lambda a, b: "", max]
)
def test_what_is_written_is_judged_however_short(answer):
    assert exercise().check(answer).kind == "wrong"


def test_any_callable_may_answer_and_anything_else_is_named():
    class Add:
        def __call__(self, a, b):
            return a + b + 1

    assert "is expected" in exercise().check(Add()).text
    assert "gives 4, and 3 is expected" in exercise().check(Add()).text
    assert "pass its name without brackets" in exercise().check(7).text


def test_an_answer_that_changes_its_arguments_does_not_spoil_the_next_try():
    def greedy(values):
        total = sum(values)
        values.clear()
        return total

    task = exercise(cases=[(([1, 2],), 3)])
    assert [task.check(greedy).kind for _ in range(2)] == ["right", "right"]


def test_numbers_of_every_library_count_as_numbers():
    for answer in (np.int64, np.float32, torch.tensor, np.array):
        assert exercise().check(lambda a, b, answer=answer: answer(a + b)).kind == "right", answer


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (1, 1.0, True),
        (0.1 + 0.2, 0.3, True),
        (1, 1.001, False),
        (0, 1e-12, True),
        ("a", "a", True),
        ("1", 1, False),
        ([1, 2], (1, 2), True),
        ([1, 2], [1, 2, 3], False),
        ([1, [2.0]], [1, [2]], True),
        (True, True, True),
        (torch.tensor([1.0, 2.0]), [1, 2], True),
        (torch.tensor(3), 3, True),
        ([torch.tensor(3)], [3], True),
        (np.array([1, 2]), torch.tensor([1, 2]), True),
        (np.array([1, 2]), np.array([1, 3]), False),
        (None, 0, False),
        ({"a": 1}, {"a": 1}, True),
        (float("nan"), 1.0, False),
        (True, 1, False),
        (0, False, False),
    ],
)
def test_when_two_answers_are_the_same(one, other, expected):
    assert same(one, other) is same(other, one) is expected


def test_values_are_shown_short():
    assert [show_value(v) for v in (10_000, 2 / 3, True, "x" * 99)] == [
        "10,000",
        "0.6667",
        "True",
        "x" * 57 + "...",
    ]


def test_a_reply_says_the_same_everywhere_and_escapes_what_a_learner_wrote():
    reply = Reply("wrong", "a < b")
    assert repr(reply) == "Not yet: a < b"
    assert "a &lt; b" in reply._repr_html_() and "Not yet:" in reply._repr_html_()


# ---- progress ----


def test_progress_counts_tries_and_what_is_done_stays_done(kept_in):
    task = question()
    task.check("a")
    assert progress.read() == {"lesson_02.q": {"state": "tried", "tries": 1}}
    task.check("b")
    task.check("a")
    assert progress.read() == {"lesson_02.q": {"state": "done", "tries": 3}}
    assert [path.name for path in kept_in.parent.iterdir()] == ["progress.json"]


def test_a_file_that_cannot_be_read_is_not_overwritten(kept_in, monkeypatch):
    progress.record("lesson_02.q", done=True)
    before = kept_in.read_bytes()

    def refuse(path, **how):
        raise PermissionError("not yours")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_text", refuse)
        progress.record("lesson_02.e", done=True)
        assert progress.read() == {}
    assert kept_in.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"tasks": [1]}', b'{"tasks": {"a": {}}}', b"\xff\xfe", b"null"]
)
def test_a_broken_file_is_set_aside_and_never_overwritten(kept_in, content):
    kept_in.parent.mkdir()
    for number in (1, 2):
        kept_in.write_bytes(content)
        progress.record("lesson_02.q", done=True)
        assert kept_in.with_name(f"progress.json.broken-{number}").read_bytes() == content
        assert progress.read() == {"lesson_02.q": {"state": "done", "tries": 1}}


def test_a_crash_while_writing_leaves_the_old_file(kept_in, monkeypatch):
    progress.record("lesson_02.q", done=True)
    before = kept_in.read_bytes()

    def half(path, text, **how):
        path.open("w").write(text[:5])
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_text", half)
    progress.record("lesson_02.e", done=True)
    assert kept_in.read_bytes() == before and json.loads(before)


def test_a_disk_that_refuses_stops_no_lesson(tmp_path, monkeypatch):
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    monkeypatch.setenv("DLHELPERS_PROGRESS", str(in_the_way / "progress.json"))
    assert question().check("b").kind == "right"
    assert progress.read() == {}


def test_a_broken_file_that_cannot_be_moved_stops_no_lesson_and_stays(kept_in, monkeypatch):
    kept_in.parent.mkdir()
    kept_in.write_text("{")

    def refuse(path, target):
        raise PermissionError("read-only file system")

    monkeypatch.setattr(Path, "replace", refuse)
    assert question().check("b").kind == "right"
    assert kept_in.read_text() == "{"


def test_without_a_variable_progress_is_in_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("DLHELPERS_PROGRESS")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert progress.progress_file() == tmp_path / ".dlhelpers" / "progress.json"


def test_the_table_has_a_row_a_lesson_or_a_row_a_task():
    progress.record("lesson_02.small_loader", done=True)
    progress.record("lesson_02.batch_of", done=False)
    lessons = {row[0]: row[1] for row in progress.progress().rows}
    assert lessons["lesson_02"].startswith("1 of ") and lessons["lesson_00"].startswith("0 of ")
    tasks = {row[0]: row[1:] for row in progress.progress("lesson_02").rows}
    assert tasks["small_loader"] == ["predict", "done", "1"]
    assert tasks["batch_of"] == ["exercise", "tried", "1"]
    assert tasks["never_seen"] == ["question", "open", "0"]


def test_an_unknown_lesson_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="there is no 'lesson_2': expected one of lesson_00, "):
        progress.progress("lesson_2")
