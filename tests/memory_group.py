"""A control group of the system: processes in it share a limit on memory, page cache included, without swap."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDERS = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup"))  # of version 1, and of version 2
FILES = (  # the limit, what switches swap off, the peak, and how often the limit was met
    ("memory.limit_in_bytes", "memory.swappiness", "memory.max_usage_in_bytes", "memory.failcnt"),
    ("memory.max", "memory.swap.max", "memory.peak", "memory.events"),
)


def enter(group: Path) -> None:
    """Put the calling process into a group, for good; its children are in it from their start."""
    (group / "cgroup.procs").write_text(str(os.getpid()))


class MemoryGroup:
    """A group's folder, and what it has counted."""

    def __init__(self, folder: Path, peak: str, pressed: str):
        self.folder, self._peak, self._pressed = folder, peak, pressed

    @property
    def peak(self) -> int:
        """The most that all processes of the group held together, in bytes, page cache included."""
        return int((self.folder / self._peak).read_text())

    @property
    def pressed(self) -> str:
        """How often the limit was met, in the system's words."""
        return f"{self._pressed}: {(self.folder / self._pressed).read_text().split()}"


@contextmanager
def memory_group(name: str, limit: int) -> Iterator[MemoryGroup]:
    """Make a group with a limit in bytes and remove it at the end; OSError where none can be made."""
    version = 0 if (FOLDERS[0] / FILES[0][0]).exists() else 1
    group, (cap, swap, peak, pressed) = FOLDERS[version] / name, FILES[version]
    group.mkdir(exist_ok=True)
    try:
        (group / cap).write_text(str(limit))
        (group / swap).write_text("0")
        yield MemoryGroup(group, peak, pressed)
    finally:
        group.rmdir()
