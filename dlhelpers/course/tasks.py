"""Predictions, questions and exercises that answer at once and never raise.

A task holds its prompt, hints, solution and check in one place, and shows itself as a card. A wrong answer that is
known gets the message that names its misconception, because that is what a learner can mend.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from dlhelpers.course.cards import alive, head, marked_up, still, verdict
from dlhelpers.course.judges import NotWritten, is_blank, judge_cases, same, show_value
from dlhelpers.course.records import record

WORDS = {
    "open": "Not answered yet",
    "noted": "Noted",
    "right": "Right",
    "wrong": "Not yet",
    "missed": "Not so",
    "hint": "Hint",
    "solution": "Solution",
    "result": "Result",
    "changed": "Changed",
}


@dataclass(frozen=True)
class Reply:
    """What a task says: its kind in a word, and the message; with `card`, what it asks stands above."""

    kind: str
    text: str
    task: "Task" = field(repr=False, compare=False)
    card: bool = False

    def __repr__(self) -> str:
        said = f"{WORDS[self.kind]}: {self.text}"
        return f"{self.task.words()}\n{said}" if self.card and self.kind == "open" else said

    def html(self) -> str:
        """Return what was said as HTML, without the card around it."""
        if self.kind == "open":
            return f'<div style="margin-top:8px;font-size:90%">{marked_up(self.text)}</div>'
        text = marked_up(self.text)
        if self.kind == "solution":
            text = f"<pre>{escape(self.text)}</pre>"
        said = verdict(WORDS[self.kind], text)
        if self.kind == "result":
            # nobody has predicted: keep the answer folded, also on a page that is only read
            return (
                f"<details><summary>Predict first, then open the result</summary>{said}</details>"
            )
        return said

    def _repr_html_(self) -> str:
        top = head(self.task.kind, self.task.state())
        return still(self.task.kind, top, self.task.asked() if self.card else "", self.html())

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        shown = {"text/plain": repr(self), "text/html": self._repr_html_()}
        return shown | (self.task.live() if self.card else {})


class Task:
    """What predictions, questions and exercises share: a name, a prompt, hints one at a time, a solution, a card."""

    kind = "task"

    def __init__(self, name: str, prompt: str, *, hints: Sequence[str], solution: str):
        self.name, self.prompt = name, inspect.cleandoc(prompt)
        self.hints, self._solution = hints, inspect.cleandoc(solution)
        self._hints_given = self._tries = 0
        self._last: Reply | None = None
        self._redraw: Callable[[], None] = lambda: None  # the card that was shown last

    def hint(self) -> Reply:
        """Return the next hint; after the last one, the last again."""
        number = self._hints_given = min(self._hints_given + 1, len(self.hints))
        where = f"hint {number} of {len(self.hints)}"
        if number == len(self.hints):
            where = f"the last hint; then `{self.name}.solution()`"
        return self._say("hint", f"{self.hints[number - 1]} ({where})")

    def solution(self) -> Reply:
        """Return the solution."""
        return self._say("solution", self._solution)

    def words(self) -> str:
        """Return what the task asks, as text."""
        return f"{self.kind.capitalize()}: {self.prompt}"

    def asked(self) -> str:
        """Return what the task asks, as HTML."""
        return marked_up(self.prompt)

    def state(self) -> str:
        """Return how far the task is, for the corner of its card."""
        return f"{self._tries} {'try' if self._tries == 1 else 'tries'}" if self._tries else "open"

    def controls(self) -> tuple[Callable[[Any], Reply] | None, list[tuple[str, Any]]]:
        """Return what takes an answer from a card, and the (text, value) of each choice; None where code is asked."""
        return None, []

    def live(self) -> dict[str, Any]:
        """Return the card as a widget, in Jupyter's form."""

        def view() -> tuple[str, str]:
            return self.state(), (self._last or self._open()).html()

        answer, choices = self.controls()
        prompt = marked_up(self.prompt)
        bundle, self._redraw = alive(self.kind, prompt, view, answer, choices, self.hint)
        return bundle

    def __repr__(self) -> str:
        return repr(self._open())

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        return self._open()._repr_mimebundle_()

    def _how(self) -> str:
        return "put your answer in place of the dots and run this cell again"

    def _open(self) -> Reply:
        return Reply("open", f"{self._how()}. Stuck? `{self.name}.hint()`", self, card=True)

    def _say(self, kind: str, text: str, card: bool = False) -> Reply:
        """Reply, and keep it for the card."""
        self._last = Reply(kind, text, self, card)
        self._redraw()
        return self._last

    def _judged(self, right: bool, text: str, known: Iterable[str], card: bool = False) -> Reply:
        """Reply to an answer with a text, one of the `known` mistakes' where it was one, and count the try."""
        self._tries += 1
        record(self.name, done=right, first="right" if right else _numbered(text, known))
        return self._say("right" if right else "wrong", text, card)


class Prediction(Task):
    """A guess made before a result: `predict(guess)` notes it, `reveal(result)` holds it against what was measured.

    answer   what the result will be: a number or one of `choices`; a guess `within` that distance counts as right
    wrong    the message for each known wrong guess
    because  the reason in a sentence, given with every result
    """

    kind = "predict"

    def __init__(
        self,
        name: str,
        prompt: str,
        *,
        answer: float | str,
        because: str,
        wrong: Mapping[Any, str],
        choices: Sequence[str] = (),
        within: float = 1e-9,
        hints: Sequence[str],
    ):
        super().__init__(name, prompt, hints=hints, solution=f"{answer}. {because}")
        self.answer, self.because, self.wrong = answer, because, wrong
        self.choices, self.within = choices, within
        self.guess: Any = ...
        self._measured = ""

    def controls(self) -> tuple[Callable[[Any], Reply], list[tuple[str, Any]]]:
        """Return `predict`, and its choices; a number is typed into a field, and comes as text."""
        if self.choices:
            return self.predict, [(choice, choice) for choice in self.choices]
        return lambda typed: self.predict(_number(typed)), []

    def state(self) -> str:
        """Return what was measured, or what was guessed, or "open"."""
        if self._measured:
            return f"measured: {self._measured}"
        return "open" if self.guess is ... else f"your prediction: {self._guessed()}"

    def predict(self, guess: float | str) -> Reply:
        """Note a guess; dots show the card, and keep an earlier guess."""
        if guess is ...:
            return self._open() if self.guess is ... else self._noted()
        guess = _plain(guess)
        if self.choices:
            said = str(guess).strip().lower()
            if said not in self.choices:
                there = ", ".join(map(repr, self.choices))
                return self._say("wrong", f"{guess!r} is not among the answers: {there}.", True)
            guess = said
        elif type(guess) not in (int, float):
            text = f"{guess!r} is no number: write digits without quotes, as 12 or 0.5."
            return self._say("wrong", text, True)
        self.guess, self._measured = guess, ""
        return self._noted()

    def _noted(self) -> Reply:
        return self._say("noted", f"{self.guess}. Go on: a cell below has the result.", True)

    def _how(self) -> str:
        return "put your prediction in place of the dots and run this cell again"

    def reveal(self, result: float | str) -> Reply:
        """Hold the guess against `result`, which a cell has measured."""
        result = _plain(result)
        shown = self._measured = show_value(result)
        known = None if self.guess is ... else self._known_mistake()
        if self.guess is not ...:
            # done: a prediction is made to be tested, not to be right
            first = "right" if self._near(self.guess, self.answer) else _numbered(known, self.wrong)
            record(self.name, done=True, first=first)
        if not self._near(result, self.answer):
            # the reason and the known wrong guesses belong to the answer, not to this result
            return self._say(
                "changed",
                f"it is {shown} now, which is not the result to expect. A cell further down has changed what this one"
                " measures, or this machine is an uncommon one: run the lesson again from its first cell to this one.",
            )
        if self.guess is ...:
            return self._say("result", f"{shown}. {self.because}")
        guess = self._guessed()
        if self._near(self.guess, result):
            near = "" if same(self.guess, result) else f", and your {guess} is near enough"
            return self._say("right", f"{shown}{near}. {self.because}")
        why = self.wrong.get(known, "")
        said = [f"it is {shown}, and you predicted {guess}.", why, self.because]
        return self._say("missed", " ".join(filter(None, said)))

    def _guessed(self) -> str:
        # as given: rounded, it would be a different number
        return self.guess if self.choices else f"{self.guess:,}"

    def _near(self, guess: float | str, result: float | str) -> bool:
        if self.choices or isinstance(result, str):
            return guess == result
        return guess == result or abs(guess - result) <= self.within

    def _known_mistake(self) -> Any:
        """The known wrong guess that was made, or the nearest one if that is the same number, rounded; else None."""
        if self.choices:
            return self.guess
        nearest = min(self.wrong, key=lambda known: abs(known - self.guess))
        rounded = min(0.01 * abs(nearest), 0.49)
        return nearest if abs(nearest - self.guess) <= rounded else None


def _numbered(mistake: Any, known: Iterable) -> str:
    """What is kept of a wrong first try: which of the known mistakes it was, by number, and no answer."""
    known = list(known)
    return f"known mistake {known.index(mistake) + 1}" if mistake in known else "wrong"


def _number(typed: str) -> Any:
    """What was typed into a field as a number; the text itself where it is none, dots where it is empty."""
    for kind in (int, float):
        try:
            return kind(typed)
        except ValueError:
            pass
    return typed.strip() or ...


def _plain(value: Any) -> Any:
    """A number of NumPy, or a tensor that holds one, as Python's own; anything else as it is."""
    return value.item() if getattr(value, "shape", None) == () else value


@dataclass(frozen=True)
class Choice:
    """One answer of a question: its text, and the reason why it is right or wrong."""

    text: str
    why: str
    right: bool = False


class Question(Task):
    """A question with lettered answers; each answer, right or wrong, has its explanation."""

    kind = "question"

    def __init__(self, name: str, prompt: str, choices: Sequence[Choice], *, hints: Sequence[str]):
        self.choices = dict(zip("abcdefgh", choices, strict=False))
        [right] = [letter for letter, choice in self.choices.items() if choice.right]
        super().__init__(name, prompt, hints=hints, solution=self._explained(right))

    def check(self, letter: str) -> Reply:
        """Say whether the lettered answer is right, and why."""
        if letter is ... or letter is None:
            return self._open()
        given = str(letter).strip().lower()
        if given not in self.choices:
            there = ", ".join(self.choices)
            text = f"{letter!r} is not among the answers: write one of {there} in quotes."
            return self._say("wrong", text, True)
        known = map(self._explained, self.choices)
        return self._judged(self.choices[given].right, self._explained(given), known, card=True)

    def controls(self) -> tuple[Callable[[Any], Reply], list[tuple[str, Any]]]:
        """Return `check`, and the answers with their letters."""
        return self.check, [(f"{k}) {choice.text}", k) for k, choice in self.choices.items()]

    def _how(self) -> str:
        return 'put your letter, in quotes as "a", in place of the dots and run this cell again'

    def _explained(self, letter: str) -> str:
        choice = self.choices[letter]
        return f"{letter}) {choice.text}.\n{choice.why[0].upper()}{choice.why[1:]}"

    def words(self) -> str:
        """Return the question with its answers, as text."""
        return "\n".join([super().words(), *(text for text, _ in self.controls()[1])])

    def asked(self) -> str:
        """Return the question with its answers, as HTML."""
        return marked_up("\n".join([self.prompt, *(text for text, _ in self.controls()[1])]))


class Exercise(Task):
    """A small piece of code to write, judged on cases.

    cases  arguments and the result that is expected of the learner's function
    wrong  functions that are known mistakes, each with its message: who answers as they do is told so
    judge  instead of cases: takes the answer, returns None where it is right, else what is wrong
    """

    kind = "exercise"

    def __init__(
        self,
        name: str,
        prompt: str,
        *,
        minutes: int,
        hints: Sequence[str],
        solution: str,
        cases: Sequence[tuple[tuple, Any]] = (),
        wrong: Sequence[tuple[Any, str]] = (),
        judge: Callable[[Any], str | None] | None = None,
        praise: str = "every case holds.",
    ):
        super().__init__(name, prompt, hints=hints, solution=solution)
        self.minutes, self.praise, self.wrong = minutes, praise, wrong
        self.judge = judge or (lambda function: judge_cases(function, cases, wrong))

    def check(self, answer: Any) -> Reply:
        """Judge an answer; an empty one is open, and whatever it raises is reported, not raised."""
        if answer is ... or answer is None:
            return self._waits("your answer")
        if not callable(answer):
            text = f"{answer!r} cannot be called: pass a name without brackets."
            return self._say("wrong", text)
        try:
            if is_blank(answer):
                raise NotWritten
            problem = self.judge(answer)
        except NotWritten:
            return self._waits("your code")
        except Exception as error:  # a learner's code may fail in any way
            problem = f"your code raised {type(error).__name__}: {error}"
        said = self.praise if problem is None else problem
        return self._judged(problem is None, said, [message for _, message in self.wrong])

    def state(self) -> str:
        """Return the tries, or before the first the minutes that it takes."""
        return super().state() if self._tries else f"{self.minutes} minutes"

    def _how(self) -> str:
        return "write your code in place of the dots in the next cell and run it"

    def _waits(self, what: str) -> Reply:
        how = f"put {what} in place of the dots and run this cell again"
        return Reply("open", f"{how}. Stuck? `{self.name}.hint()`", self)
