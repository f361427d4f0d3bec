"""Image files in class folders, each file, whatever its kind, as upright RGB pixels of one size."""

import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from dlhelpers.packed.decoding import Bad, unusable

SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height
ORIENTATION = 0x0112  # the EXIF tag
ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp")
SPLITS = ("train", "training", "test", "testing", "val", "valid", "validation")


@dataclass(frozen=True)
class Found:
    """The image files of a folder: names are below the folder, a stamp is (bytes, time of the last change)."""

    classes: tuple[str, ...]
    names: list[str]
    labels: list[int]
    stamps: list[tuple[int, int]]
    others: list[str]  # files that do not end as an image does


def find_images(source: Path) -> Found:
    """Return the images of SOURCE/CLASS, at any depth, ordered by class and name; hidden files do not count.

    Raises FileNotFoundError for a folder that is missing or holds no images, ValueError for a class without images,
    for images outside a class folder, and for a folder of splits.
    """
    found = Found(_find_classes(source), [], [], [], [])
    for label, name in enumerate(found.classes):
        before, top = len(found.names), (source / name).resolve()
        walked = {top, *top.parents}
        for folder, folders, files in os.walk(source / name, followlinks=True):
            visible = sorted(inner for inner in folders if not inner.startswith("."))
            folders[:] = [inner for inner in visible if _is_new(Path(folder, inner), walked)]
            for path in sorted(Path(folder) / file for file in files if not file.startswith(".")):
                below = path.relative_to(source).as_posix()
                if not path.name.lower().endswith(ENDINGS):
                    found.others.append(below)
                    continue
                try:
                    status = path.stat()
                except OSError:  # a link that leads nowhere, say: who reads it says so
                    status = path.lstat()
                found.names.append(below)
                found.labels.append(label)
                found.stamps.append((status.st_size, status.st_mtime_ns))
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


def _find_classes(source: Path) -> tuple[str, ...]:
    layout = f"expected {source}/CLASS/*.jpg (or .png), one folder a class"
    if not source.is_dir():
        raise FileNotFoundError(
            f"there is no folder {source}: check the name; it is relative to {Path.cwd()}"
        )
    entries = sorted(entry.name for entry in source.iterdir() if not entry.name.startswith("."))
    classes = tuple(name for name in entries if (source / name).is_dir())
    if loose := [
        name for name in entries if name not in classes and name.lower().endswith(ENDINGS)
    ]:
        raise ValueError(f"{source / loose[0]} lies in no class folder: {layout}")
    if not classes:
        raise FileNotFoundError(f"{source} holds no images: {layout}")
    for name in classes:
        if name in SPLITS and any(entry.is_dir() for entry in (source / name).iterdir()):
            raise ValueError(
                f"{source} holds splits, not classes: pack one of them, as {source / name}"
            )
    return classes


def read_size(path: str | Path) -> tuple[int, int]:
    """Return width and height, in pixels, of an image as it is to be seen; only its header is read.

    Raises OSError or another error of the decoder for a file that is no image.
    """
    with Image.open(path) as image:
        width, height = image.size
        # For a PNG file without orientation before its pixels Pillow would decode them to look behind.
        unknown = (
            image.format == "PNG" and not {"exif", "Raw profile type exif"} & image.info.keys()
        )
        sideways = not unknown and image.getexif().get(ORIENTATION) in SIDEWAYS
        return (height, width) if sideways else (width, height)


def read_image(content: bytes, size: int | None = None) -> np.ndarray:
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
        image = image.resize(
            (size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side)
        )
    return np.asarray(image).transpose(2, 0, 1)


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
                raise ValueError(unusable(Bad(0, name, _reason(error), True))) from None
        if len(sizes) > 1:
            (first, one), (second, other) = sizes.items()
            side = min(first + second)
            raise ValueError(
                f"images differ in size: {one} is {first[0]} x {first[1]}, {other} is {second[0]} x {second[1]} pixels."
                f" A dataset has one size: pass size={side}, say (--size {side})"
            )
    if not sizes:
        raise ValueError(f"none of the {len(names)} images in {source} can be read")
    return next(iter(sizes))[::-1]


class ImageFiles:
    """Image files below `root` and their labels, in the order given; see `read_image` for `size`."""

    def __init__(
        self,
        root: Path,
        names: Sequence[str],
        labels: np.ndarray,
        shape: tuple[int, int, int],
        size: int | None,
    ):
        self.root, self.names, self.labels, self.shape, self.size = root, names, labels, shape, size

    def __len__(self) -> int:
        return len(self.names)

    def read(self, positions: Sequence[int], pixels: np.ndarray) -> tuple[np.ndarray, list[Bad]]:
        """Decode the images; what the system cannot read is bad as well, and only to be skipped as a dangling link."""
        used, bad = [], []
        for position in positions:
            path, was_read = self.root / self.names[position], False
            try:
                content = path.read_bytes()
                was_read = True
                image = read_image(content, self.size)
                if image.shape != self.shape:
                    height, width = image.shape[1:]
                    raise ValueError(
                        f"it is {width} x {height} pixels, unlike its header or the others: pass size="
                    )
                pixels[len(used)] = image
                used.append(position)
            except MemoryError:
                raise
            except Exception as error:  # damaged files raise whatever the decoder trips over
                dangling = isinstance(error, FileNotFoundError) and path.is_symlink()
                bad.append(
                    Bad(position, self.names[position], _reason(error), was_read or dangling)
                )
        return self.labels[used], bad


def _reason(error: Exception) -> str:
    """What a decoder says, without the address of the buffer that it names."""
    return re.sub(r"<_io.BytesIO[^>]*>", "it", str(error)) or type(error).__name__
