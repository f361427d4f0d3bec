"""Write a dataset in shards so that a crash at any moment leaves the old dataset, an unfinished one, or a whole one.

Each file is written under a temporary name, brought to the disk, and renamed. A journal lists the finished shards, so
that a stopped writer can go on. The manifest comes last: it alone makes the folder a dataset. A name holds part of its
file's sha256, so new shards lie beside those of an old dataset until the new manifest replaces the old one.
"""

import json
import math
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dlhelpers.packed.manifests import (
    JOURNAL,
    MANIFEST,
    Manifest,
    Shard,
    read_manifest,
    write_json,
    write_manifest,
)
from dlhelpers.packed.shard_files import (
    find_strays,
    is_intact,
    lock_folder,
    need_space,
    remove_files,
    write_shard,
)

SHARD_BYTES = 64 * 2**20  # the default shard: one buffer of this size is the writer's memory


class ShardWriter:
    """Write batches as a dataset in shards: `with ShardWriter(...) as writer: writer.add(images, labels)`.

    `shape` is (C, H, W). With `samples`, that many are expected, and disk space is checked before the first. `source`
    is anything JSON can hold that stands for what is written: a second writer with the same settings and source keeps
    the finished shards of a stopped one, and the caller goes on from sample `done`. Without it a writer starts afresh.

    Raises ValueError and TypeError for wrong settings, FileExistsError where a dataset is there and `overwrite` is
    False, BlockingIOError where another writer of this machine is at work, OSError (ENOSPC) for too little disk space.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        classes: Sequence[str],
        shape: Sequence[int],
        samples: int | None = None,
        rows_per_shard: int | None = None,
        overwrite: bool = False,
        source: Any = None,
    ) -> None:
        if isinstance(classes, str) or not classes or len(set(classes)) < len(classes):
            raise ValueError(
                f"classes is {classes!r}: expected a list of at least one name, each once"
            )
        if not all(isinstance(name, str) for name in classes):
            raise TypeError(f"classes is {classes!r}: expected strings")
        if len(shape) != 3:
            raise ValueError(f"shape is {tuple(shape)}: expected (channels, height, width)")
        for name, value in [
            ("samples", samples),
            ("rows_per_shard", rows_per_shard),
            *(("shape", n) for n in shape),
        ]:
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, int) or value < 1
            ):
                raise ValueError(f"{name} holds {value!r}: expected a whole number, at least 1")
        self.folder, self.classes, self.shape = Path(folder), tuple(classes), tuple(shape)
        self.overwrite, self.shards = overwrite, []
        self._row_bytes = math.prod(shape) + 8
        self._rows = rows_per_shard or max(1, SHARD_BYTES // self._row_bytes)
        self._limit, self._filled, self._images = samples, 0, None  # no images: not open
        settings = {
            "classes": classes,
            "shape": shape,
            "samples": samples,
            "rows": self._rows,
            "source": source,
        }
        try:
            self._settings = json.loads(
                json.dumps({**settings, "classes": self.classes, "shape": self.shape})
            )
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"source is {source!r}: expected numbers, strings, lists and dictionaries"
            ) from error

    @property
    def done(self) -> int:
        """The samples in finished shards, those of a stopped writer with the same settings and source included."""
        return sum(shard.rows for shard in self.shards)

    def __enter__(self) -> "ShardWriter":
        if self.folder.exists() and not self.folder.is_dir():
            raise NotADirectoryError(
                f"{self.folder} is a file: expected a folder, or a name that is free"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = lock_folder(self.folder)
        try:
            self._begin()
        except BaseException:
            self._lock.unlink()
            raise
        return self

    def add(
        self,
        images: torch.Tensor | np.ndarray,
        labels: torch.Tensor | np.ndarray | Sequence[int] | int,
    ) -> None:
        """Take a batch, uint8 (n, C, H, W) and n labels, or one sample, (C, H, W) and its label.

        Raises TypeError and ValueError for what does not fit, and then nothing of the batch has been taken; OSError
        where the disk refuses: the writer is then at its end, and a new one goes on from the finished shards.
        """
        if self._images is None:
            raise RuntimeError(
                "the writer is not open, or a shard failed: use `with ShardWriter(...) as writer:`"
            )
        images, labels = self._checked(images, labels)
        buffers, self._images = (self._images, self._labels), None  # given back if no shard fails
        while len(images):
            count = min(len(images), self._rows - self._filled)
            for buffer, values in zip(buffers, (images, labels), strict=True):
                buffer[self._filled : self._filled + count] = values[:count]
            self._filled, images, labels = self._filled + count, images[count:], labels[count:]
            if self._filled == self._rows:
                self._write_shard(*buffers)
        self._images, self._labels = buffers

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._images = None
            self._lock.unlink(missing_ok=True)

    def _begin(self) -> None:
        """Refuse what would be lost, take over what a stopped writer left, and say that the dataset is unfinished."""
        has_manifest, has_journal = ((self.folder / name).exists() for name in (MANIFEST, JOURNAL))
        self.shards = self._kept() if has_journal else []
        self._limit, self._filled = self._settings["samples"], 0
        old: tuple[Shard, ...] = ()
        with suppress(
            ValueError, FileNotFoundError
        ):  # what cannot be read has no reader to protect
            old = read_manifest(self.folder).shards
        whole = (
            bool(old) and tuple(self.shards) == old
        )  # stopped between the manifest and the tidying up
        strays = find_strays(self.folder, [*old, *self.shards])
        lost = not has_journal and any(
            path.suffix == ".npy" for path in strays
        )  # shards whose manifest is gone
        if not self.overwrite and not whole and (has_manifest or lost):
            raise FileExistsError(
                f"{self.folder} holds a dataset: choose another folder, or pass overwrite=True,"
                " which keeps it until the new one is finished"
            )
        if whole or self.shards and self.shards[-1].rows < self._rows:
            self._limit = self.done  # a short shard is the last one
        if self._limit is not None:
            freed = sum(path.stat().st_size for path in strays)
            need_space(self.folder, (self._limit - self.done) * self._row_bytes, freed)
        self._write_journal(self.shards)
        remove_files(strays)
        rows = min(self._rows, self._limit or self._rows)
        self._images, self._labels = (
            np.empty((rows, *self.shape), np.uint8),
            np.empty(rows, np.int64),
        )

    def _kept(self) -> list[Shard]:
        """The finished shards of a stopped writer with these settings, up to the first whose files are not right."""
        kept, reason = [], "its journal is damaged"
        try:
            journal = json.loads((self.folder / JOURNAL).read_text(encoding="utf-8"))
            other = [
                name for name, value in self._settings.items() if journal["settings"][name] != value
            ]
            reason = (
                f"it has other {', '.join(other)}"
                if other
                else "no source= says that it is of the same samples"
            )
            if not other and self._settings["source"] is not None:
                reason = "a file is damaged or missing"
                for shard in (Shard(**entry) for entry in journal["shards"]):
                    if not is_intact(self.folder, shard):
                        break
                    kept.append(shard)
            lost = len(journal["shards"]) - len(kept)
        except (OSError, ValueError, TypeError, KeyError):
            lost = 1
        if lost:
            warnings.warn(
                f"{self.folder} is unfinished, and {lost} of its shards will be written anew: {reason}",
                stacklevel=4,
            )
        return kept

    def _write_shard(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Write the rows that the buffers hold as one shard, and then say so in the journal."""
        need_space(self.folder, self._filled * self._row_bytes)
        rows = self._filled
        shard = write_shard(self.folder, len(self.shards), images[:rows], labels[:rows])
        self._write_journal([*self.shards, shard])
        self.shards.append(shard)
        self._filled = 0

    def _write_journal(self, shards: list[Shard]) -> None:
        write_json(
            self.folder / JOURNAL,
            {"settings": self._settings, "shards": [asdict(shard) for shard in shards]},
        )

    def _finish(self) -> None:
        """Write what is left, then the manifest, and only then remove the old dataset and the journal."""
        if self._images is None:
            raise RuntimeError(
                f"a shard of {self.folder} could not be written: the dataset is unfinished"
            )
        total, expected = self.done + self._filled, self._limit
        if total == 0 or expected not in (None, total):
            raise ValueError(
                f"the writer of {self.folder} was given {total} samples: expected"
                f" {expected or 'at least 1'}. The dataset is unfinished"
            )
        if self._filled:
            self._write_shard(self._images, self._labels)
        write_manifest(self.folder, Manifest(self.shape, self.classes, tuple(self.shards)))
        remove_files(find_strays(self.folder, self.shards))
        (self.folder / JOURNAL).unlink()

    def _checked(self, images: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
        parts = [
            part.detach().cpu().numpy() if isinstance(part, torch.Tensor) else part
            for part in (images, labels)
        ]
        images, labels = np.asarray(parts[0]), np.atleast_1d(parts[1])
        if images.dtype != np.uint8:
            raise TypeError(
                f"images are {images.dtype}: expected uint8, 0 to 255. From 0..1 use"
                " (images * 255).round().to(torch.uint8)"
            )
        images = images[None] if images.shape == self.shape else images
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
        if (
            self._limit is not None
            and (total := self.done + self._filled + len(images)) > self._limit
        ):
            raise ValueError(
                f"this batch makes {total} samples: expected {self._limit}. Give the right samples=, and"
                " start from sample `done` where a stopped writer is resumed"
            )
        return images, labels
