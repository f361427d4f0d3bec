"""What this process uses of its memory, and what the machine can spare.

Both are read from the system, whose numbers differ in honesty: a container's limit is read from its control groups,
because psutil sees the whole host.
"""

import errno
import os
import re
import sys
from pathlib import Path
from typing import NamedTuple

import psutil
import torch

try:
    import resource
except ImportError:  # Windows
    resource = None

OWN_GROUPS = Path("/proc/self/cgroup")  # what this process is in
GROUPS = Path("/sys/fs/cgroup")  # all groups
GROUP_FILES = {  # of the version with this name of the controller: folder, limit, use, kinds of files in memory.stat
    "": ("", "memory.max", "memory.current", ""),
    "memory": ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
}


def memory_budget(device: torch.device | str = "cpu") -> int:
    """Return the bytes still free for this process: on a GPU its free memory, on the host the tightest known limit.

    The host's limits: the control groups around this process (versions 2 and 1), the variable MEM_LIMIT that Binder
    sets, the process's own (RLIMIT_DATA, RLIMIT_AS), and the free memory that psutil reports. What is already used is
    taken off: in a control group by all its processes, which share the limit, elsewhere by this one.
    Raises what PyTorch raises for a device that this machine does not have.
    """
    device = torch.device(device)
    if device.type == "cpu":
        private = memory_use().private
        rooms = [psutil.virtual_memory().available, *_group_rooms(), *_own_rooms()]
        if told := _number(os.environ.get("MEM_LIMIT")):
            rooms.append(told - private)
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
    file_backed: int | None = None
    shared: int | None = None


def memory_use(pid: int | None = None) -> MemoryUse:
    """Return what a process (this one by default) holds in RAM; the parts on Linux, elsewhere only their sum.

    Source: RssAnon, RssFile and RssShmem of /proc/PID/status (Linux manual page proc_pid_status(5)).
    Raises psutil.NoSuchProcess for a process that is gone.
    """
    resident = psutil.Process(pid).memory_info().rss
    parts = re.findall(r"Rss\w+:\s+(\d+) kB", _text(Path(f"/proc/{pid or 'self'}/status")))
    return MemoryUse(*(1024 * int(part) for part in parts)) if parts else MemoryUse(resident)


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory ran out (CUDA, XPU, MPS or host), and not that something else broke.

    Example: torch.OutOfMemoryError and a CPU allocator's RuntimeError do; "illegal memory access" does not.
    """
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and tells_out_of_memory(str(error))


def tells_out_of_memory(text: str) -> bool:
    """Say whether a message is one of those that allocators give when memory runs out."""
    known = (
        "out of memory",
        "not enough memory",
        "can't allocate memory",
        "cannot allocate memory",
        "unable to allocate",
        "std::bad_alloc",
        "cublas_status_alloc_failed",
        "cudnn_status_alloc_failed",
        "can't start new thread",  # its stack is memory, too
        "unable to find an engine to execute",  # cuDNN, where no algorithm's workspace fits
    )
    return any(words in text.lower() for words in known)


def _group_rooms() -> list[int]:
    """What is left in each control group with a limit, from this process's own up to the root.

    Files that the system may drop do not count as used.
    """
    own = {}
    for line in _text(OWN_GROUPS).splitlines():
        number, names, path = line.split(":", 2)
        own |= dict.fromkeys(names.split(","), path.lstrip("/"))
    rooms = []
    for controller, (folder, most, use, kind) in GROUP_FILES.items():
        path = Path(own.get(controller, ""))
        for inner in (path, *path.parents):  # a container sees only some of them
            group = GROUPS / folder / inner
            limit = _number(_text(group / most))
            if limit is not None:
                files = rf"^{kind}(?:in)?active_file (\d+)"
                cached = re.findall(files, _text(group / "memory.stat"), re.M)
                used = _number(_text(group / use)) or 0
                rooms.append(limit - max(0, used - sum(map(int, cached))))
    return rooms


def _text(file: Path) -> str:
    """What a file of the system says; nothing where it is missing or not for this process."""
    try:
        return file.read_text()
    except OSError:
        return ""


def _own_rooms() -> list[int]:
    """What this process's own limits leave: they count addresses, private and writable ones (DATA) or all (AS)."""
    if sys.platform != "linux":
        return []
    held = psutil.Process().memory_info()
    limits = {resource.RLIMIT_AS: held.vms, resource.RLIMIT_DATA: held.data}
    rooms = [(resource.getrlimit(kind)[0], used) for kind, used in limits.items()]
    return [limit - used for limit, used in rooms if limit != resource.RLIM_INFINITY]


def _number(text: str | None) -> int | None:
    """A limit as a number of bytes; "max", nothing, and the huge value by which version 1 says "none" give None."""
    text = (text or "").strip()
    return int(text) if text.isdigit() and 0 < int(text) < 2**60 else None
