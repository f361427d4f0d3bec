"""Judge what a learner has written: what the judges of several lessons share, and functions on cases.

A judge takes the answer and returns None where it is right, else a sentence on what is wrong. It raises NotWritten
where there is nothing to judge yet.
"""

import _thread
import ast
import dis
import inspect
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from textwrap import dedent
from typing import Any


class NotWritten(Exception):
    """Raised by a judge that finds nothing to judge yet."""


def is_blank(function: Any) -> bool:
    """Say whether a function is missing, or does nothing but return None: its body is still the dots."""
    if not hasattr(function, "__code__"):
        return function is None
    steps = [s for s in dis.get_instructions(function) if s.opname not in ("RESUME", "NOP")]
    return len(steps) <= 2 and steps[0].argval is None


def no_dataset(answer: Any) -> str | None:
    """Say what is wrong where the class of a dataset is expected; NotWritten while both of its methods are blank."""
    if not isinstance(answer, type):
        return "a class is expected: pass its name without brackets."
    if is_blank(answer.__dict__.get("__len__")) and is_blank(answer.__dict__.get("__getitem__")):
        raise NotWritten
    return None


def is_given(function: Any, given: str) -> bool:
    """Say whether a function still is the code that the learner was given to repair."""
    if not given:
        return False
    try:
        tree = ast.parse(dedent(inspect.getsource(function)))
    except (TypeError, OSError, SyntaxError):  # as of a lambda, which is a part of a line
        return False
    return ast.dump(tree) == ast.dump(ast.parse(dedent(given)))


@contextmanager
def stopped_after(seconds: float) -> Iterator[None]:
    """Raise KeyboardInterrupt in what runs for longer, in the main thread, where a notebook's cells run."""
    timer = threading.Timer(seconds, _thread.interrupt_main)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


# ---- functions on cases ----


def judge_cases(
    function: Callable, cases: Sequence[tuple[tuple, Any]], wrong: Sequence[tuple[Callable, str]]
) -> str | None:
    """Return None where the function gives what each case expects, else what is wrong with it.

    `wrong` holds known mistakes as functions, each with its message.
    """
    results, expected = [], [result for _, result in cases]
    for arguments, _ in cases:
        try:
            own = deepcopy(arguments)
            results.append(function(*own))
        except Exception as error:  # a learner's code may fail in any way
            told = f"{_call(function, arguments)} raised {type(error).__name__}: {error}"
            unset = ". Where a loop never runs, it sets no variable."
            return told + unset if isinstance(error, UnboundLocalError) else told
        if not same(own, arguments):
            return f"{_call(function, arguments)} changed what it was given: work on a copy."
    if same(results, expected):
        return None
    for mistake, message in wrong:
        if same(results, [mistake(*deepcopy(arguments)) for arguments, _ in cases]):
            return message
    k = next(k for k, pair in enumerate(zip(results, expected, strict=True)) if not same(*pair))
    call = _call(function, cases[k][0])
    if results[k] is None:
        return f"{call} returned None: is a `return` missing? `print` shows a value and gives nothing back."
    return f"{call} gives {_short(results[k])}, and {_short(expected[k])} is expected."


def same(one: Any, other: Any) -> bool:
    """Say whether two answers are equal: numbers to 1e-6, tensors and lists part by part, else by ==."""
    one, other = (value.tolist() if hasattr(value, "tolist") else value for value in (one, other))
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if type(one) in (int, float) and type(other) in (int, float):
        return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)
    return type(one) is type(other) and one == other


def show_value(value: Any) -> str:
    """Return a value as a message shows it, long numbers short."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if type(value) is int:
        return f"{value:,}"
    return str(value)


def _call(function: Callable, arguments: tuple) -> str:
    shown = ", ".join(map(_short, arguments))
    return f"{getattr(function, '__name__', 'your function')}({shown})"


def _short(value: object) -> str:
    """A value as it is written, a long one cut where it shows; of a function, which shows an address, the kind."""
    if callable(value):
        return "a function"
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


# of generators that draw
OWN_NUMBERS = (
    "the same seed gave another order the second time: draw from the `random` that you are given."
)
