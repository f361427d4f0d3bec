"""The few words that refuse an argument: each message has the value, what was expected, and a remedy."""

from numbers import Integral, Number


def shown(value: object) -> str:
    """Return a value as a message names it: as it is where that is short and says something, else what it is."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if hasattr(value, "dtype") and not isinstance(value, Number):
        return f"a {type(value).__name__} of shape {tuple(value.shape)}, {value.dtype}"
    text = repr(value)
    return text if len(text) <= 60 and not text.startswith("<") else f"a {type(value).__name__}"


def check_kind(name: str, value: object, kind: type | tuple[type, ...], expected: str) -> None:
    """Raise TypeError unless a value is of a kind; `expected` says what to give instead."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} is {shown(value)}: expected {expected}")


def check_whole(name: str, value: int, least: int, why: str = "") -> int:
    """Return `value` as an int; ValueError that names the argument unless it is a whole number, at least `least`.

    A NumPy number will do, True and False will not. `why` ends the message.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} is {value!r}: expected a whole number, at least {least}{why}")
    return int(value)
