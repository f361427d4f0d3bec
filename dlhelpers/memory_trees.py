"""What a process and all that descend from it hold together: a DataLoader's workers count, their shared pages once.

A look takes some milliseconds, so these meters are for what lasts: a training epoch, not a single step.
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Self

import psutil

from dlhelpers.memory import MemoryUse, memory_use

SAMPLE_SECONDS = 0.02  # between two looks


def tree_memory(pid: int | None = None) -> MemoryUse:
    """Return what a process (this one by default) and all that descend from it hold together, as with its workers.

    A page that n processes map counts 1/n in each, also where some of them are outside the tree (Pss of
    /proc/PID/smaps_rollup, Linux manual page proc_pid_smaps(5)). Where that cannot be read, the plain figures are
    added, and shared pages count several times. Raises psutil.NoSuchProcess for a process that is gone.
    """
    root = psutil.Process(pid)
    uses = [_proportional(root.pid) or memory_use(root.pid)]
    for child in root.children(recursive=True):
        try:
            use = _proportional(child.pid) or memory_use(child.pid)
        except psutil.NoSuchProcess:
            continue  # it ended while we looked
        if use.anonymous is not None or uses[0].anonymous is None:  # else it has ended, and waits to be noticed
            uses.append(use)
    return _combine(sum, uses)


class TreePeak:
    """Measure the most that this process and its descendants held during a `with`; afterwards it is in `peak`.

    A thread looks with `tree_memory`, waits 20 milliseconds, and can miss what lasts less; each figure is a peak of its
    own. A process that `subprocess` is just starting shares all memory with its parent, which then counts twice.
    `peaks.PeakMemory` misses nothing and costs less, but sees one process. `pid` is another tree to watch.
    """

    def __init__(self, pid: int | None = None):
        self.pid, self._done, self._thread = pid, Event(), Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self.peak = tree_memory(self.pid)
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        """Look until told to stop, and once more."""
        done = False
        while not done:
            done = self._done.wait(SAMPLE_SECONDS)
            try:
                self.peak = _combine(max, [self.peak, tree_memory(self.pid)])
            except psutil.NoSuchProcess:
                return


def _proportional(pid: int) -> MemoryUse | None:
    """A process's share of what it maps; None where the system does not tell."""
    try:
        lines = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines())
        parts = {words[0]: int(words[1]) * 1024 for words in lines if words[0].startswith("Pss")}
        return MemoryUse(parts["Pss:"], parts["Pss_Anon:"], parts["Pss_File:"], parts["Pss_Shmem:"])
    except (OSError, KeyError):
        return None


def _combine(how: Callable, uses: list[MemoryUse]) -> MemoryUse:
    """Sum or maximum of each part; None where a part is unknown for one of them."""
    columns = zip(*(asdict(use).values() for use in uses), strict=True)
    return MemoryUse(*(None if None in column else how(column) for column in columns))
