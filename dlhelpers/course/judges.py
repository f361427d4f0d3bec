"""Judge a learner's function on cases, and name the mistake where it is a known one."""

import dis
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

from dlhelpers.course.replies import same, show_value

Case = tuple[tuple, Any]  # arguments, and the result that is expected


def judge_cases(
    function: Callable, cases: Sequence[Case], wrong: Sequence[tuple[Callable, str]]
) -> str | None:
    """Return None where the function gives what each case expects, else what is wrong with it.

    `wrong` holds known mistakes as functions, each with its message. Raises NotWritten for an empty function.
    """
    if not callable(function):
        return f"a function is expected, and {function!r} is none: pass its name without brackets."
    if is_blank(function):
        raise NotWritten
    results, expected = [], [result for _, result in cases]
    for arguments, _ in cases:
        try:
            results.append(
                function(*deepcopy(arguments))
            )  # a copy, as a function may change what it is given
        except Exception as error:  # a learner's code may fail in any way
            return f"{_call(function, arguments)} raised {type(error).__name__}: {error}"
    if same(results, expected):
        return None
    for mistake, message in wrong:
        if same(results, [mistake(*deepcopy(arguments)) for arguments, _ in cases]):
            return message
    k = next(k for k, pair in enumerate(zip(results, expected, strict=True)) if not same(*pair))
    call = _call(function, cases[k][0])
    if results[k] is None:
        return f"{call} gave back None: is a `return` missing? `print` shows a value and gives nothing back."
    got, right = show_value(results[k]), show_value(expected[k])
    if isinstance(results[k], str):
        return f"{call} gives the text {got!r}, and {right} is expected: return it without quotes."
    if got == right:
        return f"{call} gives {results[k]!r}, and {expected[k]!r} is expected: do not round."
    return f"{call} gives {got}, and {right} is expected."


def _call(function: Callable, arguments: tuple) -> str:
    name = getattr(function, "__name__", "<lambda>")
    # Digits in groups as Python takes them: a comma would look like one more argument.
    shown = [f"{value:_}" if type(value) is int else show_value(value) for value in arguments]
    return f"{'your function' if name == '<lambda>' else name}({', '.join(shown)})"


def is_blank(function: Any) -> bool:
    """Say whether a function is missing, or does nothing but return None: its body is still the dots."""
    if not hasattr(function, "__code__"):
        return function is None
    steps = [
        step for step in dis.get_instructions(function) if step.opname not in ("RESUME", "NOP")
    ]
    return (
        steps[0].opname in ("LOAD_CONST", "RETURN_CONST")
        and steps[0].argval is None
        and len(steps) <= 2
    )


class NotWritten(Exception):
    """Raised by a judge that finds nothing to judge yet."""
