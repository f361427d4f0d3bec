"""Judge a learner's block order, and a learner's way of writing a file whole or not at all."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from unittest.mock import patch

from dlhelpers.course.judges import NotWritten, is_blank

OLD, PARTS = b"the old content", [b"one ", b"two ", b"three"]
OVERWRITTEN = (
    "at the end the old file was written over or removed, where a kill leaves half of it, or nothing, or the"
    " new one was renamed unseen. Call `os.replace(old, new)`, by this name: it is one stroke."
)


def judge_block_order(answer: Callable[[int, int, Random], Iterable[int]]) -> str | None:
    """Say what is wrong with a learner's block_order, or return None. Raises NotWritten for an empty function."""
    _check_written(answer)
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
        if sorted(order) != list(range(10)):
            return f"for 10 samples in blocks of 4 it gave {order}: each index is expected once, the short block too."
    if orders != [list(answer(10, 4, Random(seed))) for seed in range(60)]:
        return "the same seed gave another order the second time: draw from the `random` that you are given."
    if len(set(map(tuple, orders))) == 1:
        return "60 generators gave one order: draw from the `random` that you are given."
    for order in orders:
        blocks = [index // 4 for index in order]
        if sum(one != two for one, two in zip(blocks, blocks[1:], strict=False)) != 2:
            return f"it gave {order}: a block's samples are to stay together, as 0 to 3 here, or reading jumps about."
    if all(order[0] < 4 for order in orders):
        return "the blocks come in the order of the file: shuffle them, too."
    parts = range(0, 4), range(4, 8), range(8, 10)
    if any(
        all([i for i in order if i in part] == list(part) for order in orders) for part in parts
    ):
        return "inside a block the samples come in the order of the file: shuffle them, too."
    if len({tuple(index // 4 for index in order) for order in orders}) < 6:
        return "three blocks can come in six orders, and not all of them came: give each block the same chance."
    return None


def judge_write_whole(answer: Callable[[Path, Iterable[bytes]], None]) -> str | None:
    """Say what is wrong with a learner's write_whole, or return None. Raises NotWritten for an empty function."""
    _check_written(answer)
    with TemporaryDirectory() as folder:
        path = Path(folder, "fresh.bin")
        answer(path, iter(PARTS))
        if not path.is_file():
            return "afterwards there is no file of that name."
        if path.read_bytes() != b"".join(PARTS):
            return f"of the parts {PARTS} the file holds {path.read_bytes()!r}: expected all of them, in order."
        if others := [other.name for other in path.parent.iterdir() if other != path]:
            return f"beside the file it leaves {others[0]!r}: move it, instead of copying."
    for old in (None, OLD):
        for breaks_at in (None, 2):
            if problem := _watched(answer, old, breaks_at):
                return problem
    return None


class _Broken(Exception):
    pass


def _watched(answer: Callable, old: bytes | None, breaks_at: int | None) -> str | None:
    """Let an answer write while looking at the file at each part; `breaks_at` is the part at which they break off."""
    with TemporaryDirectory() as folder:
        path, seen, faults = Path(folder, "data.bin"), [], []
        if old is not None:
            path.write_bytes(old)

        def parts() -> Iterator[bytes]:
            for k, part in enumerate(PARTS):
                seen.append(path.read_bytes() if path.exists() else None)
                if k == breaks_at:
                    raise _Broken("the parts broke off")
                yield part

        stopped = False
        try:
            with ExitStack() as stack:
                for name in ("rename", "replace"):  # those of Path and of shutil call these
                    stack.enter_context(
                        patch.object(os, name, _watching(getattr(os, name), path, faults))
                    )
                answer(path, parts())
        except _Broken:
            stopped = True
        there = "an old file was there, and" if old is not None else "no file was there, and"
        if any(content != old for content in seen):
            return f"{there} while the parts came, it was {_wrong(seen, old)}: write under another name until the end."
        if breaks_at is not None and (path.read_bytes() if path.exists() else None) != old:
            return f"{there} the parts broke off: the name must then lead to what it led to before."
        if breaks_at is not None and not stopped:
            return "the parts broke off with an error, and it was not passed on: nobody would know."
        if stopped:
            answer(path, iter(PARTS))
            if path.read_bytes() != b"".join(PARTS):
                return "an attempt broke off, and what it left got into the next one's file: begin with an empty file."
        if breaks_at is None and old is not None:
            return None if faults == [None] else next(filter(None, faults), OVERWRITTEN)
    return None


def _watching(rename: Callable, path: Path, faults: list[str | None]) -> Callable:
    """A way of renaming that notes what is wrong, or None, whenever a file is to get the name `path`."""

    def watched(old: str | Path, new: str | Path, **options: int) -> None:
        if Path(new) == path:
            faults.append(_fault(Path(old), path))
        rename(old, new, **options)

    return watched


def _fault(partial: Path, path: Path) -> str | None:
    """What is wrong about giving a file the name `path` now, where the old file is to be."""
    if partial.read_bytes() != b"".join(PARTS):
        return "the file got its name before it was closed: its last bytes were not in it yet."
    if partial.absolute().parent != path.parent:
        return "it was written in another folder: write beside the target, a rename works inside one file system."
    return None if path.is_file() and path.read_bytes() == OLD else OVERWRITTEN


def _wrong(seen: list[bytes | None], old: bytes | None) -> str:
    content = next(content for content in seen if content != old)
    return "gone" if content is None else "there, unfinished" if old is None else "no longer whole"


def _check_written(answer: Callable) -> None:
    """NotWritten where nothing is written yet; TypeError for what cannot be called."""
    if is_blank(answer):
        raise NotWritten
    if not callable(answer):
        raise TypeError(
            f"a function is expected, and {answer!r} is none: pass its name without brackets"
        )
