"""The few words that refuse an argument: each message has the value, what was expected, and a remedy."""

from numbers import Integral
from pathlib import PurePath

PLAIN = (bool, int, float, str, bytes, list, tuple, dict, set, range, slice, PurePath, type(None))


def shown(value: object) -> str:
    """Return a value as a message names it: a short plain one as it is, of others what they are."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, PLAIN) and len(repr(value)) <= 60:
        return repr(value)
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"a {type(value).__name__} of shape {tuple(value.shape)}, {value.dtype}"
    if hasattr(value, "__name__"):
        return f"{value.__name__}, a function"
    return f"a {type(value).__name__}"


def check_kind(name: str, value: object, kind: type | tuple[type, ...], expected: str) -> None:
    """Raise TypeError unless a value is of a kind; `expected` says what to give instead."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} is {shown(value)}: expected {expected}")


def check_callable(name: str, value: object, expected: str) -> None:
    """Raise TypeError unless a value can be called."""
    if not callable(value):
        raise TypeError(f"{name} is {shown(value)}: expected {expected}")


def check_whole(name: str, value: int, least: int, why: str = "", *, of: str = "") -> int:
    """Return `value` as an int; ValueError that names the argument unless it is a whole number, at least `least`.

    A NumPy number will do, True and False will not. `why` ends the message, `of` says what is counted: "samples".
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        counted = f"a whole number of {of}" if of else "a whole number"
        raise ValueError(f"{name} is {value!r}: expected {counted}, at least {least}{why}")
    return int(value)
