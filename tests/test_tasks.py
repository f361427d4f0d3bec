"""How predictions, questions and exercises answer, and what their replies say."""

import numpy as np
import pytest
import torch

from dlhelpers.course.records import read
from dlhelpers.course.tasks import Choice, Exercise, Prediction, Question, Reply


@pytest.fixture(autouse=True)
def own_progress(tmp_path, monkeypatch):
    monkeypatch.setenv("DLHELPERS_PROGRESS", str(tmp_path / "progress.json"))


def prediction(answer=3, **more):
    more = {"wrong": {77: "a known mistake"}, "hints": ["Count.", "Up."], **more}
    return Prediction("lesson_02.p", "How many?", answer=answer, because="Rounded up.", **more)


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
    assert question().solution().text == "b) No.\nRight so."


@pytest.mark.parametrize(
    ("guess", "message"),
    [
        (99.6, "the truth"),
        (99.9, "a hundred"),
        (101, ""),
        (390, "rounded down"),
        (390.4, "a part"),
        (392, ""),
    ],
)
def test_only_a_known_guess_or_its_rounding_gets_the_message_for_it(guess, message):
    known = {99.6: "the truth", 100: "a hundred", 390: "rounded down", 390.625: "a part"}
    task = prediction(wrong=known)
    task.predict(guess)
    said = task.reveal(3).text
    assert [text for text in known.values() if text in said] == ([message] if message else [])


@pytest.mark.parametrize("guess", ["4.86", "0.0006"])
def test_a_guess_is_repeated_as_it_was_given(guess):
    task = prediction()
    assert task.predict(float(guess)).text.startswith(f"{guess}. Go on")
    assert f"you predicted {float(guess):,}." in task.reveal(3).text


def test_a_guess_within_the_distance_is_right_and_one_beyond_it_is_not():
    task = prediction(within=0.5)
    for guess in (3, 3.5, 2.5):
        task.predict(guess)
        reply = task.reveal(3)
        assert reply.kind == "right" and ("near enough" in reply.text) == (guess != 3)
    for guess in (3.51, 0, -3):
        task.predict(guess)
        assert task.reveal(3).kind == "missed"


@pytest.mark.parametrize("guess", [np.int64(3), torch.tensor(3)])
def test_a_number_of_any_library_is_a_guess(guess):
    task = prediction()
    assert task.predict(guess).kind == "noted"
    assert task.reveal(torch.tensor(3)).text.startswith("3. ")


@pytest.mark.parametrize("guess", ["3", True, None, torch.ones(2)])
def test_a_guess_that_is_no_number_is_refused_with_the_remedy(guess):
    task = prediction()
    reply = task.predict(guess)
    assert reply.kind == "wrong" and repr(guess) in reply.text and "without quotes" in reply.text
    assert task.guess is ...


@pytest.mark.parametrize(
    ("written", "meant"),
    [(" Up ", "up"), ("an error", "an error"), (3, "3")],
)
def test_a_choice_may_be_written_loosely(written, meant):
    task = prediction(answer=meant, choices=("up", "an error", "3"))
    assert task.predict(written).text.startswith(f"{meant}. Go on")
    assert task.reveal(meant).kind == "right"


@pytest.mark.parametrize("guess", [..., 2, 391])
def test_a_result_that_a_later_cell_has_changed_is_neither_praised_nor_explained(guess):
    task = prediction(wrong={2: "a known mistake"})
    task.predict(guess)
    reply = task.reveal(391)
    assert repr(reply).startswith("Changed: it is 391 now, which is not the result to expect.")
    assert "Rounded up" not in reply.text and "known mistake" not in reply.text
    assert "<details" not in reply._repr_html_()


def empty(a, b): ...


def passing(a, b):
    """Add."""
    pass


@pytest.mark.parametrize("answer", [empty, passing])
def test_what_is_not_written_yet_is_open(answer):
    assert exercise().check(answer).kind == "open" and read() == {}


@pytest.mark.parametrize("answer", [lambda a, b: a, lambda a, b: 0, max, 7])
def test_what_is_written_is_judged_however_short(answer):
    assert exercise().check(answer).kind == "wrong"


def test_a_reply_says_the_same_everywhere_and_escapes_what_a_learner_wrote():
    reply = Reply("wrong", "a < b")
    assert repr(reply) == "Not yet: a < b"
    assert "a &lt; b" in reply._repr_html_() and "Not yet:" in reply._repr_html_()


def test_code_in_a_message_is_shown_as_code_and_nothing_else_as_html():
    message = "`step()` before `backward()`: <b>, a lone ` stays"
    shown = Reply("hint", message)._repr_html_()
    assert "<code>step()</code> before <code>backward()</code>: &lt;b&gt;, a lone ` stays" in shown
    assert "`step()` before" in Reply("solution", message)._repr_html_()
