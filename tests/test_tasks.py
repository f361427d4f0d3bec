"""How predictions, questions and exercises answer, and what their replies say."""

import inspect

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
        "lesson_02.e", "Write `add`.", minutes=2, hints=["+"], code="    add = sum", **more
    )


def question():
    choices = [Choice("Yes", "it is not so."), Choice("No", "right so.", right=True)]
    return Question("lesson_02.q", "Is it?", choices, hints=["Think."])


def html(shown):
    return shown._repr_mimebundle_()["text/html"]


def test_hints_come_one_at_a_time_and_the_last_stays():
    task = prediction()
    last = "Up. (the last hint; then `lesson_02.p.solution()`)"
    assert [task.hint().text for _ in range(3)] == ["Count. (hint 1 of 2)", last, last]


def test_a_task_shows_its_solution():
    assert prediction().solution().text == "3. Rounded up."
    assert exercise().solution().text == "add = sum"
    assert question().solution().text == "b) No.\nRight so."


@pytest.mark.parametrize(
    ("guess", "message"),
    [
        (99.6, "the truth"),
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


def test_a_guess_is_repeated_as_it_was_given():
    task = prediction()
    assert task.predict(0.0006).text.startswith("0.0006. Go on")
    assert "you predicted 0.0006." in task.reveal(3).text


def test_a_guess_within_the_distance_is_right_and_one_beyond_it_is_not():
    task = prediction(within=0.5)
    for guess in (3, 3.5, 2.5):
        task.predict(guess)
        reply = task.reveal(3)
        assert reply.kind == "right" and ("near enough" in reply.text) == (guess != 3)
    for guess in (3.51, 0, -3):
        task.predict(guess)
        assert task.reveal(3).kind == "missed"


@pytest.mark.parametrize("guess", [torch.tensor(3), "3"])
def test_a_number_of_any_library_or_typed_in_quotes_is_a_guess(guess):
    task = prediction()
    assert task.predict(guess).kind == "noted"
    assert task.reveal(torch.tensor(3)).text.startswith("3. ")


@pytest.mark.parametrize("guess", ["three", True, torch.ones(2)])
def test_a_guess_that_is_no_number_is_refused_with_the_remedy(guess):
    task = prediction()
    reply = task.predict(guess)
    assert reply.kind == "wrong" and repr(guess) in reply.text and "write digits" in reply.text
    assert task.guess is ...


@pytest.mark.parametrize(
    ("written", "meant"),
    [(" Up ", "up"), (3, "3"), (220, "about 220 %"), ("About 220%", "about 220 %")],
)
def test_a_choice_may_be_written_loosely(written, meant):
    task = prediction(answer=meant, choices=("up", "3", "about 220 %"))
    assert task.predict(written).text.startswith(f"{meant}. Go on")
    assert task.reveal(meant).kind == "right"


def test_a_cell_that_is_run_again_with_its_dots_keeps_the_guess():
    task = prediction()
    task.predict(2)
    assert task.predict(...).kind == "noted"
    assert task.reveal(3).kind == "missed"


uses_widgets = pytest.mark.filterwarnings("ignore:Widget.widgets is deprecated")


def widgets(shown):
    """The parts of a card that a learner can use, by their text."""
    ipywidgets = pytest.importorskip("ipywidgets")
    model = shown._repr_mimebundle_()["application/vnd.jupyter.widget-view+json"]["model_id"]
    parts, todo = {}, [ipywidgets.Widget.widgets[model]]
    while todo:
        one = todo.pop(0)
        todo += getattr(one, "children", ())
        parts.setdefault(getattr(one, "description", "") or type(one).__name__, one)
    return parts


@uses_widgets
def test_a_card_takes_a_number_and_shows_what_was_guessed_and_measured():
    task = prediction()
    card = widgets(task.predict(...))
    for typed in ("two", "", "2.5", "4"):
        card["a number"].value = typed
        card["Predict"].click()
        assert task.guess == {"2.5": 2.5, "4": 4}.get(typed, ...)
    assert "your prediction: 4" in card["HTML"].value
    task.reveal(3)
    assert "measured: 3" in card["HTML"].value


@uses_widgets
def test_a_card_with_choices_and_a_question_are_answered_by_clicks():
    task, asked = prediction("up", choices=("up", "down"), wrong={"down": "known"}), question()
    widgets(task.predict(...))["down"].click()
    assert task.guess == "down"
    card = widgets(asked.check(...))
    card["Answer"].click()
    assert read() == {}, "nothing was chosen"
    card["RadioButtons"].value = "b"
    card["Answer"].click()
    assert [kept["first"] for kept in read().values()] == ["right"]


@pytest.mark.parametrize("guess", [..., 2])
def test_a_result_that_a_later_cell_has_changed_is_neither_praised_nor_explained(guess):
    task = prediction(wrong={2: "a known mistake"})
    task.predict(guess)
    reply = task.reveal(391)
    assert repr(reply).startswith("Changed: it is 391 now, which is not the result to expect.")
    assert "Rounded up" not in reply.text and "known mistake" not in reply.text
    assert "<details" not in html(reply)


def empty(a, b): ...


def passing(a, b):
    """Add."""
    pass


@pytest.mark.parametrize(
    ("answer", "kind"),
    [(empty, "open"), (passing, "open"), (lambda a, b: 0, "wrong"), (7, "wrong")],
)
def test_what_is_not_written_yet_is_open_and_the_rest_is_judged_however_short(answer, kind):
    assert exercise().check(answer).kind == kind and bool(read()) is (kind == "wrong")


def add_backwards(a, b):
    return a - b


def test_code_to_repair_is_open_until_it_is_changed():
    repair = exercise(given=inspect.getsource(add_backwards))
    found = repair.check(add_backwards)
    assert found.kind == "open" and "as you found it" in found.text
    answers = {
        "times": lambda a, b: a * b,  # its line is no Python by itself
    }
    reply = repair.check(answers["times"])
    assert reply.kind == "wrong" and "SyntaxError" not in reply.text
    assert repair.check(lambda a, b: b + a).kind == "right"
    assert "REPAIR" in html(repair)


def endless(a, b):
    while True:
        a += b


def test_code_that_loops_for_ever_is_stopped_and_told_so():
    reply = exercise(seconds=0.2).check(endless)
    assert reply.kind == "wrong" and "does each of its loops come to an end?" in reply.text


def test_code_in_a_message_is_shown_as_code_and_nothing_else_as_html():
    message = "`step()` before `backward()`: <b>, a lone ` stays"
    reply = Reply("wrong", message, prediction())
    shown = html(reply)
    assert repr(reply) == f"Not yet: {message}" and "Not yet</strong>" in shown
    assert "<code>step()</code> before <code>backward()</code>: &lt;b&gt;, a lone ` stays" in shown
    assert "`step()` before" in html(Reply("solution", message, prediction()))
