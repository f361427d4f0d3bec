"""Write a file whole or not at all."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def write_whole(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file beside `path` for writing; at the end of the `with` it takes the place of `path` at once.

    Whatever breaks off in between leaves `path` as it was and nothing beside it; a killed process leaves a file whose
    name begins with a dot. `~` is the home folder. Raises OSError, with the remedy where the disk is full.

    >>> with write_whole("notes.txt") as file:
    ...     size = file.write(b"whole or not there")
    """
    path = Path(path).expanduser()
    # Not a file of tempfile, which nobody else may read.
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with part.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # on the disk before the name points to it
        os.replace(part, path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            words = f"no space left for {path}: free some, or choose a folder on another disk"
            raise OSError(error.errno, words) from error
        raise
