"""A folder of image files, one folder a class: found, decoded and sized.

Each file, whatever its kind, becomes upright RGB pixels. What cannot be used is refused with its name and the reason.
"""

import re
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset

from dlhelpers.base.checks import check_whole

SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation"}
ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
CONTROL = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff]")  # in a name, it could take over a terminal


class Unusable(ValueError):
    """A sample that cannot be used: its name, and why."""

    def __str__(self) -> str:
        remedy = "remove it, save it again, or pack with on_error='skip' (--skip-bad)"
        return "{} cannot be used: {}; ".format(*self.args) + remedy


class ImageFiles(Dataset):
    """Image files in ROOT/CLASS, at any depth: a sample is (image float32 (3, H, W) from 0 to 1, label).

    Links to folders inside a class are not followed, since they may lead around in a circle. With `size` the shorter
    side is scaled to `size` pixels and the centre cut out; without it the first good image sets height and width, and
    one unlike it is refused when it is read. Raises FileNotFoundError for a folder without classes or images.
    """

    def __init__(self, root: str | Path, size: int | None = None):
        self.size = None if size is None else check_whole("size", size, 1)
        self.shape = None if size is None else (3, size, size)
        self.root = Path(root).expanduser()
        self.classes = sorted(path.name for path in self.root.iterdir() if path.is_dir())
        if not self.classes:
            raise FileNotFoundError(f"{root} holds no folders: expected one for each class")
        self.samples = []
        for label, name in enumerate(self.classes):
            paths = sorted((self.root / name).rglob("*"))
            found = [(str(path), label) for path in paths if path.suffix.lower() in ENDINGS]
            if not found:
                raise FileNotFoundError(
                    f"{self.root / name} holds no images ({', '.join(ENDINGS)}): move some there, or remove it"
                )
            self.samples += found
        self.targets = [label for _, label in self.samples]
        for name in SPLITS.intersection(self.classes):
            if any(self.root.glob(f"{name}/*/")):
                raise ValueError(
                    f"{root} holds splits, not classes: take one of them, as {root}/{name}"
                )
        if self.shape is None:
            self.shape = self._first_shape()

    def __len__(self) -> int:
        return len(self.samples)

    def _first_shape(self) -> tuple[int, int, int]:
        """The shape of the first image that can be read; Unusable where none can."""
        for index in range(len(self)):
            try:
                return self.read(index)[0].shape
            except Unusable as error:
                damaged = error
        raise damaged

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels, label = self.read(index)
        return torch.from_numpy(pixels).float().div(255), label

    def decode(self, index: int, size: int | None = None) -> np.ndarray:
        """Return the pixels of a file, see `decode_image`; Unusable where they cannot be had."""
        path, _ = self.samples[index]
        try:
            return decode_image(path, size)
        except MemoryError:
            raise
        except Exception as error:  # damaged files raise whatever the decoder trips over
            # Without the place of the file, which may be another tomorrow, or raw bytes of it.
            name = Path(path).relative_to(self.root).as_posix()
            reason = f"{error}".replace(repr(path), "it") or type(error).__name__
            raise Unusable(CONTROL.sub("?", name), CONTROL.sub("?", reason)) from None

    def read(self, index: int) -> tuple[np.ndarray, int]:
        """Return the sample as bytes, (3, H, W) uint8, and its label; Unusable where that cannot be."""
        path, label = self.samples[index]
        pixels = self.decode(index, self.size)
        if self.shape not in (None, pixels.shape):  # not one to be skipped: most may differ
            first, found = (f"{shape[2]} x {shape[1]}" for shape in (self.shape, pixels.shape))
            side = min(self.shape[1:] + pixels.shape[1:])
            raise ValueError(
                f"{path} is {found} pixels, the first image {first}: a dataset has one size, pass size={side}"
            )
        return pixels, label


def decode_image(file: str | Path | BinaryIO, size: int | None = None) -> np.ndarray:
    """Return an image file as a uint8 array (3, H, W), upright, in RGB; (3, size, size) with `size`.

    With `size` the shorter side is scaled to `size` pixels and the centre is cut out. Large JPEG files are decoded at
    a half, a quarter or an eighth where that leaves at least twice `size`. Grey, palette and CMYK images become RGB;
    of 16 bits the upper 8 are kept; transparency is dropped; of several frames the first is taken.
    Raises ValueError for floats, whose range is unknown, and what the decoder raises for a damaged file.
    """
    with Image.open(file) as image:
        if size is not None:
            image.draft(None, (2 * size, 2 * size))
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode[0] in "FI":  # Pillow would cut 16 bits off at 255 instead of scaling them
            values = np.asarray(image)
            if image.mode == "F" or values.min() < 0 or values.max() > 65_535:
                raise ValueError("its pixels are floats, or have 32 bits: expected 8 or 16 bits")
            image = Image.fromarray((values >> 8).astype(np.uint8))
        image = image.convert("RGB")
    if size is not None:
        image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))
