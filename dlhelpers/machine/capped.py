"""Run a function in a child process under a hard cap on its private memory, and tell what became of it.

A child, because a limit that was lowered stays low, and because a process that the
system kills is lost: this one must not be the learner's kernel. Result and output travel through files, so that neither
a full pipe nor a worker that outlives the child can hold us up.
"""

import codecs
import os
import pickle
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Literal

import psutil
import torch

from dlhelpers.base.checks import check_whole
from dlhelpers.base.sizes import human_bytes
from dlhelpers.base.tables import Table
from dlhelpers.machine.child_process import end_child, start_child
from dlhelpers.machine.limited_child import check_sendable, serve
from dlhelpers.machine.memory import MemoryUse, memory_use, tells_out_of_memory
from dlhelpers.machine.peaks import release_memory

LEAST = 16_000_000  # bytes: the stack of one thread takes half of it
TICK = 0.005  # seconds between two looks at the child


@dataclass(frozen=True, repr=False)
class LimitedRun:
    """What became of a function under a cap: sizes in bytes, peaks beyond what the child held when the function began.

    outcome, value     how it ended; what the function returned
    error, traceback   the error's type and text, and where it arose in the child
    peak_private       most anonymous memory of the child, looked at every 5 ms, without processes that it started
    peak_file_backed   most file-backed memory, which the system may drop and read again; None where it is not told
    seconds            inside the function, or until the child was killed
    limit, capped      the bytes allowed (less than asked where the system allows less); whether a cap was in force
    """

    outcome: Literal["returned", "out of memory", "failed", "killed"]
    value: object = None
    error: str = ""
    traceback: str = ""
    peak_private: int | None = None
    peak_file_backed: int | None = None
    seconds: float = 0.0
    limit: int = 0
    capped: bool = False

    def __repr__(self) -> str:
        """Outcome, cap and error: nothing that was measured, so that two runs read the same."""
        cap = "without a cap on private memory: this system has none"
        if self.capped:
            cap = f"under a cap of {human_bytes(self.limit)} of private memory"
        elif self.peak_private is None:
            cap = "before the function began"
        return "\n".join([f"{self.outcome} {cap}", *self.error.splitlines()[:1]])

    def table(self) -> Table:
        """Return all figures as a table; they differ a little from run to run."""
        sizes = {
            "limit": self.limit,
            "peak private": self.peak_private,
            "peak file-backed": self.peak_file_backed,
        }
        rows = [
            (name, "unknown" if size is None else human_bytes(size)) for name, size in sizes.items()
        ]
        rows = [
            ("outcome", self.outcome),
            ("capped", self.capped),
            *rows,
            ("seconds", f"{self.seconds:.2f}"),
        ]
        return Table(["figure", "value"], rows, notes=[self.error] if self.error else [])


def run_limited(
    target: Callable,
    *args: object,
    limit: int,
    timeout: float | None = None,
    start_method: Literal["fork", "spawn"] | None = None,
) -> LimitedRun:
    """Run `target(*args)` in a child process that may take `limit` bytes of private memory beyond what it starts with.

    The cap is Linux's RLIMIT_DATA, which counts private, writable addresses (Linux manual page getrlimit(2)): arrays,
    tensors, stacks, but not a file mapped for reading, nor shared memory. Processes that `target` starts, as workers of
    a DataLoader, inherit the cap, each for itself. What this process has freed is not free to the child, except pieces
    under 1 kB and what threads have freed. Other systems have no such cap: there the child runs without, the result
    says so, and it is stopped only when the machine runs short.

    The child computes with one thread and no GPU; what it prints appears here, as text, but not what it displays.
    The first optimizer that a process makes imports torch._dynamo, about 80 MB and seconds: make one before the run.
    timeout       seconds after which it is killed
    start_method  "fork" (where there is one) takes a notebook's functions; "spawn" imports the function from its module
    Whatever befalls the child is told by the result. Raises ValueError for a limit under 16 MB or not whole and for a
    timeout that is not positive, TypeError for a target that cannot be called or, with "spawn", cannot be sent.
    """
    if not callable(target):
        came = f"target is {type(target).__name__}: expected a function, its arguments behind it"
        raise TypeError(f"{came}, as run_limited(train, 3, limit=500_000_000)")
    check_whole(
        "limit",
        limit,
        LEAST,
        " bytes (16 MB): a single thread's stack takes 8 MB; 500 MB is 500_000_000",
    )
    if timeout is not None and (
        isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout > 0
    ):
        raise ValueError(
            f"timeout is {timeout!r}: expected seconds above 0, or None to wait for as long as it takes"
        )
    start_method = start_method or ("fork" if hasattr(os, "fork") else "spawn")
    if start_method == "spawn":
        check_sendable(target, args)
    release_memory(
        torch.device("cpu"), 1
    )  # what the allocator keeps free here, the child could fill uncounted
    with TemporaryDirectory(prefix="limited-") as folder:
        process = get_context(start_method).Process(
            target=serve, args=(Path(folder), target, args, limit)
        )
        watch = _Watch(process, Path(folder), timeout)
        try:
            start_child(process)
            while process.exitcode is None:
                wait([process.sentinel], TICK)
                watch.look()
        finally:
            end_child(process)
            watch.relay()
        return replace(
            watch.result(),
            limit=watch.start.get("limit", limit),
            capped=watch.start.get("capped", False),
        )


class _Watch:
    """The parent's eye on the child: its memory, its output, its time."""

    def __init__(self, process: BaseProcess, folder: Path, timeout: float | None):
        self.process, self.folder, self.timeout, self.began = (
            process,
            folder,
            timeout,
            perf_counter(),
        )
        self.start, self.stopped, self.private, self.file_backed = {}, "", 0, 0
        self.spare = min(
            psutil.virtual_memory().total // 10, psutil.virtual_memory().available // 2
        )
        self.decoders = {
            name: codecs.getincrementaldecoder("utf-8")("replace") for name in ("stdout", "stderr")
        }
        self.read, self.tail = dict.fromkeys(self.decoders, 0), ""

    def look(self) -> None:
        """Note the child's memory, pass on what it printed, stop it where its time or the machine's memory is over."""
        if not self.start and (self.folder / "start").exists():
            self.start = pickle.loads((self.folder / "start").read_bytes())
        if self.start:
            try:
                self.note(memory_use(self.process.pid))
            except psutil.Error:
                pass  # it ended meanwhile
            if not self.start["capped"] and psutil.virtual_memory().available < self.spare:
                self.stop(
                    f"this system has no cap, and less than {human_bytes(self.spare)} of the machine was left"
                )
        if self.timeout is not None and perf_counter() - self.began > self.timeout:
            self.stop(f"it was still running at its timeout of {self.timeout:g} seconds")
        self.relay()

    def note(self, use: MemoryUse) -> None:
        """Raise the peaks to what is held now."""
        self.private = max(self.private, use.private)
        self.file_backed = max(self.file_backed, use.file_backed or 0)

    def stop(self, reason: str) -> None:
        """Kill the child, which ends the loop that watches it."""
        self.stopped = self.stopped or reason
        self.process.kill()

    def relay(self) -> None:
        """Print here what the child has printed since the last time."""
        for name, decoder in self.decoders.items():
            if (self.folder / name).exists():
                with open(self.folder / name, "rb") as file:
                    file.seek(self.read[name])
                    new = file.read()
                self.read[name] += len(new)
                text = decoder.decode(new)
                if text:
                    getattr(sys, name).write(text)
                    self.tail = (self.tail + text)[-2000:] if name == "stderr" else self.tail

    def result(self) -> LimitedRun:
        """Put together what the child reported, or what its end tells where it reported nothing."""
        try:
            fields, end = pickle.loads((self.folder / "report").read_bytes())
            run = LimitedRun(**fields)
            self.note(end)
        except FileNotFoundError:
            run = self.sudden_end()
        except (
            Exception
        ) as error:  # a class that exists in the child alone: any error may come of it
            run = LimitedRun(
                "failed", error=f"the value cannot be read here: {type(error).__name__}: {error}"
            )
        if self.start:
            begin = self.start["use"]
            file_backed = (
                None if begin.file_backed is None else max(0, self.file_backed - begin.file_backed)
            )
            run = replace(
                run, peak_private=max(0, self.private - begin.private), peak_file_backed=file_backed
            )
        return run

    def sudden_end(self) -> LimitedRun:
        """The run of a child that ended without a report: stopped by us, by a signal, or by os._exit."""
        code, seconds = self.process.exitcode, perf_counter() - self.began
        if self.stopped:
            return LimitedRun(
                "killed", error=f"killed by the parent: {self.stopped}", seconds=seconds
            )
        name = next(
            (f"signal {s.value} ({s.name})" for s in signal.Signals if s.value == -code),
            f"exit code {code}",
        )
        text = "; ".join(line for line in self.tail.splitlines()[-3:] if line)
        error = f"ended by {name} without a result{f': {text}' if text else ''}"
        outcome = (
            "out of memory" if tells_out_of_memory(text) else "killed" if code < 0 else "failed"
        )
        return LimitedRun(outcome, error=error, seconds=seconds)
