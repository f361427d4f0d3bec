"""Predictions, questions and exercises that answer at once and never raise.

A task holds its prompt, hints, solution and check in one place, and shows itself as a card. A wrong answer that is
known gets the message that names its misconception, because that is what a learner can mend.
"""

import re
from ast import literal_eval
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from html import escape
from inspect import cleandoc
from typing import Any

from dlhelpers.course.cards import alive, head, marked_up, still, verdict
from dlhelpers.course.judges import (
    NotWritten,
    is_blank,
    is_given,
    judge_cases,
    show_value,
    stopped_after,
)
from dlhelpers.course.records import record

WORDS = {"open": "Not answered yet", "wrong": "Not yet", "missed": "Not so"}  # else the kind itself


@dataclass(frozen=True)
class Reply:
    """What a task says: its kind in a word, and the message; with `card`, what it asks stands above."""

    kind: str
    text: str
    task: "Task"
    card: bool = False

    @property
    def word(self) -> str:
        """The kind as a learner reads it."""
        return WORDS.get(self.kind, self.kind.capitalize())

    def __repr__(self) -> str:
        said = f"{self.word}: {self.text}"
        if self.card and self.kind == "open":
            return f"{self.task.kind.capitalize()}: {self.task.words()}\n{said}"
        return said

    def html(self) -> str:
        """Return what was said as HTML, without the card around it."""
        if self.kind == "open":
            how = marked_up(self.text[0].upper() + self.text[1:])
            return f'<div style="margin-top:8px;font-size:90%">{how}</div>'
        text = marked_up(self.text)
        if self.kind == "solution":
            text = f"<pre>{escape(self.text)}</pre>"
        said = verdict(self.word, text)
        if self.kind == "result":
            # nobody has predicted: keep the answer folded, also on a page that is only read
            summary = "<summary>Predict first, then open the result</summary>"
            return f"<details>{summary}{said}</details>"
        return said

    def _repr_mimebundle_(self, **options: object) -> dict[str, Any]:
        task = self.task
        asked = marked_up(task.words()) if self.card else ""
        html = still(task.kind, head(task.kind, task.state()) + asked + self.html())
        shown = {"text/plain": repr(self), "text/html": html}
        return shown | alive(task) if self.card else shown


@dataclass(eq=False, repr=False)
class Task:
    """What predictions, questions and exercises share: a name, a prompt, hints one at a time, a solution, a card."""

    name: str
    prompt: str
    _: KW_ONLY
    hints: Sequence[str]

    kind = how = ""  # of task; to answer it
    _hints_given = _tries = 0

    def __post_init__(self) -> None:
        self.prompt = cleandoc(self.prompt).replace("\n", " ")
        self.last = self._open()
        self.redraw: Callable[[], None] = lambda: None  # the card that was shown last

    def hint(self) -> Reply:
        """Return the next hint; after the last one, the last again."""
        number = self._hints_given = min(self._hints_given + 1, len(self.hints))
        where = f"hint {number} of {len(self.hints)}"
        if number == len(self.hints):
            where = f"the last hint; then `{self.name}.solution()`"
        return self._say("hint", f"{self.hints[number - 1]} ({where})")

    def words(self) -> str:
        """Return what the task asks."""
        return self.prompt

    def state(self) -> str:
        """Return how far the task is, for the corner of its card."""
        return f"{self._tries} {'try' if self._tries == 1 else 'tries'}" if self._tries else "open"

    def __repr__(self) -> str:
        return repr(self._open())

    def _repr_mimebundle_(self, **options: object) -> dict[str, Any]:
        return self._open()._repr_mimebundle_()

    def _open(self) -> Reply:
        return Reply("open", f"{self.how}. Stuck? `{self.name}.hint()`", self, card=True)

    def _say(self, kind: str, text: str, card: bool = False) -> Reply:
        """Reply; the card shows what was said of it and its hints, and a reply to a cell below stands there."""
        said = Reply(kind, text, self, card)
        if card or kind in ("hint", "solution"):
            self.last = said
        self.redraw()
        return said

    def _judged(self, right: bool, text: str, known: Iterable[str], card: bool = False) -> Reply:
        """Reply to an answer with a text, one of the `known` mistakes' where it was one, and count the try."""
        self._tries += 1
        record(self.name, done=right, first="right" if right else _numbered(text, known))
        return self._say("right" if right else "wrong", text, card)


@dataclass(eq=False, repr=False, kw_only=True)
class Prediction(Task):
    """A guess made before a result: `predict(guess)` notes it, `reveal(result)` holds it against what was measured.

    belief   the false belief that it tests, and where one meets that; no learner sees it
    answer   what the result will be: a number or one of `choices`; a guess `within` that distance counts as right
    wrong    the message for each known wrong guess
    because  the reason in a sentence, given with every result
    """

    answer: float | str
    because: str
    wrong: Mapping[Any, str]
    belief: str = ""
    choices: Sequence[str] = ()
    within: float = 1e-9

    kind = "predict"
    how = "replace the dots with your prediction and run this cell again"
    guess, _measured = ..., ""

    def solution(self) -> Reply:
        """Return the answer, with the reason."""
        return self._say("solution", f"{self.answer}. {self.because}")

    def state(self) -> str:
        """Return what was measured, or what was guessed, or "open"."""
        if self._measured:
            return f"measured: {self._measured}"
        return "open" if self.guess is ... else f"your prediction: {self.guess}"

    def predict(self, guess: float | str) -> Reply:
        """Note a guess; dots show the card, and keep an earlier guess."""
        if guess is ...:
            return self._open() if self.guess is ... else self._noted()
        given, problem = _plain(guess), ""
        if self.choices:
            said = _bare(given)
            given = next((c for c in self.choices if said == _bare(c)), None)
            if given is None:
                problem = f"is not among the answers: {', '.join(map(repr, self.choices))}"
        else:
            try:
                given = literal_eval(given)  # typed into a card, it is text
            except (ValueError, SyntaxError):
                pass
            if type(given) not in (int, float):
                problem = "is no number: write digits, as 12 or 0.5"
        if problem:
            return self._say("wrong", f"{guess!r} {problem}.", True)
        self.guess, self._measured = given, ""
        return self._noted()

    def _noted(self) -> Reply:
        return self._say("noted", f"{self.guess}. Go on: a cell below has the result.", True)

    def reveal(self, result: float | str) -> Reply:
        """Hold the guess against `result`, which a cell has measured."""
        result = _plain(result)
        shown = show_value(result)
        if self.guess is not ...:
            self._measured = shown  # before a guess the card keeps it to itself
            # done: a prediction is made to be tested, not to be right
            known = self._known_mistake()
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
        if self._near(self.guess, result):
            near = "" if self.guess == result else f", and your {self.guess} is near enough"
            return self._say("right", f"{shown}{near}. {self.because}")
        why = self.wrong.get(known, "")
        mark = '"' if self.choices else ""
        said = [f"it is {mark}{shown}{mark}, and you predicted {mark}{self.guess}{mark}.", why]
        said.append(self.because)
        return self._say("missed", " ".join(filter(None, said)))

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


def _bare(choice: Any) -> str:
    """A choice without what nobody means to choose by: "About 220%" and 220 are "about 220 %"."""
    return re.sub(r"^(an|about) |[ %]", "", str(choice).strip().lower())


def _plain(value: Any) -> Any:
    """A number of NumPy, or a tensor that holds one, as Python's own; anything else as it is."""
    return value.item() if getattr(value, "shape", None) == () else value


@dataclass(frozen=True)
class Choice:
    """One answer of a question: its text, and the reason why it is right or wrong."""

    text: str
    why: str
    right: bool = False


@dataclass(eq=False, repr=False)
class Question(Task):
    """A question with lettered answers; each answer, right or wrong, has its explanation."""

    choices: Sequence[Choice]

    kind = "question"
    how = 'replace the dots with your letter in quotes, like "a", and run this cell again'

    def __post_init__(self) -> None:
        super().__post_init__()
        self.lettered = dict(zip("abcdefgh", self.choices, strict=False))

    def solution(self) -> Reply:
        """Return the right answer, with the reason."""
        [right] = [letter for letter, choice in self.lettered.items() if choice.right]
        return self._say("solution", self._explained(right))

    def check(self, letter: str) -> Reply:
        """Say whether the lettered answer is right, and why."""
        if letter is ... or letter is None:
            return self._open()
        given = str(letter).strip().lower()
        if given not in self.lettered:
            there = ", ".join(self.lettered)
            text = f"{letter!r} is not among the answers: write one of {there} in quotes."
            return self._say("wrong", text, True)
        known = map(self._explained, self.lettered)
        return self._judged(self.lettered[given].right, self._explained(given), known, card=True)

    def label(self, letter: str) -> str:
        """Return an answer with its letter."""
        return f"{letter}) {self.lettered[letter].text}"

    def words(self) -> str:
        """Return the question with its answers."""
        return "\n".join([self.prompt, *map(self.label, self.lettered)])

    def _explained(self, letter: str) -> str:
        why = self.lettered[letter].why
        return f"{self.label(letter)}.\n{why[0].upper()}{why[1:]}"


@dataclass(eq=False, repr=False, kw_only=True)
class Exercise(Task):
    """A small piece of code to write, judged on cases.

    code   a solution
    given  code that runs and is wrong, which the learner finds in the cell and repairs; else there are dots
    cases  arguments and the result that is expected of the learner's function
    wrong  functions that are known mistakes, each with its message: who answers as they do is told so
    judge  instead of cases: takes the answer, returns None where it is right, else what is wrong; what it says of a
           known mistake, of those in `wrong`, is counted in the table of a class
    seconds  after which an answer is stopped
    where    how to answer, where the code stands in a cell further up
    """

    minutes: int
    code: str
    given: str = ""
    cases: Sequence[tuple[tuple, Any]] = ()
    wrong: Sequence[tuple[Callable, str]] = ()
    judge: Callable[[Any], str | None] | None = None
    praise: str = "every case holds."
    seconds: float = 20
    where: str = ""

    kind = "exercise"
    how = "replace the dots in the next cell with your code and run it"

    def __post_init__(self) -> None:
        if self.given:
            self.kind, self.how = "repair", "repair the code in the next cell and run it"
        self.how = self.where or self.how
        super().__post_init__()

    def solution(self) -> Reply:
        """Return code that solves it."""
        return self._say("solution", cleandoc(self.code))

    def check(self, answer: Any) -> Reply:
        """Judge an answer; an empty one is open, and whatever it raises is reported, not raised."""
        problem: str | None = f"{answer!r} cannot be called: pass a name without brackets."
        try:
            if answer is ... or is_blank(answer) or is_given(answer, self.given):
                raise NotWritten
            if callable(answer):
                judge = self.judge or partial(judge_cases, cases=self.cases, wrong=self.wrong)
                with stopped_after(self.seconds):
                    problem = judge(answer)
        except NotWritten:
            how = self.where or "replace the dots with your code and run this cell again"
            if self.given:
                how = (
                    "this is the code as you found it: change what is wrong and run this cell again"
                )
            return Reply("open", f"{how}. Stuck? `{self.name}.hint()`", self)
        except KeyboardInterrupt:
            problem = f"your code was stopped ({self.seconds:g} s at most): does each of its loops come to an end?"
        except Exception as error:  # a learner's code may fail in any way
            problem = f"your code raised {type(error).__name__}: {error}"
        known = [message for _, message in self.wrong]
        return self._judged(problem is None, problem or self.praise, known)

    def state(self) -> str:
        """Return the tries, or before the first the minutes that it takes."""
        return super().state() if self._tries else f"{self.minutes} minutes"
