"""Predictions, questions and exercises that answer at once and never raise.

A task holds its prompt, hints, solution and check in one place; a lesson's text is generated from it. A wrong answer
that is known gets the message that names its misconception, because that is what a learner can mend.
"""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

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
COLOURS = {"right": "#009E73", "wrong": "#D55E00", "missed": "#D55E00"}


@dataclass(frozen=True)
class Reply:
    """What a task says back: its kind in a word, and the message; the same text in a notebook and on a terminal."""

    kind: str
    text: str

    def __repr__(self) -> str:
        return f"{WORDS[self.kind]}: {self.text}"

    def _repr_html_(self) -> str:
        colour = COLOURS.get(self.kind, "#0072B2")
        style = f"border-left:4px solid {colour};padding-left:0.8em;white-space:pre-wrap"
        word, text = f"<strong>{WORDS[self.kind]}:</strong>", escape(self.text)
        if self.kind == "solution":
            return f'<div style="{style}">{word} <pre>{text}</pre></div>'
        text = re.sub("`([^`\n]+)`", r"<code>\1</code>", text)
        if self.kind == "result":
            # nobody has predicted: keep the answer folded, also on a page that is only read
            summary = "<summary>Predict first, then open the result</summary>"
            return f'<details style="{style}">{summary}{word} {text}</details>'
        return f'<div style="{style}">{word} <span>{text}</span></div>'


class Task:
    """What predictions, questions and exercises share: a name, a prompt, hints one at a time, a solution."""

    kind = "task"

    def __init__(self, name: str, prompt: str, *, hints: Sequence[str], solution: str):
        self.name, self.prompt = name, inspect.cleandoc(prompt)
        self.hints, self._solution = hints, inspect.cleandoc(solution)
        self._hints_given = 0

    def hint(self) -> Reply:
        """Return the next hint; after the last one, the last again."""
        number = self._hints_given = min(self._hints_given + 1, len(self.hints))
        where = f"hint {number} of {len(self.hints)}"
        if number == len(self.hints):
            where = f"the last hint; then {self.name}.solution()"
        return Reply("hint", f"{self.hints[number - 1]} ({where})")

    def solution(self) -> Reply:
        """Return the solution."""
        return Reply("solution", self._solution)

    def markdown(self) -> str:
        """Return the task as a lesson shows it."""
        return f"**{self.kind.capitalize()}.** {self.prompt}"

    def _open(self, what: str) -> Reply:
        how = f"put {what} in place of the dots and run this cell again"
        return Reply("open", f"{how}. Stuck? {self.name}.hint()")

    def _judged(self, right: bool, text: str) -> Reply:
        record(self.name, done=right)
        return Reply("right" if right else "wrong", text)


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

    def predict(self, guess: float | str) -> Reply:
        """Note a guess; dots leave the prediction open."""
        self.guess = ...
        if guess is ...:
            return self._open("your prediction")
        guess = _plain(guess)
        if self.choices:
            said = str(guess).strip().lower()
            if said not in self.choices:
                there = ", ".join(map(repr, self.choices))
                return Reply("wrong", f"{guess!r} is not among the answers: {there}.")
            guess = said
        elif type(guess) not in (int, float):
            text = f"{guess!r} is no number: write digits without quotes, as 12 or 0.5."
            return Reply("wrong", text)
        self.guess = guess
        return Reply("noted", f"{guess}. Go on: a cell below has the result.")

    def reveal(self, result: float | str) -> Reply:
        """Hold the guess against `result`, which a cell has measured."""
        result = _plain(result)
        shown = show_value(result)
        if self.guess is not ...:
            record(self.name, done=True)  # a prediction is made to be tested, not to be right
        if not self._near(result, self.answer):
            # the reason and the known wrong guesses belong to the answer, not to this result
            return Reply(
                "changed",
                f"it is {shown} now, which is not the result to expect. A cell further down has changed what this one"
                " measures, or this machine is an uncommon one: run the lesson again from its first cell to this one.",
            )
        if self.guess is ...:
            return Reply("result", f"{shown}. {self.because}")
        # as given: rounded, it would be a different number
        guess = self.guess if self.choices else f"{self.guess:,}"
        if self._near(self.guess, result):
            near = "" if same(self.guess, result) else f", and your {guess} is near enough"
            return Reply("right", f"{shown}{near}. {self.because}")
        said = [f"it is {shown}, and you predicted {guess}.", self._known_mistake(), self.because]
        return Reply("missed", " ".join(filter(None, said)))

    def _near(self, guess: float | str, result: float | str) -> bool:
        if self.choices or isinstance(result, str):
            return guess == result
        return guess == result or abs(guess - result) <= self.within

    def _known_mistake(self) -> str:
        """The message for the guess, or for the nearest known one if that is the same number, rounded."""
        if self.choices:
            return self.wrong.get(self.guess, "")
        nearest = min(self.wrong, key=lambda known: abs(known - self.guess))
        rounded = min(0.01 * abs(nearest), 0.49)
        return self.wrong[nearest] if abs(nearest - self.guess) <= rounded else ""


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
            return self._open('your letter, in quotes as "a",')
        given = str(letter).strip().lower()
        if given not in self.choices:
            there = ", ".join(self.choices)
            text = f"{letter!r} is not among the answers: write one of {there} in quotes."
            return Reply("wrong", text)
        return self._judged(self.choices[given].right, self._explained(given))

    def _explained(self, letter: str) -> str:
        choice = self.choices[letter]
        return f"{letter}) {choice.text}.\n{choice.why[0].upper()}{choice.why[1:]}"

    def markdown(self) -> str:
        """Return the question with its answers as a list."""
        answers = [f"* **{letter}** {choice.text}" for letter, choice in self.choices.items()]
        return "\n".join([super().markdown(), "", *answers])


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
            return self._open("your answer")
        if not callable(answer):
            return Reply("wrong", f"{answer!r} cannot be called: pass a name without brackets.")
        try:
            if is_blank(answer):
                raise NotWritten
            problem = self.judge(answer)
        except NotWritten:
            return self._open("your code")
        except Exception as error:  # a learner's code may fail in any way
            problem = f"your code raised {type(error).__name__}: {error}"
        return self._judged(problem is None, self.praise if problem is None else problem)

    def markdown(self) -> str:
        """Return the exercise with the time it takes."""
        return f"{super().markdown()} ({self.minutes} minutes)"
