"""Files that are written whole: a crash leaves the old file or the new one, never half of one."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def write_whole(path: str | Path) -> Iterator[BinaryIO]:
    """Give a binary file to write to, which takes the place of `path` when the `with` ends.

    It is written beside, as PATH.part (`file.name`), and is on the disk before it gets its name. When anything is
    raised inside the `with`, it is deleted and the old file stays. A full disk is an OSError that names `path`.

    Use it as `with write_whole("weights.bin") as file: file.write(b"all of it")`.
    """
    path = Path(path)
    partial = path.with_name(path.name + ".part")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # the data before the name, or a crash leaves an empty file
        os.replace(partial, path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise OSError(
                error.errno,
                "the disk is full (free some space, or write to another one); nothing changed",
                str(path),
            ) from error
        raise
    sync_folder(path.parent)


def sync_folder(folder: str | Path) -> None:
    """Bring the names in a folder to the disk; on Windows, which cannot, do nothing."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
