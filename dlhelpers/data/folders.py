"""A folder of image files, one folder a class: found, decoded and sized.

Each file, whatever its kind, becomes upright RGB pixels. What cannot be used is refused with its name and the reason.
"""

import io
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import functional

from dlhelpers.base.checks import check_kind, check_whole

TEST_EVERY = 5  # where a source has no split of its own, each fifth image is a test image
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height
ORIENTATION = 0x0112  # the EXIF tag
ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp")
SPLITS = ("train", "training", "test", "testing", "val", "valid", "validation")
CONTROL = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff]")  # in a name, it could take over a terminal


class Unusable(ValueError):
    """A sample that cannot be used, and whether it may be left out: not where the disk is to blame."""

    def __init__(self, name: str, reason: str, skippable: bool = True):
        super().__init__(
            f"{name} cannot be used: {reason}: remove it, or save it again as PNG or JPEG"
        )
        self.name, self.reason, self.skippable = name, reason, skippable


def image_to_tensor(image: Image.Image) -> Tensor:
    """Return a PIL image as a float32 tensor (C, H, W) from 0 to 1."""
    return functional.pil_to_tensor(image).float().div(255)


class Found(NamedTuple):
    """The image files of a folder: their names below it, the numbers of their classes, and the files left out."""

    classes: list[str]
    names: list[str]
    labels: list[int]
    others: list[str]  # do not end as an image does


class ImageFiles(Dataset):
    """Image files below `root`: a sample is (image float32 (3, H, W) from 0 to 1, label).

    With `size` the shorter side is scaled to `size` pixels and the centre cut out; without it, one unlike the others'
    height and width is refused.
    """

    def __init__(self, root: Path, found: Found, size: int | None, skip: bool = False):
        self.root, self.size, self.classes = Path(root), size, found.classes
        self.names, self.labels = found.names, found.labels
        side = (size, size) if size else find_size(self.root, self.names, skip)
        self.shape = (3, *side)

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
            content = path.read_bytes()
        except (
            OSError
        ) as error:  # what the system cannot read is only to be skipped as a dangling link
            dangling = isinstance(error, FileNotFoundError) and path.is_symlink()
            raise Unusable(name, _reason(error), dangling) from None
        try:
            pixels = decode_image(content, self.size)
        except MemoryError:
            raise
        except Exception as error:  # damaged files raise whatever the decoder trips over
            raise Unusable(name, _reason(error)) from None
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
    `size`, TypeError for a split that is no text.
    """
    check_kind("split", split, str, "'train', 'test' or the name of a folder below root")
    if root is None:
        raise ValueError(
            "load('folder') needs root=: the folder that holds one folder of images for each class"
        )
    size = None if size is None else check_whole("size", size, 1, of="pixels")
    root, of_split = Path(root), Path(root) / split
    has_splits = (root / "train").is_dir() or (root / "test").is_dir()
    if split not in ("train", "test") and root.is_dir() and not of_split.is_dir():
        raise ValueError(
            f"split is {split!r}: expected 'train', 'test' or the name of a folder in {root}"
        )
    if has_splits or split not in ("train", "test"):
        return ImageFiles(of_split, find_images(of_split), size)
    found = find_images(root)
    is_test = [k % TEST_EVERY == TEST_EVERY - 1 for k in range(len(found.names))]
    chosen = [k for k, test in enumerate(is_test) if test == (split == "test")]
    names, labels = [found.names[k] for k in chosen], [found.labels[k] for k in chosen]
    find_size(root, found.names, skip=False) if size is None else None
    return ImageFiles(root, found._replace(names=names, labels=labels), size)


def find_images(source: Path) -> Found:
    """Return the images of SOURCE/CLASS, at any depth, ordered by class and name; hidden files do not count.

    Raises FileNotFoundError for a folder that is missing or holds no images, ValueError for a class without images,
    for images outside a class folder, for a folder of splits, and for a name with a control character.
    """
    found = Found(_find_classes(source), [], [], [])
    for label, name in enumerate(found.classes):
        before, top = len(found.names), (source / name).resolve()
        walked = {top, *top.parents}
        for folder, folders, files in os.walk(source / name, followlinks=True):
            visible = sorted(inner for inner in folders if not inner.startswith("."))
            folders[:] = [inner for inner in visible if _is_new(Path(folder, inner), walked)]
            for path in sorted(Path(folder) / file for file in files if not file.startswith(".")):
                below = path.relative_to(source).as_posix()
                if CONTROL.search(below):
                    raise ValueError(
                        f"the name {below!a} holds a control character: rename the file"
                    )
                if not path.name.lower().endswith(ENDINGS):
                    found.others.append(below)
                    continue
                found.names.append(below)
                found.labels.append(label)
        if len(found.names) == before:
            raise ValueError(
                f"{source / name} holds no images ({', '.join(ENDINGS)}): move some there, or remove it"
            )
    return found


def _is_new(path: Path, walked: set[Path]) -> bool:
    """Whether a folder is to be walked: not where a link leads to one that was, or to one that it lies in."""
    real = path.resolve()
    if real in walked or path.parent.resolve().is_relative_to(real):
        return False
    walked.add(real)
    return True


def _find_classes(source: Path) -> list[str]:
    layout = f"expected {source}/CLASS/*.jpg (or .png), one folder a class"
    if not source.is_dir():
        raise FileNotFoundError(
            f"there is no folder {source}: check the name; it is relative to {Path.cwd()}"
        )
    entries = sorted(entry.name for entry in source.iterdir() if not entry.name.startswith("."))
    classes = [name for name in entries if (source / name).is_dir()]
    loose = [n for n in entries if n not in classes and n.lower().endswith(ENDINGS)]
    if loose:
        raise ValueError(f"{source / loose[0]} lies in no class folder: {layout}")
    if not classes:
        raise FileNotFoundError(f"{source} holds no images: {layout}")
    for name in classes:
        if name in SPLITS and any(entry.is_dir() for entry in (source / name).iterdir()):
            raise ValueError(
                f"{source} holds splits, not classes: take one of them, as {source / name}"
            )
    return classes


def find_size(source: Path, names: Sequence[str], skip: bool) -> tuple[int, int]:
    """Return the one height and width of all images, in pixels, from their headers.

    Raises ValueError for images of two sizes and for one that cannot be read; with `skip` only if none can.
    """
    sizes: dict[tuple[int, int], str] = {}
    for name in names:
        try:
            sizes.setdefault(read_size(source / name), name)
        except MemoryError:
            raise
        except Exception as error:  # as in ImageFiles.read, which meets the file again
            if not skip:
                raise Unusable(name, _reason(error)) from None
        if len(sizes) > 1:
            (first, one), (second, other) = sizes.items()
            side = min(first + second)
            raise ValueError(
                f"images differ in size: {one} is {first[0]} x {first[1]}, {other} is {second[0]} x {second[1]} pixels."
                f" A dataset has one size: pass size={side}, say"
            )
    if not sizes:
        raise ValueError(f"none of the {len(names)} images in {source} can be read")
    width, height = next(iter(sizes))
    return height, width


def read_size(path: str | Path) -> tuple[int, int]:
    """Return width and height, in pixels, of an image as it is to be seen; only its header is read.

    Raises OSError or another error of the decoder for a file that is no image.
    """
    with Image.open(path) as image:
        width, height = image.size
        # For a PNG file without orientation before its pixels Pillow would decode them to look behind.
        known = image.format != "PNG" or {"exif", "Raw profile type exif"} & image.info.keys()
        sideways = known and image.getexif().get(ORIENTATION) in SIDEWAYS
        return (height, width) if sideways else (width, height)


def decode_image(content: bytes, size: int | None = None) -> np.ndarray:
    """Return an encoded image as a uint8 array (3, H, W), upright, in RGB; (3, size, size) with `size`.

    With `size` the shorter side is scaled to `size` pixels and the centre is cut out. Large JPEG files are decoded at
    a half, a quarter or an eighth where that leaves at least twice `size`. Grey, palette and CMYK images become RGB;
    of 16 bits the upper 8 are kept; transparency is dropped; of several frames the first is taken.
    Raises ValueError for floats, whose range is unknown, and what the decoder raises for a damaged file.
    """
    with Image.open(io.BytesIO(content)) as image:
        if size is not None:
            image.draft(None, (2 * size, 2 * size))
        ImageOps.exif_transpose(image, in_place=True)
        image = _rgb(image)
    if size is not None:
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = (left, top, left + side, top + side)
        image = image.resize((size, size), Image.Resampling.BILINEAR, box)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("its pixels are floats, whose range is unknown: save it as PNG or JPEG")
    if image.mode.startswith("I"):  # Pillow would cut 16 bits off at 255 instead of scaling them
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65_535:
            raise ValueError("its pixels have 32 bits: expected 8 or 16")
        image = Image.fromarray((values >> 8).astype(np.uint8))
    if "transparency" in image.info:
        image = image.convert("RGBA")  # without this step Pillow warns of each such image
    return image if image.mode == "RGB" else image.convert("RGB")


def _reason(error: Exception) -> str:
    """What a decoder says, without the address of the buffer that it names, or raw bytes of a file."""
    text = re.sub(r"<_io.BytesIO[^>]*>", "it", str(error)) or type(error).__name__
    return CONTROL.sub("?", text)
