"""The format of a dataset in shards: plain `.npy` files, and one `manifest.json` that says what has to be in them.

A shard is two files: images, uint8 (N, C, H, W), and labels, int64 (N,). NumPy alone can read them. The manifest is
written last, so a folder without one holds no dataset. It is checked whole when it is read: a manifest may come from
anywhere, and must not lead out of its folder.
"""

import hashlib
import json
import os
import re
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

VERSION = 1
MANIFEST = "manifest.json"
JOURNAL = "unfinished.json"  # a writer at work, or one that was stopped; see shard_writer
PARTIAL = ".partial"  # ends the name of a file that is being written
ELSEWHERE = re.compile(r'[/\\:*?"<>|\0]')  # what a plain file name never holds, on any system


@dataclass(frozen=True)
class Shard:
    """One shard: the names of its two files, its rows (samples), and the sha256 and bytes of each file."""

    images: str
    labels: str
    rows: int
    images_sha256: str
    labels_sha256: str
    images_bytes: int
    labels_bytes: int

    @property
    def files(self) -> tuple[tuple[str, str, int], tuple[str, str, int]]:
        """Name, sha256 and bytes of the images' file, then of the labels' file."""
        return (
            (self.images, self.images_sha256, self.images_bytes),
            (self.labels, self.labels_sha256, self.labels_bytes),
        )


@dataclass(frozen=True)
class Manifest:
    """What a dataset holds: the shape (C, H, W) and dtype of an image, the class names, and the shards in order."""

    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    shards: tuple[Shard, ...]
    dtype: str = "uint8"
    version: int = VERSION

    @property
    def samples(self) -> int:
        """The samples in all shards together."""
        return sum(shard.rows for shard in self.shards)

    @property
    def bytes(self) -> int:
        """The bytes of all shards' files together."""
        return sum(shard.images_bytes + shard.labels_bytes for shard in self.shards)


def read_manifest(folder: str | Path) -> Manifest:
    """Return the manifest of a folder, after checking all that can be checked without opening a shard.

    Raises FileNotFoundError for a folder that is missing or holds no dataset, and ValueError for an unfinished dataset
    and for a manifest that is damaged, of a newer version, or names files outside its folder.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    if not folder.is_dir():
        raise FileNotFoundError(
            f"there is no folder {folder}: check the name; it is relative to {Path.cwd()}"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        _refuse_without_manifest(folder)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is cut short or damaged ({error}): restore it from a copy, or write the dataset again"
        ) from None
    return _parse(content, folder)


def write_manifest(folder: str | Path, manifest: Manifest) -> None:
    """Write the manifest of a folder at once or not at all: from then on the folder holds this dataset.

    Raises ValueError for whatever `read_manifest` would refuse, and OSError where the disk refuses.
    """
    content = json.loads(json.dumps({"version": manifest.version, **asdict(manifest)}))
    _parse(content, Path(folder))
    write_json(Path(folder) / MANIFEST, content)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file so that a crash leaves the old file or the new one, on the disk when this returns."""
    partial = path.with_name(path.name + PARTIAL)
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(json.dumps(content, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())  # on the disk before the name points to it
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system can do so for a folder."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file as 64 hexadecimal digits, without holding or mapping the file."""
    digest, buffer = (
        hashlib.sha256(),
        bytearray(1 << 20),
    )  # read and hashed without the interpreter's lock
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(view[:count])
    return digest.hexdigest()


def _refuse_without_manifest(folder: Path) -> None:
    if not (folder / JOURNAL).exists():
        raise FileNotFoundError(
            f"{folder} holds no dataset: expected {MANIFEST} in it, as ShardWriter or `python -m dlhelpers pack` write"
        )
    try:
        done = len(json.loads((folder / JOURNAL).read_text(encoding="utf-8"))["shards"])
    except (OSError, ValueError, TypeError, KeyError):
        done = 0
    raise ValueError(
        f"{folder} holds an unfinished dataset: {done} {'shard is' if done == 1 else 'shards are'} done, and"
        f" {MANIFEST} is not written. Run the same command again to finish it"
    )


def _parse(content: Any, folder: Path) -> Manifest:
    """The checked Manifest of what a manifest file held; ValueError names the entry, what it is and what it must be."""
    where = f"{folder / MANIFEST}: "
    _need(isinstance(content, dict), where, "the file", content, "a JSON object")
    version = content.get("version")
    _need(_whole(version, 1), where, "version", version, f"a whole number from 1 to {VERSION}")
    if version > VERSION:
        raise ValueError(
            f"{where}version is {version}, and this dlhelpers reads up to {VERSION}: update dlhelpers"
        )
    _need_keys(content, set(Manifest.__dataclass_fields__), where)
    shape, dtype, classes, shards = (
        content[key] for key in ("shape", "dtype", "classes", "shards")
    )
    right = isinstance(shape, list) and len(shape) == 3 and all(_whole(size, 1) for size in shape)
    _need(right, where, "shape", shape, "[channels, height, width], each at least 1")
    _need(dtype == "uint8", where, "dtype", dtype, "'uint8'")
    right = isinstance(classes, list) and classes and all(isinstance(name, str) for name in classes)
    _need(
        right and len(set(classes)) == len(classes),
        where,
        "classes",
        classes,
        "a list of names, each once",
    )
    _need(
        isinstance(shards, list) and shards, where, "shards", shards, "a list of at least one shard"
    )
    found = tuple(
        _parse_shard(entry, f"{where}shard {number}: ", folder)
        for number, entry in enumerate(shards)
    )
    name, times = Counter(name for shard in found for name, _, _ in shard.files).most_common(1)[0]
    _need(times == 1, where, "a file name", name, f"in one place only, not in {times}")
    return Manifest(tuple(shape), tuple(classes), found, dtype, version)


def _parse_shard(entry: Any, where: str, folder: Path) -> Shard:
    _need(isinstance(entry, dict), where, "the entry", entry, "a JSON object")
    _need_keys(entry, set(Shard.__dataclass_fields__), where)
    shard = Shard(**{key: entry[key] for key in Shard.__dataclass_fields__})
    _need(_whole(shard.rows, 1), where, "rows", shard.rows, "a whole number of samples, at least 1")
    for part, (name, digest, size) in zip(("images", "labels"), shard.files, strict=True):
        plain = isinstance(name, str) and name.endswith(".npy") and not ELSEWHERE.search(name)
        _need(plain, where, part, name, "the plain name of an .npy file in the same folder")
        path, home = folder / name, os.path.realpath(folder)
        inside = not path.is_symlink() or os.path.dirname(os.path.realpath(path)) == home
        _need(
            inside, where, part, name, "a file in the same folder, not a link that leads out of it"
        )
        right = isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest)
        _need(right, where, f"{part}_sha256", digest, "64 hexadecimal digits")
        _need(_whole(size, 1), where, f"{part}_bytes", size, "a whole number of bytes, at least 1")
    return shard


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _need(right: Any, where: str, what: str, value: Any, expected: str) -> None:
    if not right:
        text = repr(value) if len(repr(value)) <= 80 else f"{repr(value)[:80]}..."
        raise ValueError(
            f"{where}{what} is {text}: expected {expected}. Restore the manifest, or write it again"
        )


def _need_keys(content: dict[str, Any], keys: set[str], where: str) -> None:
    if missing := sorted(keys - content.keys()):
        raise ValueError(
            f"{where}{', '.join(missing)} missing: restore the manifest, or write the dataset again"
        )
