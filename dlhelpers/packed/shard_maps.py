"""Map the files of a dataset's shards: all of them at once where the system allows it, else those used lately."""

import errno
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dlhelpers.machine.memory import resource
from dlhelpers.packed.manifests import Manifest
from dlhelpers.packed.row_view import RowView
from dlhelpers.packed.verifying import open_array

_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if resource else -1  # none on Windows
# A map keeps its file open, and a shard has two: a dataset takes at most half of the files that a process may open, and
# fewer where others have taken them.
MAX_OPEN = max(1, min(_FILES, 4096) // 4) if _FILES > 0 else 1024  # shards; a limit below 0 is none
NO_ROOM = (
    errno.EMFILE,
    errno.ENOMEM,
)  # too many open files, and too many addresses: no fault of the file


class ShardMaps:
    """The shards of the dataset in a folder: images uint8 (rows, C, H, W) and labels int64 (rows,) of each."""

    def __init__(self, folder: Path, manifest: Manifest):
        self.folder, self.manifest = folder, manifest
        self._maps: dict[
            int, tuple[np.ndarray, np.ndarray]
        ] = {}  # the one that was not used for longest comes first
        self._most = _most_open(manifest)
        self._view: RowView | None = None
        self._asked = False

    def view(self) -> RowView | None:
        """All shards at once; None for too many, or where one cannot be opened, which is told when it is asked for."""
        if not self._asked:  # and no lock: a process that is forked here would wait for it for ever
            self._view = self._lay_over()
            self._asked = True
        return self._view

    def _lay_over(self) -> RowView | None:
        if len(self.manifest.shards) > self._most:
            return None
        try:
            return RowView([self.open(shard) for shard in range(len(self.manifest.shards))])
        except (OSError, ValueError):
            return None

    def open(self, shard: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the arrays of one shard; of those kept, the one that was not used for longest makes room.

        Raises ValueError or FileNotFoundError for files that are not as they were written, and OSError where the system
        refuses to open one though this dataset has let go of all its own.
        """
        maps = self._maps.pop(shard, None)
        if maps is None:
            entry = self.manifest.shards[shard]
            try:
                images = open_array(
                    self.folder / entry.images, (entry.rows, *self.manifest.shape), "uint8"
                )
                labels = open_array(self.folder / entry.labels, (entry.rows,), "int64")
            except (ValueError, FileNotFoundError) as error:  # what the system refuses is no damage
                raise damage(self.folder, [f"shard {shard}: {error}"]) from None
            except OSError as error:
                if error.errno not in NO_ROOM or not self._maps:
                    raise
                self._most = max(1, len(self._maps) // 2)  # others need room, too
                self._maps.clear()
                return self.open(shard)
            maps = images, labels
            while len(self._maps) >= self._most:
                self._maps.pop(next(iter(self._maps)))
        self._maps[shard] = maps
        return maps


def damage(folder: Path, faults: Sequence[str]) -> Exception:
    """The error for these faults of a dataset's files: FileNotFoundError if the first is missing, else ValueError."""
    more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
    kind = FileNotFoundError if faults[0].endswith("is missing") else ValueError
    return kind(
        f"{folder}: {faults[0]}{more}. Copy the file again from its source, or write the dataset again;"
        " verify(folder) lists every fault"
    )


def _most_open(manifest: Manifest) -> int:
    """How many shards may be open at once: half of the addresses are left to others where a process has few."""
    addresses = resource.getrlimit(resource.RLIMIT_AS)[0] if resource else -1
    largest = max(shard.images_bytes + shard.labels_bytes for shard in manifest.shards)
    return MAX_OPEN if addresses < 0 else max(1, min(MAX_OPEN, addresses // 2 // largest))
