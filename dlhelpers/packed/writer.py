"""Write a packed dataset so that a crash at any moment leaves the old dataset, an unfinished one, or a whole one.

Rows are appended to parts, a block at a time. When a block is on the disk, a line in a journal says so, and a second
writer goes on after the last line. At the end the old manifest goes first and the new one comes last: between them the
folder holds no dataset, and never one that looks whole and is not.
"""

import hashlib
import json
import math
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from filelock import FileLock, Timeout

from dlhelpers.base.checks import check_whole, shown
from dlhelpers.base.whole_files import sync_folder, write_whole
from dlhelpers.packed.manifest import (
    IMAGES,
    JOURNAL,
    LABELS,
    MANIFEST,
    Block,
    Manifest,
    check_classes,
    check_shape,
)

LOCK = "unfinished.lock"
BLOCK_BYTES = 8_000_000  # images that a writer holds, brings to the disk, and hashes at a time


class PackedWriter:
    """Write batches as a packed dataset: `with PackedWriter(...) as writer: writer.add(images, labels)`.

    `shape` is (C, H, W). With `samples`, neither fewer nor more make a dataset. `source` is anything JSON can hold that
    stands for what is written: a second writer with the same settings and source keeps the finished blocks of a stopped
    one, and the caller goes on from sample `done`. Without it a writer starts afresh. What the caller appends to
    `skipped`, as [name, reason], is kept with the next block.

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
        self._rows = max(1, BLOCK_BYTES // math.prod(self.shape))
        self._settings = _line([self.classes, self.shape, self._rows, self.samples, source])
        self._parts: list[BinaryIO] = []  # none: not open
        self._held = ExitStack()  # what is closed at the end: the lock and the files

    def __enter__(self) -> "PackedWriter":
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / LOCK)  # freed by the system where this process dies
        try:
            self._held.enter_context(lock.acquire(blocking=False))
        except Timeout:
            raise BlockingIOError(
                f"another writer is at work in {self.folder}: wait until it ends, or choose another folder"
            ) from None
        if os.name != "nt":  # where it goes by itself, and not before it is freed
            self._held.callback((self.folder / LOCK).unlink)
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

        Raises ValueError for what does not fit, and then nothing of the batch has been taken; OSError
        where the disk refuses: the writer is then at its end, and a new one goes on from the finished blocks.
        """
        if not self._parts:
            raise RuntimeError(
                "the writer is not open, or has failed: use `with PackedWriter(...) as writer:`"
            )
        images, labels = np.asarray(images), np.asarray(labels)
        if images.dtype != np.uint8 or images.shape[1:] != self.shape:
            raise ValueError(
                f"images are {shown(images)}: expected uint8, 0 to 255, of shape (n, {str(self.shape)[1:]}. From 0..1"
                " use (images * 255).round().to(torch.uint8)"
            )
        if labels.shape != images.shape[:1] or len(labels) and labels.dtype.kind not in "iu":
            raise ValueError(
                f"labels are {shown(labels)}: expected {len(images)} whole numbers, one an image"
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
        journal = self.folder / JOURNAL
        lines = journal.read_bytes().splitlines(keepends=True) if journal.exists() else []
        old = (MANIFEST,) if lines else (MANIFEST, IMAGES, LABELS)
        if not self.overwrite and any((self.folder / name).exists() for name in old):
            raise FileExistsError(
                f"{self.folder} holds a dataset: choose another folder, or pass overwrite=True, which keeps it until"
                " the new one is finished"
            )
        for name in (IMAGES, LABELS):
            part = self.folder / f"{name}.part"
            part.touch()
            self._parts.append(self._held.enter_context(part.open("r+b", buffering=0)))
        if self.source is None or lines[:1] != [self._settings]:
            lines = []
        lines = [line for line in lines if line.endswith(b"\n")]  # the last may be cut short
        for line in lines[1:]:
            block, self.skipped = json.loads(line)
            self.blocks.append(Block(*block))
        # What the journal names was on the disk before. A part may have been removed since, or have got its last name.
        for part, layout in zip(self._parts, self._manifest().layouts, strict=True):
            if part.seek(0, os.SEEK_END) < layout.bytes:
                lines, self.blocks, self.skipped = [], [], []
        self.done, self._filled = self._manifest().rows, 0
        self._journal = self._held.enter_context(journal.open("ab", buffering=0))
        self._journal.truncate(sum(map(len, lines)))
        if not lines:
            self._write(self._journal, self._settings)
        for part, layout in zip(self._parts, self._manifest().layouts, strict=True):
            part.truncate(layout.bytes)
            part.seek(0, os.SEEK_END)
        sync_folder(self.folder)
        self._images = np.empty((self._rows, *self.shape), np.uint8)
        self._labels = np.empty(self._rows, "<i8")

    def _manifest(self) -> Manifest:
        """Of the blocks that are on the disk."""
        return Manifest(self.shape, self.classes, tuple(self.blocks))

    def _write_block(self) -> None:
        """Append the rows that are held to the parts, and then say so in the journal."""
        rows, self._filled = self._filled, 0
        digests = []
        for part, array in zip(self._parts, (self._images, self._labels), strict=True):
            content = memoryview(array[:rows]).cast("B")
            self._write(part, content)
            digests.append(hashlib.sha256(content).hexdigest())
        block = Block(rows, *digests)
        self._write(self._journal, _line([block, self.skipped]))
        self.blocks.append(block)
        self.done += rows

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
        manifest = self._manifest()
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
                " restart what holds a PackedDataset of this folder, and run the same call again"
            ) from None
        sync_folder(self.folder)  # both renamed, before they are vouched for
        with write_whole(self.folder / MANIFEST) as file:
            file.write(manifest.encode())
        self._journal.close()  # Windows removes no open file
        (self.folder / JOURNAL).unlink()

    def _close(self) -> None:
        self._held.close()
        self._parts = []


def _line(content: Any) -> bytes:
    return json.dumps(content).encode() + b"\n"
