"""The child's side of `memory.run_limited`: leave the parent's surroundings, set the cap, call, report, vanish.

Nothing here returns to the parent's code: the child ends with os._exit, so that no handler of the parent runs in it.
"""

import ctypes
import gc
import io
import os
import pickle
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import perf_counter

import torch

from dlhelpers.machine.memory import is_out_of_memory, memory_use, resource

M_MMAP_THRESHOLD = -3  # the parameter's number in glibc's malloc.h
FREE_BLOCKS = (
    2**26,
    2**10,
)  # bytes: the largest and the smallest block to look for in what the parent has freed


def serve(folder: Path, target: Callable, args: tuple, limit: int) -> None:
    """Call `target(*args)` under the cap, write `start` and `report` into the folder, and end this process.

    folder  where `stdout` and `stderr` go, too
    """
    try:
        _leave_parent(folder)
        old, limit = _set_cap(limit)
        _write(folder / "start", {"use": memory_use(), "limit": limit, "capped": old is not None})
        begin = perf_counter()
        try:
            fields = {"outcome": "returned", "value": target(*args)}
        except (
            BaseException
        ) as error:  # a SystemExit or KeyboardInterrupt must not leave the child either
            _lift_cap(old)
            fields = _failure(error, capped=old is not None)
        _lift_cap(old)  # telling takes memory as well, and the function has had its own
        fields["seconds"] = perf_counter() - begin
        end = memory_use()
        try:
            _write(folder / "report", (fields, end))
        except Exception as error:  # pickle raises what it likes
            _write(folder / "report", (_unsendable(fields, error), end))
    except BaseException:
        traceback.print_exc()  # a fault of ours: the parent shows it
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(0)


def check_sendable(target: Callable, args: tuple) -> None:
    """Raise TypeError unless a new Python can import the target and read its arguments."""
    try:
        pickle.dumps((target, args))
        in_cell = target.__module__ == "__main__" and not hasattr(
            sys.modules["__main__"], "__file__"
        )
        why = "it stands in a notebook's cell" if in_cell else ""
    except Exception as error:  # pickle raises what it likes, as AttributeError or TypeError
        why = f"{type(error).__name__}: {error}"
    if why:
        came = f"target {getattr(target, '__name__', target)!r} cannot be sent to a new process ({why})"
        raise TypeError(
            f"{came}: put it into a module and import it, or run on Linux, where the child is forked"
        )


def _leave_parent(folder: Path) -> None:
    """Take own output, own signals, own process group, one thread; leave the parent's garbage to the parent."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)  # the number, since libraries in C print past sys.stdout
        stream = io.TextIOWrapper(
            io.FileIO(number, "w", closefd=False), "utf-8", "replace", write_through=True
        )
        setattr(sys, name, stream)
    signal.set_wakeup_fd(-1)  # a kernel's event loop would be woken by signals of the child
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(os, "setsid"):
        os.setsid()  # the keys that interrupt the parent do not reach the child, whom the parent then ends
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tqdm's about ipywidgets
        import tqdm.auto
    tqdm.auto.tqdm = (
        tqdm.std.tqdm
    )  # a bar of text: the messages of a widget do not leave a forked kernel
    gc.freeze()
    torch.set_num_threads(1)  # threads do not survive a fork, and waiting for them would never end
    if sys.platform == "linux":
        with suppress(
            OSError, AttributeError
        ):  # glibc: give blocks of 256 kB and more back as soon as they are free,
            ctypes.CDLL(None).mallopt(
                M_MMAP_THRESHOLD, 1 << 18
            )  # so that a peak is what was held, not what was kept


def _set_cap(limit: int) -> tuple[tuple[int, int] | None, int]:
    """Cap private memory at what is held plus `limit`; return the old pair (None: no cap here) and what is allowed."""
    if resource is None or sys.platform != "linux":
        return None, limit
    status = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    held = next(int(words[1]) * 1024 for words in status if words[0] == "VmData:")
    old = resource.getrlimit(resource.RLIMIT_DATA)
    cap = min(
        [held + limit, sys.maxsize, *(bound for bound in old if bound != resource.RLIM_INFINITY)]
    )
    resource.setrlimit(resource.RLIMIT_DATA, (min(held, cap), old[1]))  # nothing new, for a moment
    in_force = _take_free_blocks(held)
    resource.setrlimit(resource.RLIMIT_DATA, (cap, old[1]) if in_force else old)
    return (old, cap - held) if in_force else (None, limit)


def _take_free_blocks(held: int) -> bool:
    """Take for good what malloc would give this thread of the parent's past; False where no limit stops it at `held`.

    A cap counts new addresses, and what was freed needs none.
    """
    (size, least), taken = FREE_BLOCKS, 0
    with suppress(
        AttributeError, MemoryError
    ):  # another C library; what Python itself needs for the loop
        malloc = ctypes.CDLL(None).malloc
        malloc.argtypes, malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
        while size >= least and taken <= held:
            if malloc(size):
                taken += size
            else:
                size //= 2
    return taken <= held


def _lift_cap(old: tuple[int, int] | None) -> None:
    """Put the limit back as it was, if there was one to set."""
    if old is not None:
        resource.setrlimit(resource.RLIMIT_DATA, old)


def _failure(error: BaseException, capped: bool) -> dict[str, object]:
    """The fields of a run that raised: Python's own line for the error, and the way to it."""
    text = "".join(traceback.format_exception_only(error)).strip()
    frames = "".join(
        traceback.format_exception(error.with_traceback(error.__traceback__.tb_next))
    )  # without `serve`
    no_stack = capped and "can't start new thread" in text  # its stack is private memory, too
    outcome = "out of memory" if no_stack or is_out_of_memory(error) else "failed"
    return {"outcome": outcome, "error": text, "traceback": frames}


def _unsendable(fields: dict[str, object], error: Exception) -> dict[str, object]:
    """The fields of a run whose value cannot be pickled."""
    kind = type(fields["value"]).__name__
    text = f"the value, a {kind}, cannot be sent back ({type(error).__name__}: {error})"
    remedy = "return numbers, text, arrays, tensors, or lists and dicts of them"
    return {"outcome": "failed", "error": f"{text}: {remedy}", "seconds": fields["seconds"]}


def _write(path: Path, content: object) -> None:
    """Write a file that is there whole or not at all."""
    part = path.with_suffix(".part")
    part.write_bytes(pickle.dumps(content))
    os.replace(part, path)
