"""How fast does a shuffled epoch come out of shards, and out of the formats that others use for the same images?

    python benchmarks/shards.py --passes 3         needs the extra `bench`: pip install -e ".[bench]"

Every reader holds the same images and labels on the same disk, warm in the page cache. The readers take turns, pass by
pass, in one process, one thread, no workers: the table gives the median and the range of images a second.
Shuffled means: in random order where the format can, and by a shuffle buffer where it cannot (webdataset).
"""

import argparse
import gc
import io
import json
import os
import statistics
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from time import perf_counter

import datasets as arrow
import h5py
import numpy as np
import torch
import webdataset
from datasets.arrow_writer import ArrowWriter
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from dlhelpers.devices import describe_machine
from dlhelpers.shards import BlockShuffleSampler, ShardDataset, ShardWriter

CASES = ((50_000, 32, 256), (6_000, 224, 64))  # images, side in pixels, batch size
Reader = Callable[[int], Iterable]  # the number of the pass -> batches


class Rows(Dataset):
    """Images and labels of any store that has rows, one at a time."""

    def __init__(self, images: object, labels: object):
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(self.images[index]), int(self.labels[index])


class Files(Dataset):
    """A PNG file for each image."""

    def __init__(self, folder: Path, labels: np.ndarray):
        self.folder, self.labels = folder, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        with Image.open(self.folder / f"{index}.png") as image:
            return torch.from_numpy(np.array(image)).permute(2, 0, 1), int(self.labels[index])


def shuffled(dataset: Dataset, size: int, **options: object) -> Reader:
    """Return a reader that draws a new order for each pass."""
    return lambda number: DataLoader(
        dataset, size, shuffle=True, generator=torch.Generator().manual_seed(number), **options
    )


def gather(stored: np.ndarray, labels: np.ndarray, size: int) -> Reader:
    """The bound: the plainest gather from one memory map, with no DataLoader around it."""

    def batches(number: int) -> Iterable:
        order = np.random.default_rng(number).permutation(len(labels))
        for start in range(0, len(order), size):
            rows = np.sort(order[start : start + size])
            yield torch.from_numpy(stored[rows]), torch.from_numpy(labels[rows])

    return batches


def write_all(folder: Path, count: int, side: int, size: int) -> dict[str, Reader]:
    """Write the same images in each format, and return the readers by name."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, 3, side, side), dtype=np.uint8)
    labels = random.integers(0, 10, count)
    np.save(folder / "all.npy", images)
    with ShardWriter(folder / "shards", classes=list("0123456789"), shape=images.shape[1:], samples=count) as writer:
        for start in range(0, count, 1000):
            writer.add(images[start : start + 1000], labels[start : start + 1000])
    with h5py.File(folder / "all.h5", "w") as file:
        file["images"], file["labels"] = images, labels
    (folder / "files").mkdir()
    with tarfile.open(folder / "all.tar", "w") as tar:
        for k, image in enumerate(images):
            Image.fromarray(image.transpose(1, 2, 0)).save(folder / "files" / f"{k}.png", compress_level=1)
            buffer = io.BytesIO()
            np.save(buffer, image)
            for name, data in ((f"{k:08}.npy", buffer.getvalue()), (f"{k:08}.cls", str(labels[k]).encode())):
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    return readers(folder, images, labels, size)


def readers(folder: Path, images: np.ndarray, labels: np.ndarray, size: int) -> dict[str, Reader]:
    """Return each format's reader."""
    count, side = len(labels), images.shape[-1]
    features = arrow.Features({"image": arrow.Value("binary"), "label": arrow.Value("int64")})
    with ArrowWriter(path=str(folder / "all.arrow"), features=features) as writer:
        for image, label in zip(images, labels, strict=True):
            writer.write({"image": image.tobytes(), "label": int(label)})
        writer.finalize()
    table = arrow.Dataset.from_file(str(folder / "all.arrow"))

    def stack(rows: list[dict]) -> tuple[torch.Tensor, torch.Tensor]:
        flat = np.frombuffer(bytearray().join(row["image"] for row in rows), np.uint8)
        return torch.from_numpy(flat.reshape(-1, 3, side, side)), torch.tensor([row["label"] for row in rows])

    shards, file = ShardDataset(folder / "shards"), h5py.File(folder / "all.h5")
    tar = (
        webdataset.WebDataset(str(folder / "all.tar"), shardshuffle=False).shuffle(1000).decode().to_tuple("npy", "cls")
    )

    def blocks(number: int) -> DataLoader:
        sampler = BlockShuffleSampler(count, seed=0)
        sampler.set_epoch(number)
        return DataLoader(shards, size, sampler=sampler)

    return {
        "plain gather, no DataLoader": gather(np.load(folder / "all.npy", mmap_mode="r"), labels, size),
        "shards, shuffle=True": shuffled(shards, size),
        "shards, BlockShuffleSampler": blocks,
        "Arrow (Hugging Face datasets)": shuffled(table, size, collate_fn=stack),
        "h5py, item by item": shuffled(Rows(file["images"], labels), size),
        "webdataset (npy in tar)": lambda number: DataLoader(tar, size),
        "a PNG file for each image": shuffled(Files(folder / "files", labels), size),
    }


def images_a_second(batches: Iterable, count: int) -> float:
    """Return the speed of one epoch; SystemExit unless each image came once."""
    gc.collect()
    begin, seen = perf_counter(), 0
    for images, _ in batches:
        seen += len(images)
    if seen != count:
        raise SystemExit(f"{seen} images came instead of {count}: nothing can be compared")
    return count / (perf_counter() - begin)


def main() -> None:
    """Print a table for each size of image, and write all figures to build/shards.json."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--passes", type=int, default=3, help="timed epochs of each reader, after one to warm up")
    asked = options.parse_args()
    torch.set_num_threads(1)
    arrow.disable_progress_bars()
    print(describe_machine(), f"\nload before the start {os.getloadavg()[0]:.2f}, {asked.passes} passes, warm cache")
    results = {}
    for count, side, size in CASES:
        with tempfile.TemporaryDirectory() as folder:
            several = write_all(Path(folder), count, side, size)
            found = {name: [] for name in several}
            for number in range(asked.passes + 1):
                for name, reader in several.items():
                    speed = images_a_second(reader(number), count)
                    found[name] += [speed] if number else []
            several.clear()
        results[f"{side} x {side}"] = found
        bound = statistics.median(found["plain gather, no DataLoader"])
        peer = max(statistics.median(speeds) for name, speeds in list(found.items())[3:])
        print(f"\n{count} images {side} x {side}, batches of {size}: thousand images a second")
        print(f"{'':32}{'median':>9}{'lowest':>9}{'highest':>9}{'/ gather':>10}{'/ best peer':>13}")
        for name, speeds in found.items():
            middle = statistics.median(speeds)
            row = "".join(f"{value / 1000:9.1f}" for value in (middle, min(speeds), max(speeds)))
            print(f"{name:32}{row}{middle / bound:10.2f}{middle / peer:13.2f}", flush=True)
    Path("build").mkdir(exist_ok=True)
    Path("build/shards.json").write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
