"""Fetch the datasets of a workshop beforehand, into one folder that can be copied to a USB stick.

    python -m dlhelpers prefetch cifar10 fashion_mnist --folder data

torchvision's own download starts anew after each break. This one goes on where it stopped, because the network of a
workshop breaks; addresses and checksums are torchvision's, and it unpacks the files.
"""

import hashlib
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from torchvision.datasets import CIFAR10, FashionMNIST

from dlhelpers.base.sizes import human_bytes
from dlhelpers.data.datasets import load

CHUNK = 1 << 20  # bytes read at a time
UNPACKED = 4  # times its packed size that a dataset may take beside its archive
WITHOUT_FILES = ("digits", "shapes")
WITH_FILES = {"cifar10": CIFAR10, "fashion_mnist": FashionMNIST}


@dataclass(frozen=True)
class Source:
    """One file to fetch: from where, to where, and its MD5 sum as torchvision gives it."""

    url: str
    path: Path
    md5: str


def prefetch(names: Iterable[str], folder: str | Path) -> list[str]:
    """Fetch, check and unpack the named datasets into `folder`; return a line for each, and one on how to use them.

    Raises ValueError for an unknown name or a wrong checksum, ConnectionError where the network fails (what has come
    is kept, and the next call goes on from there), OSError where the disk is too small.
    """
    names, folder = [names] if isinstance(names, str) else list(names), Path(folder)
    there = (*WITHOUT_FILES, *WITH_FILES)
    for name in names:
        if name not in there:
            raise ValueError(f"cannot fetch {name!r}: expected some of {', '.join(there)}")
    lines = [f"{name}: {_one(name, folder)}" for name in names]
    use = "Copy the folder anywhere, and let this variable point to it"
    return [*lines, f"{use}: DLHELPERS_DATA={folder.resolve()}"]


def _one(name: str, folder: Path) -> str:
    """Bring one dataset into the folder; say what was done."""
    if name in WITHOUT_FILES:
        return "comes with the course, nothing to fetch"
    try:
        return f"is there, {len(load(name, root=folder))} training images"
    except (FileNotFoundError, RuntimeError):
        pass
    sources = _sources(name, folder)
    for source in sources:
        fetch(source)
    WITH_FILES[name](folder, download=True)  # finds the archives, checks their sums, unpacks them
    for source in sources:
        source.path.unlink()
    return f"fetched and checked, {len(load(name, root=folder))} training images"


def _sources(name: str, folder: Path) -> list[Source]:
    if name == "cifar10":
        return [Source(CIFAR10.url, folder / CIFAR10.filename, CIFAR10.tgz_md5)]
    raw, site = folder / "FashionMNIST" / "raw", FashionMNIST.mirrors[0]
    return [Source(site + file, raw / file, md5) for file, md5 in FashionMNIST.resources]


def fetch(source: Source) -> None:
    """Bring one file to its path, going on with what an earlier call left in PATH.part; raises as `prefetch` does."""
    if source.path.is_file() and _md5(source.path) == source.md5:
        return
    part = source.path.with_name(source.path.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        _continue(source.url, part)
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        kept = human_bytes(part.stat().st_size) if part.exists() else "nothing"
        raise ConnectionError(
            f"{source.path.name} broke off ({error}); {kept} of it came and is kept in {part.parent}."
            " Run the same command again to go on"
        ) from error
    if (found := _md5(part)) != source.md5:
        part.unlink()
        raise ValueError(
            f"{source.path.name} from {source.url} has the MD5 sum {found}, expected {source.md5}: it was thrown away."
            " Run the same command again; if this repeats, a proxy answers in the server's place"
        )
    part.replace(source.path)


def _continue(url: str, part: Path) -> None:
    """Append to `part` what is still missing of the file at `url`."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is missing
            return
        raise
    with answer:
        goes_on = answer.status == 206  # a server that knows no ranges sends the whole file again
        length = int(answer.headers.get("Content-Length") or 0)
        free, needed = shutil.disk_usage(part.parent).free, UNPACKED * length
        if free < needed:
            raise OSError(
                f"{part.parent} has {human_bytes(free)} free and {human_bytes(needed)} are needed: choose another disk"
            )
        with part.open("ab" if goes_on else "wb") as file:
            shutil.copyfileobj(answer, file, CHUNK)
        if part.stat().st_size < length + (have if goes_on else 0):
            raise ConnectionError("the connection ended before the file did")


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
