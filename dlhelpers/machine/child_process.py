"""Start a child process and end it so that neither is left half done, whenever the learner interrupts."""

import os
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess


def start_child(process: BaseProcess) -> None:
    """Start a process that has not been; an interrupt meanwhile is raised once the child is known."""
    with _interrupts_held_back(), warnings.catch_warnings():
        # Python 3.12 and later warn of a fork among threads; the child uses none of the parent's.
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        process.start()


def end_child(process: BaseProcess) -> None:
    """Kill a process and the group that it leads, whatever became of it, and wait until it is gone."""
    if process.pid is None:
        return  # it never began
    process.kill()
    process.join()
    if hasattr(os, "killpg"):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # nobody is left (macOS says so in the second way)


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Keep SIGINT until the end: Python drops one that comes while it forks, and a half-started child has no number."""
    old = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(old):
        yield  # only the main thread is interrupted
        return
    came = []
    signal.signal(signal.SIGINT, lambda *seen: came.append(seen))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, old)
        if came:
            old(*came[0])
