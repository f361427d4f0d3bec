"""Predictions, questions and exercises that answer at once and never raise.

A task holds its prompt, hints, solution and check in one place; a lesson's text is generated from it. A wrong answer
that is known gets the message that names its misconception, because that is what a learner can mend.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlhelpers.course.judges import NotWritten, judge_cases
from dlhelpers.course.records import record
from dlhelpers.course.replies import Reply, same, show_value


class Task:
    """What predictions, questions and exercises share: a name, a prompt, hints one at a time, a solution."""

    kind = "task"

    def __init__(self, name: str, prompt: str, *, hints: Sequence[str], solution: str):
        self.name, self.prompt, self.hints, self._solution = (
            name,
            inspect.cleandoc(prompt),
            list(hints),
            solution,
        )
        self._hints_given = 0

    def hint(self) -> Reply:
        """Return the next hint; after the last one, the last again."""
        k = min(self._hints_given, len(self.hints) - 1)
        self._hints_given += 1
        last = k == len(self.hints) - 1
        more = (
            f" (the last hint; then {self.name}.solution())"
            if last
            else f" (hint {k + 1} of {len(self.hints)})"
        )
        return Reply("hint", self.hints[k] + more)

    def solution(self) -> Reply:
        """Return the solution."""
        return Reply("solution", inspect.cleandoc(self._solution))

    def markdown(self) -> str:
        """Return the task as a lesson shows it."""
        return f"**{self.kind.capitalize()}.** {self.prompt}"

    def _open(self, what: str) -> Reply:
        return Reply(
            "open",
            f"put {what} in place of the dots and run this cell again. Stuck? {self.name}.hint()",
        )

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
        wrong: Mapping[Any, str] | None = None,
        choices: Sequence[str] = (),
        within: float = 1e-9,
        hints: Sequence[str],
    ):
        super().__init__(name, prompt, hints=hints, solution=f"{answer}. {because}")
        self.answer, self.because, self.wrong = answer, because, dict(wrong or {})
        self.choices, self.within = list(choices), within
        self.guess: Any = ...

    def predict(self, guess: float | str) -> Reply:
        """Note a guess; dots leave the prediction open."""
        if guess is ...:
            self.guess = ...
            return self._open("your prediction")
        self.guess = ...
        if self.choices:
            guess = next(
                (choice for choice in self.choices if choice == str(guess).strip().lower()), guess
            )
        if self.choices and guess not in self.choices:
            return Reply(
                "wrong",
                f"{guess!r} is not among the answers: {', '.join(map(repr, self.choices))}.",
            )
        if not self.choices and (isinstance(guess, bool) or not isinstance(guess, (int, float))):
            return Reply(
                "wrong", f"{guess!r} is no number: write digits without quotes, as 12 or 0.5."
            )
        self.guess = guess
        return Reply("noted", f"{guess}. Go on: a cell below has the result.")

    def _near(self, guess: float | str, result: float | str) -> bool:
        return guess == result or (not self.choices and abs(guess - result) <= self.within)

    def reveal(self, result: float | str) -> Reply:
        """Hold the guess against `result`, which a cell has measured."""
        if self.guess is ...:
            return Reply("result", f"{show_value(result)}. {self.because}")
        record(self.name, done=True)  # a prediction is made to be tested, not to be right
        if self._near(self.guess, result):
            near = (
                ""
                if same(self.guess, result)
                else f", and your {show_value(self.guess)} is near enough"
            )
            return Reply("right", f"{show_value(result)}{near}. {self.because}")
        exact_first = sorted(
            self.wrong, key=lambda guess: guess != self.guess
        )  # or a near one would speak for it
        known = next(
            (self.wrong[guess] for guess in exact_first if same(self.guess, guess, 0.01)), ""
        )
        text = f"it is {show_value(result)}, and you predicted {show_value(self.guess)}."
        if self._near(
            self.guess, self.answer
        ):  # a cell that was run again after later ones, or an uncommon machine
            known = (
                "That was the result to expect. If a cell further down has changed what this one measures, run the"
                " lesson again from its first cell."
            )
        return Reply("missed", " ".join(filter(None, [text, known, self.because])))


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
        letter, right = next(
            (letter, choice) for letter, choice in self.choices.items() if choice.right
        )
        super().__init__(name, prompt, hints=hints, solution=f"{letter}) {right.text}\n{right.why}")

    def check(self, letter: str) -> Reply:
        """Say whether the lettered answer is right, and why."""
        if letter is ... or letter is None:
            return self._open('your letter, in quotes as "a",')
        choice = self.choices.get(str(letter).strip().lower())
        if choice is None:
            return Reply(
                "wrong",
                f"{letter!r} is not among the answers: write one of {', '.join(self.choices)} in quotes.",
            )
        return self._judged(choice.right, f"{choice.text}: {choice.why}")

    def markdown(self) -> str:
        """Return the question with its answers as a list."""
        answers = "\n".join(
            f"* **{letter}** {choice.text}" for letter, choice in self.choices.items()
        )
        return f"{super().markdown()}\n\n{answers}"


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
        self.minutes, self.cases, self.wrong, self.praise = (
            minutes,
            list(cases),
            list(wrong),
            praise,
        )
        self.judge = judge or (lambda function: judge_cases(function, self.cases, self.wrong))

    def check(self, answer: Any) -> Reply:
        """Judge an answer; an empty one is open, and whatever it raises is reported, not raised."""
        if answer is ... or answer is None:
            return self._open("your answer")
        try:
            problem = self.judge(answer)
        except NotWritten:
            return self._open("your code")
        except Exception as error:  # a learner's code may fail in any way
            problem = f"your code raised {type(error).__name__}: {error}"
        return self._judged(problem is None, self.praise if problem is None else problem)

    def markdown(self) -> str:
        """Return the exercise with the time it takes."""
        return f"{super().markdown()} ({self.minutes} minutes)"
