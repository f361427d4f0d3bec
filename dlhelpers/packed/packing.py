"""Turn a folder of images, or any map-style dataset, into a packed one: once, in parallel, and resumable.

The bytes that come out depend on the images, `size` and `shuffle_seed`, and on nothing else: not on the number of
processes, and not on how often packing was interrupted.
"""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dlhelpers.base.checks import shown
from dlhelpers.base.progress_bars import tqdm_bar
from dlhelpers.data.folders import ImageFiles, Unusable
from dlhelpers.machine.devices import cores
from dlhelpers.packed.manifest import read_manifest
from dlhelpers.packed.verifying import Report
from dlhelpers.packed.writer import PackedWriter

BATCH_BYTES = 1_000_000  # decoded at a time
WORTH_A_PROCESS = 200  # images; fewer are decoded sooner than a worker starts


def pack_folder(
    source: str | Path, target: str | Path, *, size: int | None = None, **options: Any
) -> Report:
    """Write the images of SOURCE/CLASS/*.jpg (or .png and others) to `target` as uint8 RGB (3, H, W).

    With `size` the shorter side is scaled to `size` pixels and the centre cut out; see `decode_image` for colours and
    orientation. Options as for `pack_dataset`; the same call goes on where an interrupted one stopped. Raises
    ValueError for an image that cannot be decoded, for images of unequal sizes without `size` and for wrong settings,
    FileNotFoundError for a folder without images, and what `PackedWriter` raises.
    """
    return pack_dataset(ImageFiles(source, size), target, **options)


def pack_dataset(
    dataset: Dataset,
    target: str | Path,
    *,
    classes: Sequence[str] | None = None,
    on_error: str = "raise",
    shuffle_seed: int | None = 0,
    processes: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Report:
    """Write a map-style dataset to `target`: dataset[k] is (image (C, H, W), uint8 or from 0 to 1, label).

    classes       names, by default `dataset.classes`
    on_error      "skip" leaves out images of a folder that cannot be decoded and lists them; "raise" refuses the first
    shuffle_seed  fixes the order; None keeps that of the dataset
    processes     how many decode, by default more the more samples there are, up to one for each core
    overwrite     replace a dataset, once the new one is finished
    To resume, a folder is recognised by its files, another dataset by its length, its first and its last sample.
    Raises ValueError for a sample that does not fit, which it names. Write a stream with PackedWriter, batch by batch.
    """
    total, seen = len(dataset), []
    if isinstance(dataset, ImageFiles):
        source = dataset
        for path, _ in source.samples:
            status = Path(path).lstat()
            seen.append((source.size, path, status.st_size, status.st_mtime_ns))
    else:
        source = _Samples(dataset)
        seen += (total, *(source.read(index)[0].tobytes() for index in (0, total - 1)))
    order = np.arange(total)
    if shuffle_seed is not None:
        order = np.random.default_rng(shuffle_seed).permutation(total)
    if processes is None:
        processes = min(cores(), 1 + total // WORTH_A_PROCESS)
    stamp = hashlib.sha256(repr(seen).encode()).hexdigest()
    with PackedWriter(
        target,
        classes=getattr(dataset, "classes", None) if classes is None else classes,
        shape=source.shape,
        overwrite=overwrite,
        source=[stamp, shuffle_seed],
    ) as writer:
        resumed = writer.done
        if writer.skipped and on_error != "skip":
            raise Unusable(*writer.skipped[0])
        start = resumed + len(writer.skipped)
        loader = DataLoader(
            _Readings(source),
            batch_size=max(1, min(256, BATCH_BYTES // math.prod(source.shape))),
            sampler=order[start:],
            num_workers=processes if processes > 1 else 0,
            collate_fn=list,
            generator=torch.Generator(),  # else the workers' seeds would be drawn from the caller's
        )
        with tqdm_bar(progress, total=total, initial=start, unit="image") as bar:
            for readings in loader:
                for reading in readings:
                    if not isinstance(reading, Unusable):
                        image, label = reading
                        writer.add(image[None], [label])
                    elif on_error == "skip":
                        writer.skipped.append(list(reading.args))
                    else:
                        raise reading
                bar.update(len(readings))
    faults = tuple("{} cannot be used: {}".format(*entry) for entry in writer.skipped)
    return Report(faults, writer.done, read_manifest(target).bytes, resumed)


class _Samples:
    """The samples of a dataset as bytes."""

    def __init__(self, dataset):
        self.dataset, self.shape = dataset, None
        self.shape = self.read(0)[0].shape

    def read(self, index):
        """Return an image, uint8 (C, H, W), and its label; ValueError for an image that does not fit."""
        image, label = self.dataset[index]
        fits = "expected a tensor (C, H, W), uint8 or floats from 0 to 1"
        if not isinstance(image, Tensor) or self.shape not in (None, image.shape):
            like = f", as {tuple(self.shape)}, the first one" if self.shape else ""
            raise ValueError(f"the image of sample {index} is {shown(image)}: {fits}{like}")
        if image.dtype != torch.uint8:
            if not (image.min() >= 0 and image.max() <= 1):
                raise ValueError(
                    f"the image of sample {index} goes from {image.min():g} to {image.max():g}: {fits}."
                    " Normalise after reading"
                )
            image = image.mul(255).round().to(torch.uint8)
        return image.numpy(), label


class _Readings(Dataset):
    """Each sample as (image, label), or why it cannot be used.

    As NumPy arrays they come by a pipe: a container may have little of the shared memory that tensors need.
    """

    def __init__(self, source):
        self.source = source

    def __getitem__(self, index):
        try:
            return self.source.read(int(index))
        except Unusable as error:
            return error
