"""Turn a folder of images, or any map-style dataset, into a packed one: once, in parallel, and resumable.

The bytes that come out depend on the images, `size` and `shuffle_seed`, and on nothing else: not on the number of
processes, and not on how often packing was interrupted.
"""

import hashlib
import math
import operator
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dlhelpers.base.bars import progress_bar
from dlhelpers.base.checks import check_whole
from dlhelpers.base.sizes import human_bytes
from dlhelpers.base.tables import ShownAsTable, Table
from dlhelpers.data.folders import ImageFiles, Unusable, find_images
from dlhelpers.machine.devices import cores
from dlhelpers.packed.manifest import check_classes, read_manifest
from dlhelpers.packed.writer import PackedWriter

PROBED = 16  # samples by which a dataset is recognised when packing is resumed
BATCH_BYTES = 1_000_000  # decoded at a time
WORTH_A_PROCESS = 200  # images; fewer are decoded sooner than a worker starts


class Bad(NamedTuple):
    """A sample that cannot be used: its position in the order, its name, why, and whether it may be left out."""

    position: int
    name: str
    reason: str
    skippable: bool


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
    bytes: int
    seconds: float
    resumed: int
    skipped: tuple[tuple[str, str], ...]
    ignored: tuple[str, ...]

    def table(self) -> Table:
        """Return the report as rows of (what, number), with notes on what was left out."""
        rows = [
            ["samples", f"{self.samples:,}"],
            ["classes", f"{self.classes:,}"],
            ["shape", " x ".join(map(str, self.shape))],
            ["bytes", human_bytes(self.bytes)],
            ["skipped", f"{len(self.skipped):,}"],
        ]
        notes = [f"skipped {name}: {reason}" for name, reason in self.skipped]
        if self.classes == 1:
            notes.insert(0, "there is one class only: a classifier has nothing to tell apart")
        if self.resumed:
            notes.insert(0, f"{self.resumed:,} samples had been written by an earlier run")
        if self.ignored:
            notes.append(f"{len(self.ignored):,} other files were left out, as {self.ignored[0]}")
        return Table(["what", "number"], rows, notes=notes)


def pack_folder(
    source: str | Path,
    target: str | Path,
    *,
    size: int | None = None,
    on_error: str = "raise",
    shuffle_seed: int | None = 0,
    processes: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> PackReport:
    """Write the images of SOURCE/CLASS/*.jpg (or .png and others) to `target` as uint8 RGB (3, H, W).

    With `size` the shorter side is scaled to `size` pixels and the centre cut out; see `decode_image` for colours and
    orientation. `on_error="skip"` leaves out images that cannot be decoded and lists them; "raise" refuses the first.
    Other arguments as for `pack_dataset`. The same call goes on where an interrupted one stopped. Raises ValueError for
    such an image, for images of unequal sizes without `size` and for wrong settings, FileNotFoundError for a folder
    without images, and what `PackedWriter` raises.
    """
    source = Path(source)
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error is {on_error!r}: expected 'raise' or 'skip'")
    size = None if size is None else check_whole("size", size, 1, of="pixels")
    found = find_images(source)
    if Path(target).resolve().is_relative_to(source.resolve()):
        raise ValueError(
            f"{target} lies in {source}, where it would be taken for a class: choose a folder outside"
        )
    try:
        files = ImageFiles(source, found, size, skip=on_error == "skip")
    except Unusable as error:  # a header that cannot be read
        _refuse(Bad(0, error.name, error.reason, True), False)
    seen = hashlib.sha256(f"{size} {PIL.__version__}".encode())
    for name in found.names:
        path = source / name
        status = path.stat() if path.exists() else path.lstat()
        seen.update(f"{name!a} {status.st_size} {status.st_mtime_ns}\n".encode())
    how = (shuffle_seed, processes, overwrite, progress)
    return _pack(files, target, seen.hexdigest(), on_error == "skip", found.others, *how)


def pack_dataset(
    dataset: Dataset,
    target: str | Path,
    *,
    classes: Sequence[str] | None = None,
    shuffle_seed: int | None = 0,
    processes: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> PackReport:
    """Write a map-style dataset to `target`: dataset[k] is (image (C, H, W), uint8 or from 0 to 1, label).

    classes       names, by default `dataset.classes`
    shuffle_seed  fixes the order; None keeps that of the dataset
    processes     how many decode, by default one for each core
    overwrite     replace a dataset, once the new one is finished
    To resume, a dataset is recognised by its length and 16 of its samples. Raises ValueError and TypeError for an empty
    dataset, a stream, and a sample that does not fit, which it names.
    """
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise TypeError(
            f"dataset is a {type(dataset).__name__}: expected one with a length and an index. Write a stream with"
            " PackedWriter, batch by batch"
        )
    if len(dataset) == 0:
        raise ValueError("the dataset holds 0 samples: expected at least one")
    names = getattr(dataset, "classes", None) if classes is None else classes
    samples = _Samples(dataset, check_classes(names))
    seen = hashlib.sha256(f"{len(dataset)}".encode())
    for index in np.linspace(0, len(dataset) - 1, min(PROBED, len(dataset))).astype(int).tolist():
        pixels, label = samples.read(index)
        seen.update(pixels.tobytes() + f"{label}".encode())
    how = (shuffle_seed, processes, overwrite, progress)
    return _pack(samples, target, seen.hexdigest(), False, [], *how)


class _Samples:
    """The samples of a dataset as bytes; `shape` is that of the first that is read."""

    def __init__(self, dataset: Dataset, classes: Sequence[str]):
        self.dataset, self.classes, self.shape = dataset, classes, None

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, index: int) -> tuple[np.ndarray, int]:
        """Return an image, uint8 (C, H, W), and its label; Unusable for what does not fit."""
        image, label = self.dataset[index]
        try:
            pixels = as_uint8(image).contiguous().numpy()
            self.shape = self.shape or pixels.shape
            if pixels.shape != self.shape:
                raise ValueError(
                    f"its image has shape {pixels.shape}, the first one has {self.shape}: resize them"
                )
            return pixels, _class_number(label, len(self.classes))
        except (TypeError, ValueError) as error:
            raise Unusable(f"sample {index}", str(error), skippable=False) from None


def _class_number(label: Any, classes: int) -> int:
    try:
        number = operator.index(label)
    except TypeError:
        number = -1
    if not 0 <= number < classes:
        raise ValueError(f"its label is {label!r}: expected a class number from 0 to {classes - 1}")
    return number


def as_uint8(image: Any) -> Tensor:
    """Return an image tensor (C, H, W), uint8 or floats from 0 to 1, as uint8; floats are rounded to 255ths.

    Raises TypeError for what is no such tensor, and ValueError for floats beyond 0 to 1.
    """
    if not isinstance(image, Tensor) or image.ndim != 3:
        what = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise TypeError(
            f"its image is {what}: expected a tensor (C, H, W), uint8 or floats from 0 to 1"
        )
    if image.dtype == torch.uint8:
        return image
    if not image.is_floating_point():
        raise TypeError(f"its image is {image.dtype}: expected uint8 or floats from 0 to 1")
    if not (image.min() >= 0 and image.max() <= 1):
        raise ValueError(
            f"its image has values from {image.min():g} to {image.max():g}: expected 0 to 1. Normalise after reading"
        )
    return image.mul(255).round().to(torch.uint8)


def _pack(
    source: "ImageFiles | _Samples",
    target: str | Path,
    seen: str,
    skip: bool,
    ignored: Sequence[str],
    shuffle_seed: int | None,
    processes: int | None,
    overwrite: bool,
    progress: bool,
) -> PackReport:
    """Write all samples of a source from where an earlier run stopped; `seen` tells it from other sources."""
    began, total = time.perf_counter(), len(source)
    order = np.arange(total)
    if shuffle_seed is not None:
        check_whole("shuffle_seed", shuffle_seed, 0)
        order = np.random.default_rng(shuffle_seed).permutation(total)
    if processes is None:
        processes = min(cores(), 1 + total // WORTH_A_PROCESS)
    check_whole("processes", processes, 1)
    writer = PackedWriter(
        target,
        classes=source.classes,
        shape=source.shape,
        overwrite=overwrite,
        source=[seen, hashlib.sha256(order).hexdigest()],
    )
    with writer:
        resumed = start = writer.done
        for position, name, reason in writer.skipped:
            _refuse(Bad(position, name, reason, True), skip)
            start += position < start  # in order, so this many lie before the next sample
        known = {position for position, *_ in writer.skipped}
        bar_shown = progress_bar([range(total)], 1, progress, unit="image")
        with bar_shown as bar, closing(_batches(source, order, start, processes)) as batches:
            if bar is not None:
                bar.update(start)
            for images, labels, bad in batches:
                for entry in bad:
                    _refuse(entry, skip)
                writer.skipped += [list(entry[:3]) for entry in bad if entry.position not in known]
                if len(labels):
                    writer.add(images, labels)
                if bar is not None:
                    bar.update(len(labels) + len(bad))
        if len(writer.skipped) == total:
            _, name, reason = writer.skipped[0]
            raise ValueError(f"none of {total} images can be decoded; {name} cannot: {reason}")
    manifest = read_manifest(target)
    return PackReport(
        Path(target),
        manifest.rows,
        len(manifest.classes),
        manifest.shape,
        manifest.bytes,
        time.perf_counter() - began,
        resumed,
        manifest.skipped,
        tuple(ignored),
    )


def _refuse(bad: Bad, skip: bool) -> None:
    if not (skip and bad.skippable):
        remedy = (
            " Mend or remove it, or leave such images out: on_error='skip' (--skip-bad)"
            if bad.skippable
            else ""
        )
        raise ValueError(f"{bad.name} cannot be packed: {bad.reason}.{remedy}")


class _Batches(Dataset):
    """The samples of a source by the batch, in an order: (images (n, C, H, W), labels (n,), bad ones)."""

    def __init__(self, source: "ImageFiles | _Samples", order: np.ndarray, start: int):
        self.source, self.order, self.start = source, order, start
        self.size = max(1, min(256, BATCH_BYTES // math.prod(source.shape)))

    def __len__(self) -> int:
        return -(-(len(self.order) - self.start) // self.size)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray, list[Bad]]:
        first = self.start + number * self.size
        positions = range(first, min(first + self.size, len(self.order)))
        images = np.empty((len(positions), *self.source.shape), np.uint8)
        labels, bad = [], []
        for position in positions:
            try:
                images[len(labels)], label = self.source.read(int(self.order[position]))
                labels.append(label)
            except Unusable as error:
                bad.append(Bad(position, error.name, error.reason, error.skippable))
        return images[: len(labels)], np.array(labels, np.int64), bad


def _batches(
    source: "ImageFiles | _Samples", order: np.ndarray, start: int, processes: int
) -> Iterator[tuple[np.ndarray, np.ndarray, list[Bad]]]:
    """Yield all batches in order, made in this process or in so many workers, which end with this generator.

    The workers send NumPy arrays, by a pipe: a container may have little of the shared memory that tensors need.
    """
    loader = DataLoader(
        _Batches(source, order, start),
        batch_size=None,  # a sample is a batch
        num_workers=processes if processes > 1 else 0,
        collate_fn=_as_it_is,
        generator=torch.Generator(),  # else the workers' seeds would be drawn from the caller's generator
    )
    iterator = iter(loader)
    try:
        yield from iterator
    finally:
        # A traceback may keep the iterator alive, in a notebook for ever; its workers are to end now.
        getattr(iterator, "_shutdown_workers", lambda: None)()


def _as_it_is(batch: Any) -> Any:
    return batch
