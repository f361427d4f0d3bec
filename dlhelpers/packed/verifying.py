"""Say whether the files of a packed dataset are those that were written: none missing, cut short or changed.

It repairs nothing: a file that differs has to be copied or written again.
"""

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dlhelpers.base.progress_bars import tqdm_bar
from dlhelpers.base.sizes import human_bytes
from dlhelpers.base.tables import ShownAsTable, Table
from dlhelpers.machine.devices import cores
from dlhelpers.packed.manifest import HEADER, Manifest, find_outer_faults, read_manifest

CHUNK = 2**18  # bytes hashed at a time: they stay in the processor's cache


@dataclass(frozen=True, repr=False)
class Report(ShownAsTable):
    """What `verify` found in how many samples and bytes, and the seconds it took; `faults` are sentences, in order.

    Shown as a table, without the seconds: they differ with every run.
    """

    faults: tuple[str, ...]
    samples: int
    bytes: int
    seconds: float

    @property
    def ok(self) -> bool:
        """True where every byte is as it was written."""
        return not self.faults

    def table(self) -> Table:
        """Return how many samples, bytes and faults there are, with each fault as a note."""
        rows = [
            ["samples", f"{self.samples:,}"],
            ["bytes", human_bytes(self.bytes)],
            ["faults", f"{len(self.faults):,}"],
        ]
        return Table(["what", "number"], rows, notes=self.faults)


class _Stretch(NamedTuple):
    """A number of rows of a file from `first` on, each of `row` bytes, and the sha256 that they were written with."""

    path: Path
    first: int
    rows: int
    row: int
    sha256: str

    def fault(self) -> str | None:
        """What is wrong, in a sentence, or None."""
        place = f"{self.path.name}, rows {self.first:,} to {self.first + self.rows - 1:,}"
        digest, buffer, left = hashlib.sha256(), memoryview(bytearray(CHUNK)), self.rows * self.row
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(HEADER + self.first * self.row)
                # Read and hashed without the interpreter's lock, so that threads share the work.
                while left and (count := file.readinto(buffer[: min(left, CHUNK)])):
                    digest.update(buffer[:count])
                    left -= count
        except OSError as error:
            return f"{place}: cannot be read ({error.strerror})"
        found = digest.hexdigest()
        if found == self.sha256:
            return None
        hashes = f"sha256 {found[:8]}..., expected {self.sha256[:8]}..."
        return f"{place}: other bytes than were written, {hashes}"


def verify(folder: str | Path, *, progress: bool = True) -> Report:
    """Read every byte of the dataset in a folder, with all cores, and compare it with what was written.

    Faults are reported, not raised, those of the manifest too. Raises FileNotFoundError for a folder that is missing
    or holds no dataset.
    """
    began, folder = time.perf_counter(), Path(folder)
    try:
        manifest = read_manifest(folder)
    except ValueError as error:
        return Report((str(error),), 0, 0, time.perf_counter() - began)
    outer = find_outer_faults(folder, manifest)
    faults = list(outer.values())
    stretches = [part for part in _stretches(folder, manifest) if part.path.name not in outer]
    total = sum(part.rows * part.row for part in stretches)
    pool = ThreadPoolExecutor(cores())  # threads: hashing needs no interpreter
    with tqdm_bar(progress, total=total, unit="B", unit_scale=True, desc="verify") as bar:
        try:
            for part, fault in zip(stretches, pool.map(_Stretch.fault, stretches), strict=True):
                if fault:
                    faults.append(fault)
                if bar is not None:
                    bar.update(part.rows * part.row)
        finally:
            pool.shutdown(cancel_futures=True)  # an interrupt waits for what is being hashed only
    return Report(tuple(faults), manifest.rows, manifest.bytes, time.perf_counter() - began)


def _stretches(folder: Path, manifest: Manifest) -> Iterator[_Stretch]:
    for layout, kind in zip(manifest.layouts, ("images", "labels"), strict=True):
        first = 0
        for block in manifest.blocks:
            sha256 = getattr(block, kind)
            yield _Stretch(folder / layout.name, first, block.rows, layout.row, sha256)
            first += block.rows
