"""Judge what a learner has written: functions on cases, generators, an order of blocks, a way to write a file.

A judge takes the answer and returns None where it is right, else a sentence on what is wrong. It raises NotWritten
where there is nothing to judge yet.
"""

import _thread
import ast
import dis
import inspect
import math
import os
import threading
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from itertools import groupby, islice
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from textwrap import dedent
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
    function: Callable, cases: Sequence[Case], wrong: Sequence[tuple[Callable, str]]
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
            return f"{_call(function, arguments)} raised {type(error).__name__}: {error}"
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
        return f"{call} gave back None: is a `return` missing? `print` shows a value and gives nothing back."
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


# ---- generators: what comes out, in which order, and how far they read ahead ----


def judge_buffer(answer: Callable[[Iterable[int], int, Random], Iterable[int]]) -> str | None:
    """Say what is wrong with a learner's shuffle_buffer, or return None."""
    if problem := _no_stream(answer(range(3), 2, Random(0))):
        return problem
    runs = [_pass_through(answer, 10, 4, seed) for seed in range(60)]
    orders, held = [order for order, _ in runs], max(most for _, most in runs)
    for order in orders:
        if sorted(order) != list(range(10)):
            return (
                f"of the samples 0 to 9 came {order}: each is expected once. Think of the end: what's left in the"
                " buffer comes out, too. Before it, put in every sample, and `pop` one when the buffer of 4 is full."
            )
    if held > 5:  # one more than the buffer: the sample that is about to take the place of another
        return f"with a buffer of 4, {held} samples were held at once: hand one out as soon as it is full."
    if runs[0] != _pass_through(answer, 10, 4, 0):
        return OWN_NUMBERS
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
    if problem := _no_stream(answer(range(3), 3)):
        return problem
    for length, promised in ((5, 5), (3, 5), (7, 5), (0, 5), (0, 0)):
        came, taken, refusal = [], [], ""
        try:
            for sample in islice(answer(_noting(length, taken), promised), 20):
                came.append(sample)
                if len(taken) > len(came) + 1:
                    return f"it had read {len(taken)} samples when it gave its first: pass each on before the next."
        except ValueError as error:
            refusal = repr(error)
        if came != list(range(length)):
            return f"of {length} samples it passed on {came}: each is expected once, in order; compare after the loop."
        named = str(length) in refusal and str(promised) in refusal
        if bool(refusal) != (length != promised) or refusal and not named:
            return (
                f"{length} samples came, {promised} were promised, and it raised {refusal or 'nothing'}: a ValueError"
                " that names both numbers is expected where they differ, and none where they do not."
            )
    return None


def _noting(length: int, taken: list[int]) -> Iterator[int]:
    """The numbers 0, 1, 2, ... as a stream that notes what has been taken from it."""
    for k in range(length):
        taken.append(k)
        yield k


def _no_stream(result: object) -> str | None:
    """What is wrong with what an answer gave back, if no loop can take samples from it one by one."""
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


# ---- an order of blocks ----


def judge_block_order(answer: Callable[[int, int, Random], Iterable[int]]) -> str | None:
    """Say what is wrong with a learner's block_order, or return None."""
    try:
        orders = [list(answer(10, 4, Random(seed))) for seed in range(60)]
    except TypeError as error:
        return (
            f"{error}: one list of indices is expected. (`random.shuffle` gives nothing back, it shuffles the list that"
            " it is given.)"
        )
    for order in orders:
        gave = f"for 10 samples in blocks of 4 it gave {order}: "
        if any(isinstance(item, Iterable) for item in order):
            return gave + "one list of indices is expected, not a list of lists."
        if 10 in order:
            return gave + "the last index is 9. Where does the short block end?"
        if sorted(order) != list(range(10)):
            return gave + "each index is expected once, those of the short block too."
    if orders != [list(answer(10, 4, Random(seed))) for seed in range(60)]:
        return OWN_NUMBERS
    blocks = [[block for block, _ in groupby(order, lambda index: index // 4)] for order in orders]
    for order, come in zip(orders, blocks, strict=True):
        if len(come) > 3:
            return f"it gave {order}: a block's samples are to stay together, as 0 to 3 here, or reading jumps about."
    if len(set(map(tuple, blocks))) < 6:
        return "three blocks can come in six orders, and not all came: shuffle them with the `random` you are given."
    for block in range(3):
        inside = [[index for index in order if index // 4 == block] for order in orders]
        if all(part == sorted(part) for part in inside):
            return "inside a block the samples come in the order of the file: shuffle them, too."
    return None


# ---- a file that is written whole, or not at all ----

OLD, PARTS = b"the old content", [b"one ", b"two ", b"three"]
WHOLE = b"".join(PARTS)


def judge_write_whole(answer: Callable[[Path, Iterable[bytes]], None]) -> str | None:
    """Say what is wrong with a learner's write_whole, or return None."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "data.bin")
        answer(path, iter(PARTS))
        if _content(path) != WHOLE:
            return f"of the parts {PARTS} the file holds {_content(path)}: expected all of them, in order."
        path.write_bytes(OLD)
        return (
            _over_an_old_file(answer, path)
            or _broken_off(answer, path)
            or _all_at_once(answer, path)
        )


def _over_an_old_file(answer: Callable, path: Path) -> str | None:
    """Look at the old file with each part that comes, and when the new one takes its name."""
    seen, renames, beside = [], [], True

    def parts() -> Iterator[bytes]:
        for part in PARTS:
            seen.append(_content(path))
            yield part

    def rename_and_note(old: Path, new: Path, rename: Callable = os.replace) -> None:
        nonlocal beside
        beside = path.parent.resolve() in Path(old).resolve().parents
        renames.append((_content(path), _content(Path(old))))
        rename(old, new)

    # those of Path and of shutil call these
    with patch.multiple(os, rename=rename_and_note, replace=rename_and_note):
        answer(path, parts())
    if set(seen) != {OLD}:
        return (
            "while the parts came, the old file was gone, or an unfinished one was there: write under another name"
            " until the end."
        )
    before, content = renames[-1] if renames else (None, None)
    if before != OLD:
        return (
            "at the end the old file was written over or removed, where a kill leaves half of it, or nothing, or the"
            " new one was renamed unseen. Call `os.replace(old, new)`, by this name: it is one stroke."
        )
    if not beside:
        return (
            "the new file was written into another folder, which may be on another disk, and `os.replace` works on one"
            " disk only: write it beside `path`."
        )
    if content != WHOLE:
        return "the file got its name before it was closed: its last bytes were not in it yet."
    path.write_bytes(OLD)
    return None


def _broken_off(answer: Callable, path: Path) -> str | None:
    """Let the parts end with an error, and then let the answer begin anew."""
    told = False

    def parts() -> Iterator[bytes]:
        yield PARTS[0]
        raise ConnectionError("the parts broke off")

    try:
        answer(path, parts())
    except ConnectionError:
        told = True
    if not told:
        return "the parts broke off with an error: it has to be passed on, or nobody would know."
    if _content(path) != OLD:
        return "the parts broke off, and the unfinished file got the name all the same: rename only when all is well."
    try:
        answer(path, iter(PARTS))
    except FileExistsError:
        return "an attempt broke off, and the next one refused to write over what it had left: mode 'x' does that."
    if _content(path) != WHOLE:
        return "an attempt broke off, and what it left got into the next one's file: begin with an empty file."
    return None


def _all_at_once(answer: Callable, path: Path) -> str | None:
    """Look at the memory that ten pieces of a megabyte take."""
    tracemalloc.start()
    answer(path, (bytes([k]) * 1_000_000 for k in range(10)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    if peak > 6_000_000:
        return "of ten pieces, all were in memory at once: together they may not fit. Write each one when it comes."
    return None


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
