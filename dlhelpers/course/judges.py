"""Judge what a learner has written: functions on cases, generators, an order of blocks, a way to write a file.

A judge takes the answer and returns None where it is right, else a sentence on what is wrong. It raises NotWritten
where there is nothing to judge yet.
"""

import dis
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from itertools import groupby, islice
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

Case = tuple[tuple, Any]  # arguments, and the result that is expected


class NotWritten(Exception):
    """Raised by a judge that finds nothing to judge yet."""


def is_blank(function: Any) -> bool:
    """Say whether a function is missing, or does nothing but return None: its body is still the dots."""
    if not hasattr(function, "__code__"):
        return function is None
    steps = [s for s in dis.get_instructions(function) if s.opname not in ("RESUME", "NOP")]
    return len(steps) <= 2 and steps[0].argval is None


def no_function(answer: Any) -> str | None:
    """Return a sentence where an answer cannot be called; NotWritten where its body is still the dots."""
    if is_blank(answer):
        raise NotWritten
    if not callable(answer):
        return f"a function is expected, and {answer!r} is none: pass its name without brackets."
    return None


# ---- functions on cases ----


def judge_cases(
    function: Callable, cases: Sequence[Case], wrong: Sequence[tuple[Callable, str]]
) -> str | None:
    """Return None where the function gives what each case expects, else what is wrong with it.

    `wrong` holds known mistakes as functions, each with its message.
    """
    if problem := no_function(function):
        return problem
    results, expected = [], [result for _, result in cases]
    for arguments, _ in cases:
        try:
            # a copy, as a function may change what it is given
            results.append(function(*deepcopy(arguments)))
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
    if got == right:  # rounded by us, or a text where a number is expected
        got, right = repr(results[k]), f"{expected[k]!r} itself, neither rounded nor as a text,"
    return f"{call} gives {got}, and {right} is expected."


def same(one: Any, other: Any) -> bool:
    """Say whether two answers are equal: numbers to 1e-6, tensors and lists part by part, else by ==."""
    one, other = (value.tolist() if hasattr(value, "tolist") else value for value in (one, other))
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if type(one) in (int, float) and type(other) in (int, float):
        return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)
    return type(one) is type(other) and one == other


def show_value(value: Any) -> str:
    """Return a value as a message shows it: long numbers short, long lists cut."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if type(value) is int:
        return f"{value:,}"
    text = str(value)
    return text if len(text) < 60 else text[:57] + "..."


def _call(function: Callable, arguments: tuple) -> str:
    # digits in groups as Python takes them: a comma would look like one more argument
    shown = [f"{value:_}" if type(value) is int else show_value(value) for value in arguments]
    return f"{getattr(function, '__name__', 'your function')}({', '.join(shown)})"


# ---- generators: what comes out, in which order, and how far they read ahead ----


def judge_buffer(answer: Callable[[Iterable[int], int, Random], Iterable[int]]) -> str | None:
    """Say what is wrong with a learner's shuffle_buffer, or return None."""
    if problem := _no_generator(answer, range(3), 2, Random(0)):
        return problem
    runs = [_pass_through(answer, 10, 4, seed) for seed in range(60)]
    orders, held = [order for order, _ in runs], max(most for _, most in runs)
    if problem := _not_once(orders):
        return f"of the samples 0 to 9 a buffer of 4 gave {problem}"
    if held > 5:  # one more than the buffer: the sample that is about to take the place of another
        return f"with a buffer of 4, {held} samples were held at once: hand one out as soon as it is full."
    early, k, order = max(
        (k - place, k, order) for order in orders for place, k in enumerate(order)
    )
    if early > 3:  # such a buffer draws among five
        return f"it gave {order}: {k} comes {early} early, and a buffer of 4 can give it at most 3 early."
    if runs[0] != _pass_through(answer, 10, 4, 0):
        return OWN_NUMBERS
    if all(order == orders[0] for order in orders):
        return f"it gives {orders[0]} whatever `random` draws: take out a sample at random."
    if len(firsts := {order[0] for order in orders}) < 4:
        return f"the first one out of a buffer of 4 is always among {sorted(firsts)}: fill it, then take any."
    if all(set(order[:4]) == {0, 1, 2, 3} for order in orders):
        return "this mixes four samples, then the next four. Take one out, and let the next one in at once."
    if len({tuple(_pass_through(answer, 4, 6, seed)[0]) for seed in range(60)}) < 12:
        return "what is left in the buffer when the stream ends comes out in order: shuffle it."
    return None


OWN_NUMBERS = (
    "the same seed gave another order the second time: draw from the `random` that you are given."
)


def judge_checked(answer: Callable[[Iterable[int], int], Iterable[int]]) -> str | None:
    """Say what is wrong with a learner's checked, or return None."""
    if problem := _no_generator(answer, range(3), 3):
        return problem
    for length, promised in ((5, 5), (3, 5), (7, 5), (0, 5), (0, 0)):
        came, taken, refusal = [], [], ""
        try:
            for sample in islice(answer(_noting(length, taken), promised), 20):
                came.append(sample)
                if len(taken) > len(came) + 1:
                    return f"it had read {len(taken)} samples when it gave its first: pass each on before the next."
        except NameError as error:
            if length:
                raise
            return f"a stream without a sample: {error}. Begin to count before the loop."
        except TypeError as error:
            if "has no len" not in str(error):
                raise
            return "a stream has no length to ask for: count what comes."
        except ValueError as error:
            refusal = str(error) or "nothing"
        except AssertionError:
            return "an `assert` can be switched off: raise a ValueError."
        if refusal and came == list(range(len(came))) and len(came) < length:
            return f"after {len(came)} of {length} samples it raised a ValueError: compare after the loop."
        if came != list(range(length)):
            return f"of the samples 0 to {length - 1} it passed on {came}: each is expected once, in order."
        if length == promised:
            if refusal:
                return f"{promised} samples were promised and {length} came, and it raised a ValueError: {refusal}"
        elif not refusal:
            return f"{length} samples came, {promised} were promised, and no ValueError was raised."
        elif str(length) not in refusal or str(promised) not in refusal:
            return f"the message is {refusal!r}: name how many came ({length}) and how many were promised ({promised})."
    return None


def _noting(length: int, taken: list[int]) -> Iterator[int]:
    """The numbers 0, 1, 2, ... as a stream that notes what has been taken from it."""
    for k in range(length):
        taken.append(k)
        yield k


def _no_generator(answer: Callable, *arguments: object) -> str | None:
    """What is wrong with an answer that no loop can go over."""
    if problem := no_function(answer):
        return problem
    result = answer(*arguments)
    if isinstance(result, (list, tuple)):
        return f"it gave back a {type(result).__name__}: it read everything before giving the first. Use `yield`."
    if not isinstance(result, Iterable):
        return f"it gave back {result!r}, over which no loop can go: hand the samples out with `yield`."
    return None


def _pass_through(answer: Callable, length: int, size: int, seed: int) -> tuple[list[int], int]:
    """The order that a buffer makes of 0, 1, 2, ..., and the most samples it had read and not given."""
    taken, order, most = [], [], 0
    # cut off, or an endless answer would not come back
    for sample in islice(answer(_noting(length, taken), size, Random(seed)), 3 * length):
        most = max(most, len(taken) - len(order))
        order.append(sample)
    return order, most


def _not_once(orders: list[list[int]]) -> str | None:
    """An order of 0 to 9 that lacks or repeats a number, and the likely reason; None where all are whole."""
    odd = next((order for order in orders if sorted(order) != list(range(10))), None)
    if odd is None:
        return None
    if twice := [k for k in odd if odd.count(k) > 1]:
        return f"{odd}: {twice[0]} came more than once. Take it out with `pop`."
    came = set().union(*orders)
    never = [k for k in range(4, max(came, default=0)) if k not in came]
    if never:  # in the middle: those left over at the end have another reason
        return f"{odd}: {never[0]} was never put into the buffer."
    if len(odd) < 6:  # more are missing than the buffer of 4 can have kept
        return f"{odd}: no more came. Take a sample out with `pop`, so that there is room for the next."
    return f"{odd}: each is expected once. Think of the end, too."


# ---- an order of blocks ----


def judge_block_order(answer: Callable[[int, int, Random], Iterable[int]]) -> str | None:
    """Say what is wrong with a learner's block_order, or return None."""
    if problem := no_function(answer):
        return problem
    try:
        first = answer(10, 4, Random(0))
    except TypeError as error:
        if "NoneType" not in str(error):
            raise
        return (
            f"{error}: `random.shuffle` gives nothing back, it shuffles the list that it is given."
        )
    if not isinstance(first, Iterable):
        return f"it gave back {first!r}: a list of indices is expected."
    orders = [list(answer(10, 4, Random(seed))) for seed in range(60)]
    for order in orders:
        if any(isinstance(index, Iterable) for index in order):
            return f"it gave {order}, a list of lists: one list of indices is expected."
        if sorted(order) != list(range(10)):
            return f"for 10 samples in blocks of 4 it gave {order}: each index is expected once, the short block too."
    if orders != [list(answer(10, 4, Random(seed))) for seed in range(60)]:
        return OWN_NUMBERS
    if len(set(map(tuple, orders))) == 1:
        return "60 generators gave one order: draw from the `random` that you are given."
    blocks = [[block for block, _ in groupby(order, lambda index: index // 4)] for order in orders]
    for order, come in zip(orders, blocks, strict=True):
        if len(come) > 3:
            return f"it gave {order}: a block's samples are to stay together, as 0 to 3 here, or reading jumps about."
    if all(order[0] < 4 for order in orders):
        return "the blocks come in the order of the file: shuffle them, too."
    for block in range(3):
        inside = [[index for index in order if index // 4 == block] for order in orders]
        if all(part == sorted(part) for part in inside):
            return "inside a block the samples come in the order of the file: shuffle them, too."
    if len(set(map(tuple, blocks))) < 6:
        return "three blocks can come in six orders, and not all of them came: give each block the same chance."
    return None


# ---- a file that is written whole, or not at all ----

OLD, PARTS = b"the old content", [b"one ", b"two ", b"three"]
WHOLE = b"".join(PARTS)
OVERWRITTEN = (
    "at the end the old file was written over or removed, where a kill leaves half of it, or nothing, or the"
    " new one was renamed unseen. Call `os.replace(old, new)`, by this name: it is one stroke."
)


class _Broken(Exception):
    pass


def judge_write_whole(answer: Callable[[Path, Iterable[bytes]], None]) -> str | None:
    """Say what is wrong with a learner's write_whole, or return None."""
    if problem := no_function(answer):
        return problem
    for old in (None, OLD):
        for breaks in (False, True):
            with TemporaryDirectory() as folder:
                if problem := _watch(answer, Path(folder, "data.bin"), old, breaks):
                    return problem
    return None


def _watch(answer: Callable, path: Path, old: bytes | None, breaks: bool) -> str | None:
    """Let an answer write `path` over an old file or none, while the parts look at it; the last may break off."""
    seen, renames, raised = [], [], False
    there = "an old file was there, and" if old else "no file was there, and"
    if old:
        path.write_bytes(old)

    def content() -> bytes | None:
        return path.read_bytes() if path.is_file() else None

    def parts() -> Iterator[bytes]:
        for part in PARTS:
            seen.append(content())
            if breaks and part == PARTS[-1]:
                raise _Broken("the parts broke off")
            yield part

    def watched(rename: Callable) -> Callable:
        def rename_and_note(source: str | Path, target: str | Path, **options: int) -> None:
            if Path(target) == path:
                renames.append((Path(source).absolute(), Path(source).read_bytes(), content()))
            rename(source, target, **options)

        return rename_and_note

    try:
        # those of Path and of shutil call these
        with patch.multiple(os, rename=watched(os.rename), replace=watched(os.replace)):
            answer(path, parts())
    except _Broken:
        raised = True
    for found in seen:
        if found != old:
            how = "gone" if found is None else "there, unfinished"
            return f"{there} while the parts came, it was {how}: write under another name until the end."
    if breaks:
        if content() != old:
            return f"{there} the parts broke off: the name must then lead to what it led to before."
        if not raised:
            return "the parts broke off with an error, and it was not passed on: nobody would know."
        answer(path, iter(PARTS))
        if content() != WHOLE:
            return "an attempt broke off, and what it left got into the next one's file: begin with an empty file."
        return None
    if content() is None:
        return "afterwards there is no file of that name."
    if content() != WHOLE:
        return f"of the parts {PARTS} the file holds {content()!r}: expected all of them, in order."
    if others := [other.name for other in path.parent.iterdir() if other != path]:
        return f"beside the file it leaves {others[0]!r}: move it, instead of copying."
    if not old:
        return None
    if len(renames) != 1:
        return OVERWRITTEN
    partial, new, before = renames[0]
    if new != WHOLE:
        return "the file got its name before it was closed: its last bytes were not in it yet."
    if partial.parent != path.parent:
        return "it was written in another folder: write beside the target, a rename works inside one file system."
    return None if before == OLD else OVERWRITTEN
