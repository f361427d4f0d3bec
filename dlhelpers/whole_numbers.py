"""Refuse an argument that should be a whole number and is none, with one message for the whole course."""

from numbers import Integral


def check_whole(name: str, value: int, least: int, why: str = "", *, of: str = "") -> int:
    """Return `value` as an int; ValueError that names the argument unless it is a whole number, at least `least`.

    A NumPy number will do, True and False will not. `why` ends the message, `of` says what is counted: "samples".
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least or of and value >= 2**63:
        beyond = ", and below 2**63" if isinstance(value, Integral) and value >= 2**63 else ""  # as Python's len
        counted = f"a whole number of {of}" if of else "a whole number"
        raise ValueError(f"{name} is {value!r}: expected {counted}, at least {least}{why}{beyond}")
    return int(value)
