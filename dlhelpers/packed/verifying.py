"""Say whether the files of a packed dataset are those that were written: none missing, cut short or changed.

It repairs nothing: a file that differs has to be copied or written again.
"""

import hashlib
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np

from dlhelpers.base.progress_bars import tqdm_bar
from dlhelpers.base.sizes import human_bytes
from dlhelpers.base.tables import ShownAsTable, Table
from dlhelpers.machine.devices import cores
from dlhelpers.packed.manifest import HEADER, find_outer_faults, read_manifest


@dataclass(frozen=True, repr=False)
class Report(ShownAsTable):
    """What `verify` found in how many samples and bytes, or packing made; `faults` are sentences, in order.

    Packing found `resumed` samples that an earlier run had written; its faults are the images that it left out.
    """

    faults: tuple[str, ...]
    samples: int = 0
    bytes: int = 0
    resumed: int = 0

    @property
    def ok(self) -> bool:
        """True where there is no fault."""
        return not self.faults

    def table(self) -> Table:
        """Return how many samples, bytes and faults there are, with each fault as a note."""
        rows = [
            ["samples", f"{self.samples:,}"],
            ["bytes", human_bytes(self.bytes)],
            ["faults", f"{len(self.faults):,}"],
        ]
        return Table(["what", "number"], rows, notes=self.faults)


def verify(folder: str | Path, *, progress: bool = True) -> Report:
    """Read every byte of the dataset in a folder, with all cores, and compare it with what was written.

    Faults are reported, not raised, those of the manifest too. Raises FileNotFoundError for a folder that is missing
    or holds no dataset.
    """
    folder = Path(folder)
    try:
        manifest = read_manifest(folder)
    except ValueError as error:
        return Report((str(error),))
    outer = find_outer_faults(folder, manifest)
    faults, stretches = list(outer.values()), []
    for number, (name, _, row, _) in enumerate(manifest.layouts):
        if name in outer:
            continue
        stored = np.memmap(folder / name, np.uint8, "r", HEADER)  # hashed where it lies: no copy
        first = 0
        for rows, *hashes in manifest.blocks:
            place = f"{name}, rows {first:,} to {first + rows - 1:,}"
            content = stored[first * row : (first + rows) * row]
            stretches.append((place, content, hashes[number]))
            first += rows
    shown = tqdm_bar(progress, total=manifest.bytes, unit="B", unit_scale=True, desc="verify")
    # Threads, since hashing needs no interpreter. An interrupt ends them before they have seen all.
    with ThreadPool(cores()) as pool, shown as bar:
        for fault, size in pool.imap(_compare, stretches):
            faults += fault
            bar.update(size)
    return Report(tuple(faults), manifest.rows, manifest.bytes)


def _compare(stretch):
    """Return what is wrong with a stretch of a file, and its length in bytes."""
    place, content, expected = stretch
    found = hashlib.sha256(content).hexdigest()
    if found == expected:
        return [], len(content)
    hashes = f"sha256 {found[:8]}..., expected {expected[:8]}..."
    return [f"{place}: other bytes than were written, {hashes}"], len(content)
