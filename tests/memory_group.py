"""A control group of the system: processes in it share a limit on memory, page cache included, without swap."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDERS = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup"))  # of version 1, and of version 2
FILES = (
    ("memory.limit_in_bytes", {"memory.swappiness": "0"}, "memory.max_usage_in_bytes"),
    ("memory.max", {"memory.swap.max": "0"}, "memory.peak"),
)


class MemoryGroup:
    """A group with a limit in bytes: a process enters it for good, its children are in it from the start."""

    def __init__(self, folder: Path, peak: str):
        self.folder, self._peak = folder, peak

    def enter(self) -> None:
        """Put the calling process into the group."""
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    @property
    def peak(self) -> int:
        """The most that all processes of the group held together, in bytes, page cache included."""
        return int((self.folder / self._peak).read_text())


@contextmanager
def memory_group(name: str, limit: int) -> Iterator[MemoryGroup]:
    """Make a group with a limit in bytes and remove it at the end; OSError where none can be made."""
    first = (FOLDERS[0] / FILES[0][0]).exists()
    folder, (cap, more, peak) = (FOLDERS[0], FILES[0]) if first else (FOLDERS[1], FILES[1])
    group = folder / name
    group.mkdir(exist_ok=True)
    try:
        for file, value in {cap: str(limit), **more}.items():
            (group / file).write_text(value)
        yield MemoryGroup(group, peak)
    finally:
        group.rmdir()
