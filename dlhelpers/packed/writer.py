"""Write a packed dataset so that a crash at any moment leaves the old dataset, an unfinished one, or a whole one.

Rows are appended to parts, a block at a time. When a block is on the disk, a line in a journal says so, and a second
writer goes on after the last line. At the end the old manifest goes first and the new one comes last: between them the
folder holds no dataset, and never one that looks whole and is not.
"""

import errno
import hashlib
import json
import math
import os
import shutil
import warnings
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from dlhelpers.base.checks import check_whole
from dlhelpers.base.files import FULL, sync_folder, write_whole
from dlhelpers.base.sizes import human_bytes
from dlhelpers.packed.manifest import (
    FILES,
    HEADER,
    IMAGES,
    JOURNAL,
    LABELS,
    MANIFEST,
    Block,
    Manifest,
    check_classes,
    check_shape,
    hash_stretch,
    read_manifest,
)

if os.name == "nt":
    import msvcrt
else:
    import fcntl

BLOCK_BYTES = 8_000_000  # images that a writer holds, brings to the disk, and hashes at a time


class PackedWriter:
    """Write batches as a packed dataset: `with PackedWriter(...) as writer: writer.add(images, labels)`.

    `shape` is (C, H, W). With `samples`, that many are expected, and disk space is checked before the first. `source`
    is anything JSON can hold that stands for what is written: a second writer with the same settings and source keeps
    the finished blocks of a stopped one, and the caller goes on from sample `done`. Without it a writer starts afresh.
    What the caller appends to `skipped`, as lists, is kept with the next block and stands in the manifest.

    Raises ValueError for wrong settings, FileExistsError where a dataset is there and `overwrite` is False,
    BlockingIOError where another writer is at work, OSError (ENOSPC) for too little disk space.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        classes: Sequence[str],
        shape: Sequence[int],
        samples: int | None = None,
        overwrite: bool = False,
        source: Any = None,
    ) -> None:
        self.folder, self.overwrite, self.source = Path(folder), overwrite, source
        self.classes, self.shape = check_classes(classes), check_shape(shape)
        self.samples = None if samples is None else check_whole("samples", samples, 1)
        self.blocks: list[Block] = []
        self.skipped: list[list] = []
        self._row = math.prod(self.shape)
        self._rows = max(1, BLOCK_BYTES // self._row)
        settings = {"classes": self.classes, "shape": self.shape, "rows": self._rows}
        self._settings = _line(settings | {"samples": self.samples, "source": source})
        self._parts: list[BinaryIO] = []  # none: not open

    @property
    def done(self) -> int:
        """The samples in finished blocks, those of a stopped writer with the same settings and source included."""
        return sum(block.rows for block in self.blocks)

    def __enter__(self) -> "PackedWriter":
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / JOURNAL).exists():
            self._refuse(FILES)
        self._journal = _open_alone(self.folder / JOURNAL)
        try:
            self._begin()
        except BaseException:
            self._close()
            raise
        return self

    def add(
        self, images: torch.Tensor | np.ndarray, labels: torch.Tensor | np.ndarray | Sequence[int]
    ) -> None:
        """Take a batch, uint8 (n, C, H, W) and n labels.

        Raises TypeError and ValueError for what does not fit, and then nothing of the batch has been taken; OSError
        where the disk refuses: the writer is then at its end, and a new one goes on from the finished blocks.
        """
        if not self._parts:
            raise RuntimeError(
                "the writer is not open, or has failed: use `with PackedWriter(...) as writer:`"
            )
        images, labels = self._checked(images, labels)
        while len(images):
            count = min(len(images), self._rows - self._filled)
            self._images[self._filled : self._filled + count] = images[:count]
            self._labels[self._filled : self._filled + count] = labels[:count]
            self._filled, images, labels = self._filled + count, images[count:], labels[count:]
            if self._filled == self._rows:
                self._write_block()

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._close()

    def _begin(self) -> None:
        """Take over what a stopped writer left, or begin afresh."""
        self._journal.seek(0)
        lines = self._journal.read().split(b"\n")[:-1]  # the last was cut short, or is empty
        same = bool(lines) and lines[0] == self._settings and self.source is not None
        try:
            entries = [json.loads(line) for line in lines[1:]] if same else []
            self.blocks = [Block(*block) for block, _ in entries]
        except (ValueError, TypeError):
            same, entries = False, []
        self._filled, self._whole = 0, self._is_whole()
        if self._whole:  # stopped after the manifest, before the journal was removed
            self.samples = self.done
            self.skipped = [entry for _, skipped in entries for entry in skipped]
            return
        self._refuse((MANIFEST,))
        full = [entry for entry in entries if entry[0][0] == self._rows]  # a short one is the last
        kept = self._take_over(full)
        if (lost := (len(full) if same else len(lines) - 1) - kept) > 0:
            reason = (
                "not as they were written" if same else "of other settings, or it has no source="
            )
            warnings.warn(
                f"{self.folder} is unfinished, and {lost} of its blocks will be written anew: they are {reason}",
                stacklevel=4,
            )
        if self.samples is not None:
            self._need_space((self.samples - self.done) * (self._row + 8))
        self._journal.truncate(sum(len(line) + 1 for line in lines[: kept + 1]) if kept else 0)
        if not kept:
            self._write_part(self._journal, self._settings + b"\n")
        os.fsync(self._journal.fileno())
        for name, row in self._files():
            part = (self.folder / name).open("r+b" if kept else "w+b", buffering=0)
            self._parts.append(part)
            part.truncate(HEADER + self.done * row)
            part.seek(0, os.SEEK_END)
        sync_folder(self.folder)
        self._images = np.empty((self._rows, *self.shape), np.uint8)
        self._labels = np.empty(self._rows, "<i8")

    def _files(self) -> list[tuple[str, int]]:
        return [(f"{IMAGES}.part", self._row), (f"{LABELS}.part", 8)]

    def _is_whole(self) -> bool:
        try:
            old = read_manifest(self.folder)
        except (ValueError, OSError):
            return False
        return (old.shape, old.classes, list(old.blocks)) == (self.shape, self.classes, self.blocks)

    def _take_over(self, entries: list[list]) -> int:
        """Keep the full blocks of a stopped writer up to the first that is not as it was written; return how many."""
        for name in (IMAGES, LABELS):
            part = self.folder / f"{name}.part"
            # Stopped while renaming: there is no manifest any more, and this file is the part.
            if entries and not part.exists() and not (self.folder / MANIFEST).exists():
                if (self.folder / name).exists():
                    os.replace(self.folder / name, part)
        self.blocks = []
        for (rows, *digests), skipped in entries:
            starts = [HEADER + self.done * row for _, row in self._files()]
            try:
                found = [
                    hash_stretch(self.folder / name, start, rows * row)
                    for (name, row), start in zip(self._files(), starts, strict=True)
                ]
            except FileNotFoundError:
                break
            if found != digests:
                break
            self.blocks.append(Block(rows, *digests))
            self.skipped += skipped
        self._noted = len(self.skipped)
        return len(self.blocks)

    def _write_block(self) -> None:
        """Append the rows that are held to the parts, and then say so in the journal."""
        rows, self._filled = self._filled, 0
        digests = []
        for part, array in zip(self._parts, (self._images, self._labels), strict=True):
            content = memoryview(array[:rows]).cast("B")
            self._write_part(part, content)
            digests.append(hashlib.sha256(content).hexdigest())
        block = Block(rows, *digests)
        self._write_part(self._journal, _line([block, self.skipped[self._noted :]]) + b"\n")
        self.blocks.append(block)
        self._noted = len(self.skipped)

    def _write_part(self, file: BinaryIO, content: bytes | memoryview) -> None:
        try:
            _write(file, content)
            os.fsync(file.fileno())
        except OSError as error:
            self._close()
            if error.errno not in (*FULL, errno.EFBIG):
                raise
            raise OSError(
                error.errno,
                f"{file.name} cannot grow, the disk is full ({error.strerror}): free some space, or choose another"
                f" disk. The same call then goes on from sample {self.done:,}",
            ) from None

    def _finish(self) -> None:
        """Write what is left; then swap the old dataset for the new one, which its manifest makes whole."""
        total = self.done + (self._filled if not self._whole else 0)
        if total == 0 or self.samples not in (None, total):
            raise ValueError(
                f"the writer of {self.folder} was given {total} samples: expected"
                f" {self.samples or 'at least 1'}. The dataset is unfinished"
            )
        if not self._whole:
            if not self._parts:
                raise RuntimeError(f"{self.folder} could not be written: the dataset is unfinished")
            if self._filled:
                self._write_block()
            skipped = tuple((name, reason) for _, name, reason in self.skipped)
            manifest = Manifest(self.shape, self.classes, tuple(self.blocks), skipped)
            for part, layout in zip(self._parts, manifest.layouts, strict=True):
                part.seek(0)
                self._write_part(part, layout.header)
                part.close()
            (self.folder / MANIFEST).unlink(missing_ok=True)
            sync_folder(self.folder)  # gone for good, before one of its files is another
            for name in (IMAGES, LABELS):
                self._rename(name)
            sync_folder(self.folder)  # both renamed, before they are vouched for
            with write_whole(self.folder / MANIFEST) as file:
                file.write(manifest.encode())
        if os.name == "nt":
            self._journal.close()  # Windows removes no open file; elsewhere nobody else may get at this one
        (self.folder / JOURNAL).unlink()

    def _rename(self, name: str) -> None:
        try:
            os.replace(self.folder / f"{name}.part", self.folder / name)
        except PermissionError as error:
            raise PermissionError(
                f"{self.folder / name} cannot be replaced ({error.strerror}). Windows keeps a file that is mapped:"
                " delete each PackedDataset of this folder, or restart the notebooks that hold one, and run the same"
                " call again"
            ) from None

    def _close(self) -> None:
        for file in (*self._parts, self._journal):
            file.close()
        self._parts = []

    def _refuse(self, names: Sequence[str]) -> None:
        if not self.overwrite and any((self.folder / name).exists() for name in names):
            raise FileExistsError(
                f"{self.folder} holds a dataset: choose another folder, or pass overwrite=True, which keeps it until"
                " the new one is finished"
            )

    def _need_space(self, needed: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise OSError(
                errno.ENOSPC,
                f"{self.folder} is to take {human_bytes(needed)}, and its disk has {human_bytes(free)} free:"
                " free some space, or choose another disk or smaller images",
            )

    def _checked(self, images: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
        images, labels = (
            part.detach().cpu().numpy() if isinstance(part, torch.Tensor) else np.asarray(part)
            for part in (images, labels)
        )
        if images.dtype != np.uint8:
            raise TypeError(
                f"images are {images.dtype}: expected uint8, 0 to 255. From 0..1 use"
                " (images * 255).round().to(torch.uint8)"
            )
        if images.shape[1:] != self.shape:
            raise ValueError(
                f"images have the shape {images.shape}: expected (n, {str(self.shape)[1:]}, as the writer"
                " was told; resize or permute them"
            )
        if labels.dtype.kind not in "iu":
            raise TypeError(f"labels are {labels.dtype}: expected whole numbers, as labels.long()")
        if labels.shape != images.shape[:1]:
            raise ValueError(
                f"{len(images)} images came with labels of shape {labels.shape}: expected one an image"
            )
        if (wrong := labels[(labels < 0) | (labels >= len(self.classes))]).size:
            raise ValueError(
                f"a label is {wrong[0]}: expected 0 to {len(self.classes) - 1}, as there are"
                f" {len(self.classes)} classes"
            )
        total = self.done + self._filled + len(images)
        if self.samples is not None and total > self.samples:
            raise ValueError(
                f"this batch makes {total} samples: expected {self.samples}. Give the right samples=, and start"
                " from sample `done` where a stopped writer is resumed"
            )
        return images, labels


# A forked process, as a DataLoader's worker, would hold a lock beyond the death of the process that took it.
_LOCKED: weakref.WeakSet = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: [file.close() for file in _LOCKED])


def _open_alone(path: Path) -> BinaryIO:
    """Open the journal and lock it until it is closed or its process ends; BlockingIOError if another holds it."""
    while True:
        file = path.open("a+b", buffering=0)
        try:
            if os.name == "nt":
                file.seek(2**40)  # a byte that nobody reads
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.close()
            raise BlockingIOError(
                f"another writer is at work in {path.parent}: wait until it ends, or choose another folder"
            ) from None
        _LOCKED.add(file)
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
        file.close()  # the other writer has just finished and removed it


def _write(file: BinaryIO, content: bytes | memoryview) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


def _line(content: Any) -> bytes:
    return json.dumps(content).encode()
