"""What this process uses of its memory, what the machine can spare, and the peak of a stretch of code.

Use and room are read from the system, whose numbers differ in honesty: a container's limit is read from its control
groups, because psutil sees the whole host.

The meter of a peak was chosen by experiment: on Linux the kernel's own count and a thread that looks every millisecond
agree to 0.1 %, and only the thread takes time; `getrusage` cannot be set anew, and saved tensors add up to less than
half of what the process really held.
"""

import ctypes
import gc
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace
from typing import NamedTuple

import psutil
import torch

OWN_GROUPS = Path("/proc/self/cgroup")  # what this process is in
GROUPS = Path("/sys/fs/cgroup")  # all groups
GROUP_FILES = {  # of version 2 and of version 1: folder, limit, use, kinds of files in memory.stat
    "": ("", "memory.max", "memory.current", ""),
    "memory": ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
}
NO_LIMIT = 2**60  # bytes: what version 1 gives for none is larger
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
SAMPLE_SECONDS = 0.005  # between two looks at the memory, where the system keeps no peak
# the words of allocators, of NumPy, cuBLAS and cuDNN, of oneDNN, and of threads, whose stacks are memory, too
OUT_OF_MEMORY = (
    "out of memory|not enough memory|(can't|cannot|unable to) allocate|bad_alloc|alloc_failed"
    "|unable to find an engine to execute|create a primitive|can't start new thread"
)


def memory_budget(device: torch.device | str = "cpu") -> int:
    """Return the bytes still free for this process: on a GPU its free memory, on the host the tightest known limit.

    The host's limits: the control groups around this process (versions 2 and 1), the variable MEM_LIMIT that Binder
    sets, and the free memory that psutil reports. What is already used is taken off: in a control group by all its
    processes, which share the limit, of MEM_LIMIT by this one. A process's own limits (`ulimit`) are not asked: beyond
    them an allocation fails with an error, and nothing is killed.
    Raises what PyTorch raises for a device that this machine does not have.
    """
    device = torch.device(device)
    if device.type == "cpu":
        rooms = [psutil.virtual_memory().available, *_group_rooms()]
        told = os.environ.get("MEM_LIMIT", "")
        if told.isdigit():
            rooms.append(int(told) - memory_use().private)
        return max(0, min(rooms))
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return torch.accelerator.get_memory_info(device)[0]


class MemoryUse(NamedTuple):
    """Bytes of RAM that a process holds, by where they came from; all of them are `private` where only that is told.

    Only `private` memory (anonymous, as Linux calls it) is the process's own: file-backed pages can be dropped and read
    again, shared ones are counted in every process that maps them. A forked process counts as private what it still
    shares with its parent.
    """

    private: int
    file_backed: int = 0
    shared: int = 0


def memory_use(pid: int | None = None) -> MemoryUse:
    """Return what a process (this one by default) holds in RAM; the parts on Linux, elsewhere only their sum.

    Source: RssAnon, RssFile and RssShmem of /proc/PID/status (Linux manual page proc_pid_status(5)).
    Raises psutil.NoSuchProcess for a process that is gone.
    """
    # the parts first: of a process that ends between two looks the sum would be taken for its private memory
    if parts := re.findall(r"Rss\w+:\s+(\d+) kB", _text(Path(f"/proc/{pid or 'self'}/status"))):
        return MemoryUse(*(1024 * int(part) for part in parts))
    return MemoryUse(psutil.Process(pid).memory_info().rss)


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory ran out (CUDA, XPU, MPS or host), and not that something else broke.

    Example: torch.OutOfMemoryError and a CPU allocator's RuntimeError do; "illegal memory access" does not.
    """
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, (RuntimeError, OSError)) and tells_out_of_memory(str(error))


def tells_out_of_memory(text: str) -> bool:
    """Say whether a message is one of those that are given when memory runs out."""
    return re.search(OUT_OF_MEMORY, text, re.IGNORECASE) is not None


def memory_held(device: torch.device) -> int:
    """Return the bytes that this process holds on a device: tensors on an accelerator, private memory on the host."""
    if device.type == "cpu":
        return memory_use().private
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    return torch.accelerator.memory_allocated(device)


def release_memory(device: torch.device, generation: int = 2) -> None:
    """Give back to the system what only allocators still hold, so that the next measurement sees what is new.

    generation  of Python's collector: 2 looks at every object, which can take half a second, 1 at the young ones
    """
    gc.collect(generation)
    if device.type != "cpu":
        torch.get_device_module(device).empty_cache()
        return
    # freed memory that glibc keeps would be used again unseen, and hide hundreds of megabytes
    with suppress(AttributeError, OSError, TypeError):  # another C library has rules of its own
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def peak_memory(device: torch.device) -> Iterator[SimpleNamespace]:
    """Measure the most bytes held on a device during a `with`; afterwards they are in `bytes` of what it gives.

    Accelerators keep the count themselves. Linux keeps one for the resident memory, which writing 5 to
    /proc/self/clear_refs sets anew (Linux manual page proc_pid_clear_refs(5)); file-backed and shared pages that are
    there at the end are taken off. Elsewhere a thread looks every few milliseconds, and can miss a short peak.
    """
    peak = SimpleNamespace(bytes=0)
    if device.type not in ("cpu", "mps"):
        torch.accelerator.reset_peak_memory_stats(device)
        yield peak
        peak.bytes = torch.accelerator.max_memory_allocated(device)
    elif device.type == "cpu" and _forget_peak():
        yield peak
        use = memory_use()
        highest = 1024 * int(_text(STATUS).partition("VmHWM:")[2].split()[0])
        peak.bytes = highest - use.file_backed - use.shared
    else:
        done = Event()

        def watch():
            while not done.wait(SAMPLE_SECONDS):
                peak.bytes = max(peak.bytes, memory_held(device))

        thread = Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield peak
        finally:
            done.set()
            thread.join()
        peak.bytes = max(peak.bytes, memory_held(device))


def _forget_peak():
    """Make the kernel count the peak from here on; False where it cannot."""
    try:
        CLEAR.write_text("5")
    except OSError:
        return False
    return "VmHWM:" in _text(STATUS)


def _group_rooms():
    """What is left in each control group with a limit, from this process's own up to the root.

    Files that the system may drop do not count as used.
    """
    rooms = []
    for line in _text(OWN_GROUPS).splitlines():
        _, names, path = line.split(":", 2)
        if names not in GROUP_FILES:
            continue
        folder, most, used_now, kind = GROUP_FILES[names]
        own = Path(path.lstrip("/"))
        for inner in (own, *own.parents):  # a container sees only some of them
            group = GROUPS / folder / inner
            limit = _text(group / most).strip()
            if limit.isdigit() and int(limit) < NO_LIMIT:  # and not "max", or no file
                files = rf"^{kind}(?:in)?active_file (\d+)"
                cached = re.findall(files, _text(group / "memory.stat"), re.M)
                rooms.append(int(limit) - int(_text(group / used_now)) + sum(map(int, cached)))
    return rooms


def _text(file):
    """What a file of the system says; nothing where it is missing or not for this process."""
    try:
        return file.read_text()
    except OSError:
        return ""
