"""What a writer of shards does to its folder: write a shard for good, find and remove strays, keep others out."""

import errno
import hashlib
import io
import os
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil

from dlhelpers.base.sizes import human_bytes
from dlhelpers.packed.manifests import PARTIAL, Shard, file_sha256, sync_folder

CHUNK = 2**20  # bytes written and hashed at a time
OURS = re.compile(
    r"(images|labels)-\d{5,}(-[0-9a-f]{8}\.npy|\.npy\.partial)|(manifest|unfinished)\.json\.partial"
)
LOCK = ".writing-"  # then the writing process and the second in which it started
ROOM = 2**14  # bytes beyond the arrays: headers, the journal and the manifest


def write_shard(folder: Path, number: int, images: np.ndarray, labels: np.ndarray) -> Shard:
    """Write images, uint8 (N, C, H, W), and labels, int64 (N,), as two .npy files, on the disk when this returns.

    Both arrays have to be contiguous. A file's name holds part of its sha256. Raises OSError where the disk refuses;
    no file is then left half-written.
    """
    parts = (("images", images), ("labels", labels))
    names, digests, sizes = zip(
        *(_write_array(folder, part, number, array) for part, array in parts), strict=True
    )
    sync_folder(folder)
    return Shard(*names, len(labels), *digests, *sizes)


def is_intact(folder: Path, shard: Shard) -> bool:
    """Whether both files of a shard are there and hash to what it says."""
    paths = [(folder / name, digest) for name, digest, _ in shard.files]
    return all(path.is_file() and file_sha256(path) == digest for path, digest in paths)


def need_space(folder: Path, arrays: int, freed: int = 0) -> None:
    """OSError (ENOSPC) unless the disk of a folder takes so many bytes of arrays, `freed` bytes being removed first."""
    free = shutil.disk_usage(folder).free + freed
    if free < arrays + ROOM:
        raise OSError(
            errno.ENOSPC,
            f"{folder} is to take {human_bytes(arrays + ROOM)}, and its disk has {human_bytes(free)} free:"
            " free some space, or choose another disk or smaller images",
        )


def find_strays(folder: Path, keep: Iterable[Shard]) -> list[Path]:
    """Return the files of stopped writers and replaced datasets: named as a writer does, and of no shard to keep."""
    kept = {name for shard in keep for name, _, _ in shard.files}
    return [
        path for path in folder.iterdir() if OURS.fullmatch(path.name) and path.name not in kept
    ]


def remove_files(paths: Iterable[Path]) -> None:
    """Remove files, but for those that the system keeps while a reader has them open."""
    for path in paths:
        with suppress(PermissionError):  # Windows: the next writer removes them
            path.unlink(missing_ok=True)


def lock_folder(folder: Path) -> Path:
    """Return the path of a lock that keeps other writers of this machine out of a folder until it is removed.

    Raises BlockingIOError where another writer is at work. The lock of a process that has ended does not count.
    """
    mine = folder / f"{LOCK}{os.getpid()}-{int(psutil.Process().create_time())}"
    try:
        mine.touch(exist_ok=False)
    except FileExistsError:
        _refuse(folder, mine)
    for other in folder.glob(f"{LOCK}*"):  # after making its own: of two at once, no two go on
        if other != mine and _alive(other):
            mine.unlink()
            _refuse(folder, other)
        if other != mine:
            other.unlink(missing_ok=True)
    return mine


def _write_array(folder: Path, part: str, number: int, array: np.ndarray) -> tuple[str, str, int]:
    """Write one file, hashing it on the way: its name, sha256 and bytes."""
    partial = folder / f"{part}-{number:05d}.npy{PARTIAL}"
    header, digest = io.BytesIO(), hashlib.sha256()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    try:
        with partial.open("wb") as file:
            for content in (memoryview(header.getvalue()), memoryview(array).cast("B")):
                for start in range(0, len(content), CHUNK):
                    file.write(content[start : start + CHUNK])
                    digest.update(content[start : start + CHUNK])
            file.flush()
            os.fsync(file.fileno())  # on the disk before the name points to it
        name = f"{part}-{number:05d}-{digest.hexdigest()[:8]}.npy"
        os.replace(partial, folder / name)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return name, digest.hexdigest(), header.tell() + array.nbytes


def _alive(lock: Path) -> bool:
    try:
        pid, started = map(int, lock.name.removeprefix(LOCK).split("-"))
        process = psutil.Process(pid)
        same = (
            abs(process.create_time() - started) < 3
        )  # or the number has been given to another process since
        return same and process.status() != psutil.STATUS_ZOMBIE
    except (ValueError, psutil.NoSuchProcess):
        return False


def _refuse(folder: Path, lock: Path) -> None:
    pid = lock.name.removeprefix(LOCK).split("-")[0]
    raise BlockingIOError(
        f"process {pid} is writing into {folder}: wait until it ends, or choose another folder"
    ) from None
