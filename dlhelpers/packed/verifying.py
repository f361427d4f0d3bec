"""Say whether the files of a dataset in shards are those that were written: none missing, cut short or changed.

`check_files` compares sizes and headers, which reads a few hundred bytes of a file; `verify` reads every byte of it.
Neither repairs anything: a file that differs has to be copied or written again.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dlhelpers.base.bars import tqdm_bar
from dlhelpers.base.checks import check_whole
from dlhelpers.base.sizes import human_bytes
from dlhelpers.base.tables import ShownAsTable, Table
from dlhelpers.machine.devices import cores
from dlhelpers.packed.manifests import Manifest, file_sha256, read_manifest


@dataclass(frozen=True, repr=False)
class Report(ShownAsTable):
    """What `verify` found in how many files and bytes, and the seconds it took; `faults` are sentences, in order.

    Shown as a table, without the seconds: they differ with every run.
    """

    faults: tuple[str, ...]
    files: int
    bytes: int
    seconds: float

    @property
    def ok(self) -> bool:
        """True where every file is the one that was written."""
        return not self.faults

    def table(self) -> Table:
        """Return how many files, bytes and faults there are, with each fault as a note."""
        rows = [
            ["files", f"{self.files:,}"],
            ["bytes", human_bytes(self.bytes)],
            ["faults", f"{len(self.faults):,}"],
        ]
        return Table(["what", "number"], rows, notes=self.faults)


class _File(NamedTuple):
    """A file of a shard, and what the manifest says of it; `classes` only where it holds labels."""

    shard: int
    path: Path
    sha256: str
    bytes: int
    shape: tuple[int, ...]
    dtype: str
    classes: int | None = None


def verify(folder: str | Path, *, processes: int | None = None, progress: bool = True) -> Report:
    """Read every file of the dataset in a folder and compare it with the manifest: presence, size, header, sha256.

    Labels must lie within the classes, too. `processes` files are read at a time, by default as many as there are
    processors (in threads, since hashing needs no interpreter). The faults are reported, not raised. Raises ValueError
    for `processes` below 1, and what `read_manifest` raises where the manifest itself is missing or damaged.
    """
    if processes is not None:
        check_whole("processes", processes, 1, ", or None for all processors")
    manifest = read_manifest(folder)
    files = list(_files(Path(folder), manifest))
    started = time.perf_counter()
    faults = {
        file: _fault(file) for file in files
    }  # here: in threads, some Pythons 3.11 and 3.12 trip over headers
    pool = ThreadPoolExecutor(processes or cores())
    with tqdm_bar(progress, total=manifest.bytes, unit="B", unit_scale=True, desc="verify") as bar:
        if bar is not None:
            bar.update(sum(file.bytes for file in files if faults[file]))
        try:
            # The largest first: a large one begun last would leave the other processors idle.
            order = sorted(files, key=lambda file: -file.bytes)
            jobs = {pool.submit(_fault_inside, file): file for file in order if not faults[file]}
            for job in as_completed(jobs):
                faults[jobs[job]] = job.result()
                if bar is not None:
                    bar.update(jobs[job].bytes)
        finally:
            pool.shutdown(
                cancel_futures=True
            )  # an interrupt waits for the files at hand, not for all
    found = tuple(faults[file] for file in files if faults[file])
    return Report(found, len(files), manifest.bytes, time.perf_counter() - started)


def check_files(folder: str | Path, manifest: Manifest) -> tuple[str, ...]:
    """Return a sentence for each file that is missing, or whose size or header is not what the manifest says."""
    return tuple(fault for file in _files(Path(folder), manifest) if (fault := _fault(file)))


def open_array(path: Path, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Return the array of an `.npy` file as a read-only map; nothing is read yet but its header.

    Raises ValueError for a file that is no such array, or of another shape or dtype, and OSError where it cannot be
    opened; the message begins with the file's name.
    """
    try:
        # As a plain array: a row of a memmap is a memmap again, which takes longer to make than to copy.
        array = np.asarray(np.lib.format.open_memmap(path, mode="r"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path.name} is missing") from None
    except ValueError as error:
        raise ValueError(f"{path.name} is no .npy file that NumPy can map ({error})") from None
    if array.shape != shape or array.dtype != np.dtype(dtype) or not array.flags.c_contiguous:
        order = "" if array.flags.c_contiguous else " in Fortran order"
        raise ValueError(
            f"{path.name} holds {array.dtype} of shape {array.shape}{order}: expected {dtype} of {shape}"
        )
    return array


def _files(folder: Path, manifest: Manifest) -> Iterator[_File]:
    for number, shard in enumerate(manifest.shards):
        (images, images_hash, images_bytes), (labels, labels_hash, labels_bytes) = shard.files
        shape = (shard.rows, *manifest.shape)
        yield _File(number, folder / images, images_hash, images_bytes, shape, manifest.dtype)
        yield _File(
            number,
            folder / labels,
            labels_hash,
            labels_bytes,
            (shard.rows,),
            "int64",
            len(manifest.classes),
        )


def _fault(file: _File) -> str | None:
    """What is wrong with a file from outside, in a sentence, or None: missing, of another size, with another header."""
    name, where = file.path.name, f"shard {file.shard}: "
    try:
        found = file.path.stat().st_size
        if found != file.bytes:
            return f"{where}{name} holds {found:,} bytes: expected {file.bytes:,}"
        open_array(file.path, file.shape, file.dtype)
    except FileNotFoundError:
        return f"{where}{name} is missing"
    except ValueError as error:
        return f"{where}{error}"
    except OSError as error:
        return f"{where}{name} cannot be read ({error.strerror or error})"
    return None


def _fault_inside(file: _File) -> str | None:
    """What is wrong with the bytes of a file that has no fault from outside, in a sentence, or None."""
    name, where = file.path.name, f"shard {file.shard}: "
    try:
        digest = file_sha256(file.path)
        if digest != file.sha256:
            hashes = f"sha256 {digest[:8]}..., expected {file.sha256[:8]}..."
            return f"{where}{name} holds other bytes than were written: {hashes}"
        if file.classes is not None:
            labels = np.fromfile(
                file.path, file.dtype, offset=file.bytes - 8 * file.shape[0]
            )  # behind the header
            if not 0 <= labels.min() <= labels.max() < file.classes:
                found = f"labels from {labels.min()} to {labels.max()}"
                return f"{where}{name} holds {found}: expected 0 to {file.classes - 1}"
    except OSError as error:
        return f"{where}{name} cannot be read ({error.strerror or error})"
    return None
