"""The format of a packed dataset: two `.npy` files, and a `manifest.json` that says what has to be in them.

`images.npy` is uint8 (N, C, H, W), `labels.npy` int64 (N,); NumPy alone can read them. The manifest holds a sha256 of
each block of rows and one of itself. It is written last, so a folder without one holds no dataset. It names no files:
a manifest may come from anywhere, and cannot lead out of its folder.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dlhelpers.base.checks import check_whole, shown
from dlhelpers.data.folders import CONTROL

VERSION = 3
IMAGES, LABELS, MANIFEST = "images.npy", "labels.npy", "manifest.json"
JOURNAL = "unfinished.jsonl"  # a writer at work, or one that was stopped; see writer.py
HEADER = 128  # bytes before the first row, whatever the number of rows


class Block(NamedTuple):
    """A stretch of rows that was written at once, and the sha256 of its images and of its labels."""

    rows: int
    images: str
    labels: str


class Layout(NamedTuple):
    """One of the two files: its header, then rows of `row` bytes each; `bytes` long in all."""

    name: str
    header: bytes
    row: int
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """What a dataset holds: the shape (C, H, W) of an image, class names, and blocks of rows."""

    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    blocks: tuple[Block, ...]

    @property
    def rows(self) -> int:
        """The samples of all blocks together."""
        return sum(block.rows for block in self.blocks)

    @property
    def layouts(self) -> tuple[Layout, Layout]:
        """The files of images and of labels."""
        row, rows = math.prod(self.shape), self.rows
        images, labels = _header("|u1", (rows, *self.shape)), _header("<i8", (rows,))
        return (
            Layout(IMAGES, images, row, HEADER + rows * row),
            Layout(LABELS, labels, 8, HEADER + rows * 8),
        )

    @property
    def bytes(self) -> int:
        """The bytes of both files together."""
        return sum(layout.bytes for layout in self.layouts)

    def encode(self) -> bytes:
        """The content of the manifest's file, with a sha256 of the rest first."""
        content = {"version": VERSION, **asdict(self)}
        sha256 = hashlib.sha256(json.dumps(content).encode()).hexdigest()
        return f"{json.dumps({'sha256': sha256, **content}, indent=1)}\n".encode()


def _header(dtype, shape):
    """The first bytes of a `.npy` file, padded so that a longer shape takes no more of them."""
    fields = {"descr": dtype, "fortran_order": False, "shape": shape}
    text = str(fields).ljust(HEADER - 11) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def check_classes(classes: Iterable[Any] | None) -> tuple[str, ...]:
    """Return class names as a tuple; ValueError unless they are texts that can be printed, each once."""
    names = [] if classes is None or isinstance(classes, str) else [str(name) for name in classes]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"classes is {shown(classes)}: expected a list of names, each once")
    for name in names:
        if CONTROL.search(name):
            raise ValueError(f"the class name {name!a} holds a control character: rename it")
    return tuple(names)


def check_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """Return the shape of an image as three ints; ValueError unless it is (channels, height, width)."""
    if len(shape) != 3:
        raise ValueError(f"shape is {shown(shape)}: expected (channels, height, width)")
    return tuple(check_whole("a side of shape", side, 1) for side in shape)


def read_manifest(folder: str | Path) -> Manifest:
    """Return the manifest of a folder.

    Raises FileNotFoundError for a folder that is missing or holds no dataset, and ValueError for an unfinished dataset
    and for a manifest that is damaged or of another version.
    """
    path = Path(folder) / MANIFEST
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        if (path.parent / JOURNAL).exists():
            raise ValueError(
                f"{folder} holds an unfinished dataset: {MANIFEST} is not written. Run the same command again"
                " to finish it"
            ) from None
        raise FileNotFoundError(
            f"{folder} holds no dataset: there is no {path.absolute()}, which PackedWriter and"
            " `python -m dlhelpers pack` write"
        ) from None
    try:
        found = json.loads(content)
        version = found["version"]
        if version == VERSION:
            manifest = Manifest(
                check_shape(found["shape"]),
                check_classes(found["classes"]),
                tuple(Block(*block) for block in found["blocks"]),
            )
            for block in manifest.blocks:
                check_whole("rows", block.rows, 1)
            if not manifest.blocks or manifest.encode() != content:
                raise ValueError("its sha256 is another")
            return manifest
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{path} is cut short or damaged ({CONTROL.sub('?', str(error))}): restore it from a copy, or write"
            " the dataset again"
        ) from None
    raise ValueError(
        f"{path} has version {version!a}, and this dlhelpers reads {VERSION}: update dlhelpers, or pack it again"
    )


def find_outer_faults(folder: Path, manifest: Manifest) -> dict[str, str]:
    """Return a sentence for each file that cannot be read, or whose length or header is not as it was written."""
    faults = {}
    for name, header, _, length in manifest.layouts:
        try:
            with (folder / name).open("rb") as file:
                found, size = file.read(HEADER), file.seek(0, os.SEEK_END)
        except OSError as error:
            faults[name] = f"{name} cannot be read ({error.strerror})"
            continue
        if size != length:
            faults[name] = f"{name} holds {size:,} bytes: expected {length:,}"
        elif found != header:
            faults[name] = f"{name} has another header than was written"
    return faults
