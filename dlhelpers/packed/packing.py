"""Turn a folder of images, or any map-style dataset, into shards: once, in parallel, and resumable.

The bytes that come out depend on the images, `size`, `rows_per_shard` and `shuffle_seed`, and on nothing else: not on
the number of processes, and not on how often packing was interrupted.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from torch.utils.data import Dataset

from dlhelpers.base.bars import progress_bar
from dlhelpers.base.checks import check_whole
from dlhelpers.packed.decoding import (
    Bad,
    Samples,
    Source,
    as_uint8,
    batches,
    pick_processes,
    unusable,
)
from dlhelpers.packed.image_files import Found, ImageFiles, find_images, find_size
from dlhelpers.packed.manifests import read_manifest
from dlhelpers.packed.pack_report import PackReport
from dlhelpers.packed.shard_files import need_space
from dlhelpers.packed.shard_writer import ShardWriter

SKIPPED = "skipped.jsonl"  # stays beside the shards: what the dataset does not hold, and why
PROBED = 16  # samples by which a dataset is recognised when packing is resumed


def pack_folder(
    source: str | Path,
    target: str | Path,
    *,
    size: int | None = None,
    rows_per_shard: int | None = None,
    shuffle_seed: int | None = 0,
    processes: int | None = None,
    on_error: str = "raise",
    overwrite: bool = False,
    progress: bool = True,
) -> PackReport:
    """Write the images of SOURCE/CLASS/*.jpg (or .png and others) to `target` as shards of uint8 RGB (3, H, W).

    With `size` the shorter side is scaled to `size` pixels and the centre cut out; see `read_image` for colours and
    orientation. `shuffle_seed` fixes the order (None: by class and name); `processes` is one for each core by default.
    `on_error="skip"` leaves out images that cannot be decoded and lists them; "raise" refuses the first. The same call
    goes on where an interrupted one stopped. Raises ValueError for such an image, for images of unequal sizes without
    `size` and for wrong settings, FileNotFoundError for a folder without images, and what `ShardWriter` raises.
    """
    source, target = Path(source), Path(target)
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error is {on_error!r}: expected 'raise' or 'skip'")
    size = None if size is None else check_whole("size", size, 1, of="pixels")
    found = find_images(source)
    if target.resolve().is_relative_to(source.resolve()):
        raise ValueError(
            f"{target} lies in {source}, where it would be taken for a class: choose a folder outside"
        )
    shape = (
        (3, size, size)
        if size is not None
        else (3, *find_size(source, found.names, on_error == "skip"))
    )
    order = _order(len(found.names), shuffle_seed)
    names, labels = [found.names[k] for k in order], np.array(found.labels, np.int64)[order]
    fingerprint = {"files": _digest(found, order), "size": size, "pillow": PIL.__version__}
    files = ImageFiles(source, names, labels, shape, size)
    return _pack(
        files,
        target,
        found.classes,
        fingerprint,
        rows_per_shard,
        processes,
        on_error == "skip",
        overwrite,
        progress,
        tuple(found.others),
    )


def pack_dataset(
    dataset: Dataset,
    target: str | Path,
    *,
    classes: Sequence[str],
    rows_per_shard: int | None = None,
    shuffle_seed: int | None = 0,
    processes: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> PackReport:
    """Write a map-style dataset to `target` as shards: dataset[k] is (image (C, H, W), uint8 or from 0 to 1, label).

    Other arguments as for `pack_folder`. To resume, a dataset is recognised by its length and 16 of its samples.
    Raises ValueError and TypeError for an empty dataset and for a sample that does not fit, which it names.
    """
    length = len(dataset)
    if length == 0:
        raise ValueError("the dataset holds 0 samples: expected at least one")
    order = _order(length, shuffle_seed)
    digest, shape = hashlib.sha256(order.tobytes()), None
    for index in np.linspace(0, length - 1, min(PROBED, length)).astype(int).tolist():
        image, label = dataset[index]
        try:
            pixels = as_uint8(image)
        except (TypeError, ValueError) as error:
            raise type(error)(f"sample {index}: {error}") from None
        digest.update(pixels.contiguous().numpy().tobytes() + str(label).encode())
        shape = shape or tuple(pixels.shape)
    samples = Samples(dataset, order, shape, len(classes))
    fingerprint = {"dataset": digest.hexdigest()}
    return _pack(
        samples,
        Path(target),
        tuple(classes),
        fingerprint,
        rows_per_shard,
        processes,
        False,
        overwrite,
        progress,
    )


def _pack(
    source: Source,
    target: Path,
    classes: tuple[str, ...],
    fingerprint: dict[str, Any],
    rows_per_shard: int | None,
    processes: int | None,
    skip: bool,
    overwrite: bool,
    progress: bool,
    ignored: tuple[str, ...] = (),
) -> PackReport:
    """Write all samples of a source from where an earlier run stopped; `fingerprint` tells it from others."""
    began, processes = time.perf_counter(), pick_processes(processes, len(source))
    options = {"rows_per_shard": rows_per_shard, "overwrite": overwrite, "source": fingerprint}
    with ShardWriter(target, classes=classes, shape=source.shape, **options) as writer:
        resumed = writer.done
        skipped = _Skipped(target / f"unfinished-{SKIPPED}", resuming=resumed > 0)
        if not skip:
            _refuse(skipped.known.values())
        start = skipped.position_after(resumed)
        need_space(target, (len(source) - start) * (int(np.prod(source.shape)) + 8))
        shown = progress_bar([range(len(source))], 1, progress, unit="image")
        with shown as bar, closing(batches(source, start, processes)) as made:
            if bar is not None:
                bar.update(start)
            for images, labels, bad in made:
                _refuse(entry for entry in bad if not (skip and entry.skippable))
                skipped.add(bad)
                if len(labels):
                    writer.add(images, labels)
                if bar is not None:
                    bar.update(len(labels) + len(bad))
        if len(skipped.known) == len(source):
            raise ValueError(
                f"none of {len(source)} images can be decoded; {skipped.known[0].name}"
                f" cannot because {skipped.known[0].reason}"
            )
    skipped.keep(target / SKIPPED)
    manifest = read_manifest(target)
    left_out = tuple((bad.name, bad.reason) for _, bad in sorted(skipped.known.items()))
    return PackReport(
        target,
        manifest.samples,
        len(classes),
        manifest.shape,
        len(manifest.shards),
        manifest.bytes,
        time.perf_counter() - began,
        resumed,
        left_out,
        ignored,
    )


class _Skipped:
    """The bad samples by position, on the disk before a shard that lacks them is, so that resuming finds its place."""

    def __init__(self, path: Path, resuming: bool):
        self.path, self.known = path, {}
        if not resuming:
            path.unlink(missing_ok=True)
        elif path.exists():
            for line in path.read_text(encoding="utf-8").split("\n"):
                try:
                    bad = Bad(*json.loads(line))
                except (
                    ValueError,
                    TypeError,
                ):  # the line that a crash cut short: no shard depends on it
                    continue
                self.known[bad.position] = bad

    def add(self, bad: Iterable[Bad]) -> None:
        new = [entry for entry in bad if entry.position not in self.known]
        if not new:
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(
                "".join(f"\n{json.dumps(entry)}" for entry in new)
            )  # first ends a line that was cut short
            file.flush()
            os.fsync(file.fileno())
        self.known.update((entry.position, entry) for entry in new)

    def position_after(self, done: int) -> int:
        """The position at which `done` good samples lie behind."""
        position = done
        for bad in sorted(self.known):
            position += bad < position
        return position

    def keep(self, path: Path) -> None:
        """Rename the list once the dataset is whole; without one, remove that of an old dataset."""
        if self.known:
            os.replace(self.path, path)
        else:
            path.unlink(missing_ok=True)


def _refuse(bad: Iterable[Bad]) -> None:
    for entry in bad:
        raise ValueError(unusable(entry))


def _order(length: int, seed: int | None) -> np.ndarray:
    return np.arange(length) if seed is None else np.random.default_rng(seed).permutation(length)


def _digest(found: Found, order: np.ndarray) -> str:
    """What the files and their order are recognised by when packing is resumed: names, bytes, times of change."""
    digest = hashlib.sha256(order.tobytes())
    for name, stamp in zip(found.names, found.stamps, strict=True):
        digest.update(f"{os.fsencode(name)!r} {stamp}\n".encode())
    return digest.hexdigest()
