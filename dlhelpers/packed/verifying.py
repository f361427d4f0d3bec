"""Say whether the files of a packed dataset are those that were written: none missing, cut short or changed.

It repairs nothing: a file that differs has to be copied or written again.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dlhelpers.base.bars import tqdm_bar
from dlhelpers.base.sizes import human_bytes
from dlhelpers.base.tables import ShownAsTable, Table
from dlhelpers.machine.devices import cores
from dlhelpers.packed.manifest import (
    HEADER,
    Manifest,
    find_outer_faults,
    hash_stretch,
    read_manifest,
)


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
    """Rows `first` to `last` of a file, where they lie, and the sha256 that they were written with."""

    path: Path
    first: int
    last: int
    start: int
    length: int
    sha256: str

    def fault(self) -> str | None:
        """What is wrong, in a sentence, or None."""
        rows = f"{self.path.name}, rows {self.first:,} to {self.last:,}"
        try:
            digest = hash_stretch(self.path, self.start, self.length)
        except OSError as error:
            return f"{rows}: cannot be read ({error.strerror})"
        if digest == self.sha256:
            return None
        hashes = f"sha256 {digest[:8]}..., expected {self.sha256[:8]}..."
        return f"{rows}: other bytes than were written, {hashes}"


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
    pool = ThreadPoolExecutor(cores())  # threads: hashing needs no interpreter
    total = sum(part.length for part in stretches)
    with tqdm_bar(progress, total=total, unit="B", unit_scale=True, desc="verify") as bar:
        try:
            for part, fault in zip(stretches, pool.map(_Stretch.fault, stretches), strict=True):
                if fault:
                    faults.append(fault)
                if bar is not None:
                    bar.update(part.length)
        finally:
            pool.shutdown(cancel_futures=True)  # an interrupt waits for what is being hashed only
    return Report(tuple(faults), manifest.rows, manifest.bytes, time.perf_counter() - began)


def _stretches(folder: Path, manifest: Manifest) -> Iterator[_Stretch]:
    for number, layout in enumerate(manifest.layouts):
        first = 0
        for block in manifest.blocks:
            sha256 = (block.images, block.labels)[number]
            place = HEADER + first * layout.row, block.rows * layout.row
            yield _Stretch(folder / layout.name, first, first + block.rows - 1, *place, sha256)
            first += block.rows
