"""Turn a folder of images, or any map-style dataset, into a packed one: once, in parallel, and resumable.

The bytes that come out depend on the images, `size` and `shuffle_seed`, and on nothing else: not on the number of
processes, and not on how often packing was interrupted.
"""

import hashlib
import math
import operator
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dlhelpers.base.checks import check_whole, shown
from dlhelpers.base.progress_bars import tqdm_bar
from dlhelpers.base.sizes import human_bytes
from dlhelpers.base.tables import ShownAsTable, Table
from dlhelpers.data.folders import ImageFiles, Unusable
from dlhelpers.machine.devices import cores
from dlhelpers.packed.manifest import check_classes, read_manifest
from dlhelpers.packed.writer import PackedWriter

PROBED = 16  # samples by which a dataset is recognised when packing is resumed
BATCH_BYTES = 1_000_000  # decoded at a time
WORTH_A_PROCESS = 200  # images; fewer are decoded sooner than a worker starts


@dataclass(frozen=True, repr=False)
class PackReport(ShownAsTable):
    """What packing made, how much, and in `skipped` each (file, reason) that is not in the dataset.

    `shape` is (C, H, W); `resumed` samples had been written by an earlier run; `ignored` are files that do not end as
    an image does. Shown as a table, without the seconds: they differ with every run.
    """

    samples: int
    classes: int
    shape: tuple[int, int, int]
    bytes: int
    skipped: tuple[tuple[str, str], ...]
    ignored: Sequence[str]
    resumed: int
    seconds: float

    def table(self) -> Table:
        """Return the report as rows of (what, number), with notes on what was left out."""
        rows = [
            ["samples", f"{self.samples:,}"],
            ["classes", f"{self.classes:,}"],
            ["shape", " x ".join(map(str, self.shape))],
            ["bytes", human_bytes(self.bytes)],
            ["skipped", f"{len(self.skipped):,}"],
        ]
        notes = []
        if self.resumed:
            notes.append(f"{self.resumed:,} samples had been written by an earlier run")
        if self.classes == 1:
            notes.append("there is one class only: a classifier has nothing to tell apart")
        notes += [f"skipped {name}: {reason}" for name, reason in self.skipped]
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
    source, skip = Path(source), on_error == "skip"
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error is {on_error!r}: expected 'raise' or 'skip'")
    if Path(target).resolve().is_relative_to(source.resolve()):
        raise ValueError(
            f"{target} lies in {source}, where it would be taken for a class: choose a folder outside"
        )
    try:
        files = ImageFiles(source, size, skip)
    except Unusable as error:  # a header that cannot be read
        _refuse(error, skip)
    seen = hashlib.sha256(f"{size} {PIL.__version__}".encode())
    for name in files.names:
        status = (source / name).lstat()
        seen.update(f"{name!a} {status.st_size} {status.st_mtime_ns}\n".encode())
    how = (shuffle_seed, processes, overwrite, progress)
    return _pack(files, target, seen.hexdigest(), skip, files.others, *how)


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
            pixels, number = as_uint8(image).numpy(), operator.index(label)
            self.shape = self.shape or pixels.shape
            if pixels.shape != self.shape:
                raise ValueError(f"its image has shape {pixels.shape}, the first one {self.shape}")
            if not 0 <= number < len(self.classes):
                raise ValueError(f"its label is {number}: expected 0 to {len(self.classes) - 1}")
        except (TypeError, ValueError) as error:
            raise Unusable(f"sample {index}", str(error), skippable=False) from None
        return pixels, number


def as_uint8(image: Any) -> Tensor:
    """Return an image tensor (C, H, W), uint8 or floats from 0 to 1, as uint8; floats are rounded to 255ths.

    Raises ValueError for what is no such tensor.
    """
    if not isinstance(image, Tensor) or image.ndim != 3:
        raise ValueError(
            f"its image is {shown(image)}: expected a tensor (C, H, W), uint8 or floats from 0 to 1"
        )
    if image.dtype == torch.uint8:
        return image
    if not (image.min() >= 0 and image.max() <= 1):
        raise ValueError(
            f"its image is {image.dtype}, from {image.min():g} to {image.max():g}: expected uint8, or 0 to 1."
            " Normalise after reading"
        )
    return image.mul(255).round().to(torch.uint8)


def _pack(
    source: ImageFiles | _Samples,
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
    settings = {"classes": source.classes, "shape": source.shape, "overwrite": overwrite}
    with PackedWriter(target, **settings, source=[seen, shuffle_seed]) as writer:
        resumed = writer.done
        for name, reason in writer.skipped:
            _refuse(Unusable(name, reason), skip)
        start = resumed + len(writer.skipped)
        loader = DataLoader(
            _Tried(source),
            batch_size=max(1, min(256, BATCH_BYTES // math.prod(source.shape))),
            sampler=order[start:],
            num_workers=processes if processes > 1 else 0,
            collate_fn=_join,
            generator=torch.Generator(),  # else the workers' seeds would be drawn from the caller's
        )
        with tqdm_bar(progress, total=total, initial=start, unit="image") as bar:
            for parts in loader:
                for part in parts:
                    if isinstance(part, Unusable):
                        _refuse(part, skip)
                        writer.skipped.append([part.name, part.reason])
                    else:
                        writer.add(*part)
                    if bar is not None:
                        bar.update(1 if isinstance(part, Unusable) else len(part[1]))
    manifest = read_manifest(target)
    return PackReport(
        manifest.rows,
        len(manifest.classes),
        manifest.shape,
        manifest.bytes,
        manifest.skipped,
        ignored,
        resumed,
        time.perf_counter() - began,
    )


def _refuse(error: Unusable, skip: bool) -> None:
    if not error.skippable:
        raise error
    if not skip:
        raise ValueError(f"{error}, or leave such images out: on_error='skip' (--skip-bad)")


class _Tried(Dataset):
    """The samples of a source, and the reason in place of one that cannot be used."""

    def __init__(self, source: ImageFiles | _Samples):
        self.source = source

    def __getitem__(self, index: int) -> tuple[np.ndarray, int] | Unusable:
        try:
            return self.source.read(int(index))
        except Unusable as error:
            return error


def _join(samples: list[Any]) -> list[Any]:
    """Return (images, labels) of each run of samples, and what is unusable where it lies between them.

    As NumPy arrays they come by a pipe: a container may have little of the shared memory that tensors need.
    """
    parts = []
    for unusable, run in groupby(samples, lambda sample: isinstance(sample, Unusable)):
        if unusable:
            parts += run
        else:
            images, labels = zip(*run, strict=True)
            parts.append((np.stack(images), np.array(labels)))
    return parts
