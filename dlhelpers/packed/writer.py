"""Write a packed dataset so that a crash at any moment leaves the old dataset, an unfinished one, or a whole one.

Rows are appended to parts, a block at a time. When a block is on the disk, a line in a journal says so, and a second
writer goes on after the last line. At the end the old manifest goes first and the new one comes last: between them the
folder holds no dataset, and never one that looks whole and is not.
"""

import hashlib
import json
import math
import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from dlhelpers.base.checks import check_whole
from dlhelpers.base.files import sync_folder, write_whole
from dlhelpers.packed.manifest import (
    HEADER,
    IMAGES,
    JOURNAL,
    LABELS,
    MANIFEST,
    Block,
    Manifest,
    check_classes,
    check_shape,
)

if os.name == "nt":
    import msvcrt
else:
    import fcntl

BLOCK_BYTES = 8_000_000  # images that a writer holds, brings to the disk, and hashes at a time


class PackedWriter:
    """Write batches as a packed dataset: `with PackedWriter(...) as writer: writer.add(images, labels)`.

    `shape` is (C, H, W). With `samples`, neither fewer nor more make a dataset. `source` is anything JSON can hold that
    stands for what is written: a second writer with the same settings and source keeps the finished blocks of a stopped
    one, and the caller goes on from sample `done`. Without it a writer starts afresh. What the caller appends to
    `skipped`, as [name, reason], is kept with the next block and stands in the manifest.

    Raises ValueError for wrong settings, FileExistsError where a dataset is there and `overwrite` is False,
    BlockingIOError where another writer is at work.
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
        self.done = 0
        self.blocks: list[Block] = []
        self.skipped: list[list[str]] = []
        self._row_bytes = (math.prod(self.shape), 8)
        self._rows = max(1, BLOCK_BYTES // self._row_bytes[0])
        self._settings = _line([self.classes, self.shape, self._rows, self.samples, source])
        self._parts: list[BinaryIO] = []  # none: not open

    def __enter__(self) -> "PackedWriter":
        self.folder.mkdir(parents=True, exist_ok=True)
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
        images, labels = np.asarray(images), np.asarray(labels)
        self._check(images, labels)
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
        """Go on where a stopped writer of the same ended, or begin afresh."""
        self._journal.seek(0)
        lines = self._journal.read().splitlines(keepends=True)
        old = (MANIFEST,) if lines else (MANIFEST, IMAGES, LABELS)
        if not self.overwrite and any((self.folder / name).exists() for name in old):
            if not lines:
                self._remove_journal()
            raise FileExistsError(
                f"{self.folder} holds a dataset: choose another folder, or pass overwrite=True, which keeps it until"
                " the new one is finished"
            )
        for name in (IMAGES, LABELS):
            part = self.folder / f"{name}.part"
            # Stopped while renaming: there is no manifest any more, and this file is the part.
            if lines and not part.exists() and not (self.folder / MANIFEST).exists():
                if (self.folder / name).exists():
                    os.replace(self.folder / name, part)
            part.touch()
            self._parts.append(part.open("r+b", buffering=0))
        if self.source is None or lines[:1] != [self._settings]:
            lines = []
        lines = [line for line in lines if line.endswith(b"\n")]  # the last may be cut short
        entries = [json.loads(line) for line in lines[1:]]
        rows = sum(block[0] for block, _ in entries)
        # What the journal names was on the disk before. Whether it was damaged since, `verify` says.
        ends = [HEADER + rows * row for row in self._row_bytes]
        lengths = [part.seek(0, os.SEEK_END) for part in self._parts]
        if any(length < end for length, end in zip(lengths, ends, strict=True)):
            lines, entries = [], []
        for block, skipped in entries:
            self.blocks.append(Block(*block))
            self.done += self.blocks[-1].rows
            self.skipped += skipped
        self._noted, self._filled = len(self.skipped), 0
        self._journal.truncate(sum(map(len, lines)))
        if not lines:
            self._write(self._journal, self._settings)
        for part, row in zip(self._parts, self._row_bytes, strict=True):
            part.truncate(HEADER + self.done * row)
            part.seek(0, os.SEEK_END)
        sync_folder(self.folder)
        self._images = np.empty((self._rows, *self.shape), np.uint8)
        self._labels = np.empty(self._rows, "<i8")

    def _check(self, images: np.ndarray, labels: np.ndarray) -> None:
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
        if len(labels) and labels.dtype.kind not in "iu":
            raise TypeError(f"labels are {labels.dtype}: expected whole numbers, as labels.long()")
        if labels.shape != images.shape[:1]:
            raise ValueError(
                f"{len(images)} images came with labels of shape {labels.shape}: expected one an image"
            )
        if (wrong := labels[(labels < 0) | (labels >= len(self.classes))]).size:
            raise ValueError(
                f"a label is {wrong[0]}: expected 0 to {len(self.classes) - 1}, a place in classes"
            )
        total = self.done + self._filled + len(images)
        if self.samples is not None and total > self.samples:
            raise ValueError(
                f"this batch makes {total} samples: expected {self.samples}. Where a stopped writer is resumed,"
                " start from sample `done`"
            )

    def _write_block(self) -> None:
        """Append the rows that are held to the parts, and then say so in the journal."""
        rows, self._filled = self._filled, 0
        digests = []
        for part, array in zip(self._parts, (self._images, self._labels), strict=True):
            content = memoryview(array[:rows]).cast("B")
            self._write(part, content)
            digests.append(hashlib.sha256(content).hexdigest())
        block = Block(rows, *digests)
        self._write(self._journal, _line([block, self.skipped[self._noted :]]))
        self.blocks.append(block)
        self.done += rows
        self._noted = len(self.skipped)

    def _write(self, file: BinaryIO, content: bytes | memoryview) -> None:
        rest = memoryview(content)
        try:
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError as error:
            self._close()
            raise OSError(
                error.errno,
                f"{file.name} cannot grow ({error.strerror}): free some space, or choose another disk. The same call"
                f" then goes on from sample {self.done:,}",
            ) from None

    def _finish(self) -> None:
        """Write what is left; then swap the old dataset for the new one, which its manifest makes whole."""
        total = self.done + self._filled
        if total == 0 or self.samples not in (None, total):
            raise ValueError(
                f"the writer of {self.folder} was given {total} samples: expected"
                f" {self.samples or 'at least 1'}. The dataset is unfinished"
            )
        if self._filled:
            self._write_block()
        skipped = tuple(map(tuple, self.skipped))
        manifest = Manifest(self.shape, self.classes, tuple(self.blocks), skipped)
        for part, layout in zip(self._parts, manifest.layouts, strict=True):
            part.seek(0)
            self._write(part, layout.header)
            part.close()
        (self.folder / MANIFEST).unlink(missing_ok=True)
        sync_folder(self.folder)  # gone for good, before one of its files is another
        try:
            for name in (IMAGES, LABELS):
                os.replace(self.folder / f"{name}.part", self.folder / name)
        except PermissionError as error:
            raise PermissionError(
                f"{self.folder / name} cannot be replaced ({error.strerror}). Windows keeps a file that is mapped:"
                " delete each PackedDataset of this folder, or restart the notebooks that hold one, and run the same"
                " call again"
            ) from None
        sync_folder(self.folder)  # both renamed, before they are vouched for
        with write_whole(self.folder / MANIFEST) as file:
            file.write(manifest.encode())
        self._remove_journal()

    def _remove_journal(self) -> None:
        if os.name == "nt":
            self._journal.close()  # Windows removes no open file; elsewhere nobody else may get at this one
        (self.folder / JOURNAL).unlink()

    def _close(self) -> None:
        for file in (*self._parts, self._journal):
            file.close()
        self._parts = []


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


def _line(content: Any) -> bytes:
    return json.dumps(content).encode() + b"\n"
