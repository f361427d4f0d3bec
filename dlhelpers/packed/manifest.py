"""The format of a packed dataset: two `.npy` files, and a `manifest.json` that says what has to be in them.

`images.npy` is uint8 (N, C, H, W), `labels.npy` int64 (N,); NumPy alone can read them. The manifest holds a sha256 of
each block of rows and one of itself. It is written last, so a folder without one holds no dataset. It names no files:
a manifest may come from anywhere, and cannot lead out of its folder.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dlhelpers.base.checks import check_whole, shown
from dlhelpers.data.folders import CONTROL

VERSION = 2
IMAGES, LABELS, MANIFEST = FILES = ("images.npy", "labels.npy", "manifest.json")
JOURNAL = "unfinished.jsonl"  # a writer at work, or one that was stopped; see writer.py
HEADER = 128  # bytes before the first row, whatever the number of rows
CHUNK = 2**18  # bytes hashed at a time: they stay in the processor's cache


class Block(NamedTuple):
    """A stretch of rows that was written at once, and the sha256 of its images and of its labels."""

    rows: int
    images: str
    labels: str


class Layout(NamedTuple):
    """One of the two files: its header, then rows of `row` bytes each."""

    name: str
    row: int
    dtype: str
    shape: tuple[int, ...]

    @property
    def header(self) -> bytes:
        """The file's first bytes, padded so that a longer shape takes no more of them."""
        entries = {"descr": self.dtype, "fortran_order": False, "shape": self.shape}
        text = f"{entries}".ljust(HEADER - 11) + "\n"
        return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()

    @property
    def bytes(self) -> int:
        """The length of the whole file."""
        return HEADER + self.shape[0] * self.row


@dataclass(frozen=True)
class Manifest:
    """What a dataset holds: the shape (C, H, W) of an image, class names, blocks of rows, and what was left out."""

    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    blocks: tuple[Block, ...]
    skipped: tuple[tuple[str, str], ...] = ()

    @property
    def rows(self) -> int:
        """The samples of all blocks together."""
        return sum(block.rows for block in self.blocks)

    @property
    def layouts(self) -> tuple[Layout, Layout]:
        """The files of images and of labels."""
        images = Layout(IMAGES, math.prod(self.shape), "|u1", (self.rows, *self.shape))
        return images, Layout(LABELS, 8, "<i8", (self.rows,))

    @property
    def bytes(self) -> int:
        """The bytes of both files together."""
        return sum(layout.bytes for layout in self.layouts)

    @property
    def sha256(self) -> str:
        """What tells this dataset from every other."""
        return hashlib.sha256(json.dumps(self._content()).encode()).hexdigest()

    def encode(self) -> bytes:
        """The content of the manifest's file, its own sha256 first."""
        return f"{json.dumps({'sha256': self.sha256, **self._content()}, indent=1)}\n".encode()

    def _content(self) -> dict[str, Any]:
        return {"version": VERSION, **asdict(self)}


def check_classes(classes: Any) -> tuple[str, ...]:
    """Return class names as a tuple; ValueError unless they are texts that can be printed, each once."""
    names = [] if isinstance(classes, str) or not hasattr(classes, "__iter__") else list(classes)
    if (
        not names
        or not all(isinstance(name, str) for name in names)
        or len(set(names)) < len(names)
    ):
        raise ValueError(f"classes is {shown(classes)}: expected a list of names, each once")
    for name in names:
        if CONTROL.search(name):
            raise ValueError(f"the class name {name!a} holds a control character: rename it")
    return tuple(map(str, names))


def check_shape(shape: Any) -> tuple[int, int, int]:
    """Return the shape of an image as three ints; ValueError unless it is (channels, height, width)."""
    if not isinstance(shape, Sequence | np.ndarray) or isinstance(shape, str) or len(shape) != 3:
        raise ValueError(f"shape is {shown(shape)}: expected (channels, height, width)")
    return tuple(check_whole("a side of shape", side, 1) for side in shape)


def read_manifest(folder: str | Path) -> Manifest:
    """Return the manifest of a folder.

    Raises FileNotFoundError for a folder that is missing or holds no dataset, and ValueError for an unfinished dataset
    and for a manifest that is damaged or of another version.
    """
    path = Path(folder) / MANIFEST
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"there is no folder {folder}: check the name; it is relative to {Path.cwd()}"
        )
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        if (path.parent / JOURNAL).exists():
            raise ValueError(
                f"{folder} holds an unfinished dataset: {MANIFEST} is not written. Run the same command again"
                " to finish it"
            ) from None
        raise FileNotFoundError(
            f"{folder} holds no dataset: expected {MANIFEST} in it, as PackedWriter or `python -m dlhelpers pack`"
            " write"
        ) from None
    try:
        found = json.loads(content)
        version = found["version"]
        if version == VERSION:
            manifest = Manifest(
                check_shape(found["shape"]),
                check_classes(found["classes"]),
                tuple(Block(*block) for block in found["blocks"]),
                tuple((name, reason) for name, reason in found["skipped"]),
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
    remedy = "pack it again" if version == 1 else "update dlhelpers"
    raise ValueError(
        f"{path} has version {version!a}, and this dlhelpers reads {VERSION}: {remedy}"
    )


def find_outer_faults(folder: Path, manifest: Manifest) -> dict[str, str]:
    """Return a sentence for each file that is missing, or whose length or header is not as it was written."""
    faults = {}
    for layout in manifest.layouts:
        try:
            with (folder / layout.name).open("rb") as file:
                found, header = (folder / layout.name).stat().st_size, file.read(HEADER)
        except FileNotFoundError:
            faults[layout.name] = f"{layout.name} is missing"
            continue
        except OSError as error:
            faults[layout.name] = f"{layout.name} cannot be read ({error.strerror})"
            continue
        if found != layout.bytes:
            faults[layout.name] = f"{layout.name} holds {found:,} bytes: expected {layout.bytes:,}"
        elif header != layout.header:
            faults[layout.name] = f"{layout.name} has another header than was written"
    return faults


def hash_stretch(path: Path, start: int, length: int) -> str:
    """Return the sha256 of `length` bytes of a file, or of what there is of them, without holding or mapping them."""
    digest, buffer = hashlib.sha256(), memoryview(bytearray(CHUNK))
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        # Read and hashed without the interpreter's lock, so that threads share the work.
        while length and (count := file.readinto(buffer[: min(length, CHUNK)])):
            digest.update(buffer[:count])
            length -= count
    return digest.hexdigest()
