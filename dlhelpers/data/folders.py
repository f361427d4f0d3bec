"""A folder of image files, one folder a class: found, decoded and sized.

Each file, whatever its kind, becomes upright RGB pixels. What cannot be used is refused with its name and the reason.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import functional

from dlhelpers.base.checks import check_whole

TEST_EVERY = 5  # where a source has no split of its own, each fifth image is a test image
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height
ORIENTATION = 0x0112  # the EXIF tag
ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp")
SPLITS = ("train", "training", "test", "testing", "val", "valid", "validation")
CONTROL = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff]")  # in a name, it could take over a terminal


class Unusable(ValueError):
    """A sample that cannot be used, why, and whether it may be left out: not where the disk is to blame."""

    def __init__(self, name: str, reason: str, skippable: bool = True):
        super().__init__(name, reason, skippable)
        self.name, self.reason, self.skippable = name, reason, skippable

    def __str__(self) -> str:
        remedy = ": remove it, or save it again as PNG or JPEG" if self.skippable else ""
        return f"{self.name} cannot be used: {self.reason}{remedy}"


def image_to_tensor(image: Image.Image) -> Tensor:
    """Return a PIL image as a float32 tensor (C, H, W) from 0 to 1."""
    return functional.pil_to_tensor(image).float().div(255)


class ImageFiles(Dataset):
    """Image files in ROOT/CLASS, at any depth: a sample is (image float32 (3, H, W) from 0 to 1, label).

    `names` are those of the files below `root`, ordered by class and name; `others` do not end as an image does, or are
    links to folders, which are not followed. Hidden files do not count. With `size` the shorter side is scaled to
    `size` pixels and the centre cut out; without it, one unlike the others' height and width is refused.
    """

    def __init__(self, root: Path, size: int | None = None, skip: bool = False):
        self.root = Path(root)
        self.size = None if size is None else check_whole("size", size, 1)
        self.classes = find_classes(self.root)
        self.names: list[str] = []
        self.labels: list[int] = []
        self.others: list[str] = []
        for label, name in enumerate(self.classes):
            self._walk(name, label)
        side = (size, size) if size else find_size(self.root, self.names, skip)
        self.shape = (3, *side)

    def _walk(self, name: str, label: int) -> None:
        before = len(self.names)
        for path in sorted((self.root / name).rglob("*")):
            below = path.relative_to(self.root)
            if any(part.startswith(".") for part in below.parts):
                continue
            if CONTROL.search(str(below)):
                raise ValueError(f"the name {str(below)!a} holds a control character: rename it")
            if path.suffix.lower() in ENDINGS:
                self.names.append(below.as_posix())
                self.labels.append(label)
            elif path.is_symlink() or not path.is_dir():
                self.others.append(below.as_posix())
        if len(self.names) == before:
            raise ValueError(
                f"{self.root / name} holds no images ({', '.join(ENDINGS)}): move some there, or remove it"
            )

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels, label = self.read(index)
        return torch.from_numpy(pixels).float().div(255), label

    def read(self, index: int) -> tuple[np.ndarray, int]:
        """Return the sample as bytes, (3, H, W) uint8, and its label; Unusable where the file cannot be used."""
        name = self.names[index]
        path = self.root / name
        try:
            pixels = decode_image(path, self.size)
        except MemoryError:
            raise
        except Exception as error:  # damaged files raise whatever the decoder trips over
            # What the system cannot read is only to be skipped as a dangling link.
            skippable = getattr(error, "errno", None) is None or path.is_symlink()
            raise Unusable(name, _reason(error, path), skippable) from None
        if pixels.shape != self.shape:
            height, width = pixels.shape[1:]
            raise Unusable(
                name,
                f"it is {width} x {height} pixels, unlike its header or the others: pass size=",
            )
        return pixels, self.labels[index]


def image_folder(root: str | Path | None, split: str, size: int | None = None) -> ImageFiles:
    """Return the images of ROOT/SPLIT/CLASS/*.jpg; without split folders, of ROOT/CLASS/*.jpg, each fifth a test image.

    Every header is read: an epoch does not fail in its middle for a file that is no image. Raises FileNotFoundError for
    a folder that is missing or empty, ValueError for a file that is no image and for images of unequal sizes without
    `size`.
    """
    if root is None:
        raise ValueError(
            "load('folder') needs root=: the folder that holds one folder of images for each class"
        )
    root = Path(root)
    if split not in ("train", "test") or (root / "train").is_dir() or (root / "test").is_dir():
        return ImageFiles(root / split, size)
    files = ImageFiles(root, size)
    chosen = [
        k for k in range(len(files)) if (k % TEST_EVERY == TEST_EVERY - 1) == (split == "test")
    ]
    files.names = [files.names[k] for k in chosen]
    files.labels = [files.labels[k] for k in chosen]
    return files


def find_classes(root: Path) -> list[str]:
    """Return the names of the folders in a folder, in order, without hidden ones.

    Raises FileNotFoundError where there are none, ValueError for images beside them and for a folder of splits.
    """
    layout = f"expected {root}/CLASS/*.jpg (or .png), one folder a class"
    if not root.is_dir():
        raise FileNotFoundError(
            f"there is no folder {root}: check the name; it is relative to {Path.cwd()}"
        )
    entries = sorted(entry for entry in root.iterdir() if not entry.name.startswith("."))
    classes = [entry for entry in entries if entry.is_dir()]
    for entry in entries:
        if entry.suffix.lower() in ENDINGS and entry not in classes:
            raise ValueError(f"{entry} lies in no class folder: {layout}")
    if not classes:
        raise FileNotFoundError(f"{root} holds no images: {layout}")
    for folder in classes:
        if folder.name in SPLITS and any(entry.is_dir() for entry in folder.iterdir()):
            raise ValueError(f"{root} holds splits, not classes: take one of them, as {folder}")
    return [folder.name for folder in classes]


def find_size(root: Path, names: Sequence[str], skip: bool) -> tuple[int, int]:
    """Return the one height and width of all images as they are to be seen, in pixels, from their headers.

    Raises ValueError for images of two sizes and for one that cannot be read; with `skip` only if none can.
    """
    sizes: dict[tuple[int, int], str] = {}
    for name in names:
        try:
            with Image.open(root / name) as image:
                # Of a PNG file Pillow would decode all pixels, to look for an orientation behind them.
                known = image.format != "PNG"
                sideways = known and image.getexif().get(ORIENTATION) in SIDEWAYS
                sizes.setdefault(image.size[::-1] if sideways else image.size, name)
        except Exception as error:  # as in ImageFiles.read, which meets the file again
            if not skip:
                raise Unusable(name, _reason(error, root / name)) from None
        if len(sizes) > 1:
            (first, one), (second, other) = sizes.items()
            side = min(first + second)
            raise ValueError(
                f"images differ in size: {one} is {first[0]} x {first[1]}, {other} is {second[0]} x {second[1]} pixels."
                f" A dataset has one size: pass size={side}, say"
            )
    if not sizes:
        raise ValueError(f"none of the {len(names)} images in {root} can be read")
    width, height = next(iter(sizes))
    return height, width


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
        if "transparency" in image.info:
            image = image.convert("RGBA")  # without this step Pillow warns of each such image
        image = image.convert("RGB")
    if size is not None:
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = (left, top, left + side, top + side)
        image = image.resize((size, size), Image.Resampling.BILINEAR, box)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def _reason(error: Exception, path: Path) -> str:
    """What a decoder says, without the place of the file, which may be another tomorrow, or raw bytes of it."""
    text = str(error).replace(f"{str(path)!r}", "it") or type(error).__name__
    return CONTROL.sub("?", text)
