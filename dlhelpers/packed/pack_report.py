"""What packing made, as a table, with what was left out and why."""

from dataclasses import dataclass
from pathlib import Path

from dlhelpers.base.sizes import human_bytes
from dlhelpers.base.tables import ShownAsTable, Table


@dataclass(frozen=True, repr=False)
class PackReport(ShownAsTable):
    """What packing made: where, how much, and in `skipped` each (file, reason) that is not in the dataset.

    `shape` is (C, H, W); `resumed` samples had been written by an earlier run; `ignored` are files that do not end as
    an image does. Shown as a table, without the seconds: they differ with every run.
    """

    folder: Path
    samples: int
    classes: int
    shape: tuple[int, int, int]
    shards: int
    bytes: int
    seconds: float
    resumed: int = 0
    skipped: tuple[tuple[str, str], ...] = ()
    ignored: tuple[str, ...] = ()

    def table(self) -> Table:
        """Return the report as rows of (what, number), with notes on what was left out."""
        rows = [
            ["samples", f"{self.samples:,}"],
            ["classes", f"{self.classes:,}"],
            ["shape", " x ".join(map(str, self.shape))],
            ["shards", f"{self.shards:,}"],
            ["bytes", human_bytes(self.bytes)],
            ["skipped", f"{len(self.skipped):,}"],
        ]
        notes = (
            [f"{self.resumed:,} samples had been written by an earlier run"] if self.resumed else []
        )
        if self.classes == 1:
            notes.append("there is one class only: a classifier has nothing to tell apart")
        notes += [f"skipped {name}: {reason}" for name, reason in self.skipped]
        if self.ignored:
            notes.append(f"{len(self.ignored):,} other files were left out, as {self.ignored[0]}")
        return Table(["what", "number"], rows, notes=notes)
