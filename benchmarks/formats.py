"""The same images in our packed format and in the formats of others, for the benchmark of shuffled epochs.

Each function writes all images and labels into a folder, and returns what makes the batches of a pass. Each format is
read as its documentation shows, with no more of our own than it takes. Nothing is imported before it is asked for.
"""

import io
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from dlhelpers.data import BlockShuffleSampler
from dlhelpers.packed import PackedDataset, PackedWriter

Reader = Callable[[int], Iterable]  # the number of the pass -> batches


class Rows(Dataset):
    """Images and labels of any store that has rows, one at a time."""

    def __init__(self, images: object, labels: object):
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(self.images[index]), int(self.labels[index])


class Whole(Dataset):
    """Images and labels of one memory map, a batch at a time and nothing else."""

    def __init__(self, images: np.ndarray, labels: np.ndarray):
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        rows = np.asarray(indices)
        return torch.from_numpy(self.images[rows]), torch.from_numpy(self.labels[rows])


class Files(Dataset):
    """A PNG file for each image."""

    def __init__(self, folder: Path, labels: np.ndarray):
        self.folder, self.labels = folder, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        with Image.open(self.folder / f"{index}.png") as image:
            return torch.from_numpy(np.array(image)).permute(2, 0, 1), int(self.labels[index])


def shuffled(dataset: Dataset, size: int, **settings: object) -> Reader:
    """Return a reader that draws a new order for each pass."""
    return lambda number: DataLoader(
        dataset, size, shuffle=True, generator=torch.Generator().manual_seed(number), **settings
    )


def by_gather(
    folder: Path, images: np.ndarray, labels: np.ndarray, size: int
) -> tuple[Reader, Reader]:
    """Two bounds: the plainest gather from one memory map, and what a DataLoader lets through of it."""
    np.save(folder / "all.npy", images)
    stored = np.asarray(np.load(folder / "all.npy", mmap_mode="r"))

    def batches(number: int) -> Iterable:
        order = np.random.default_rng(number).permutation(len(labels))
        for start in range(0, len(order), size):
            rows = np.sort(order[start : start + size])
            yield torch.from_numpy(stored[rows]), torch.from_numpy(labels[rows])

    return batches, shuffled(Whole(stored, labels), size, collate_fn=lambda batch: batch)


def by_packed(
    folder: Path, images: np.ndarray, labels: np.ndarray, size: int
) -> tuple[Reader, Reader]:
    """Ours, in any order and by blocks."""
    with PackedWriter(
        folder / "packed", classes=[*"0123456789"], shape=images.shape[1:], samples=len(labels)
    ) as writer:
        for start in range(0, len(labels), 1000):
            writer.add(images[start : start + 1000], labels[start : start + 1000])
    packed = PackedDataset(folder / "packed")

    def blocks(number: int) -> DataLoader:
        sampler = BlockShuffleSampler(len(labels), seed=0, batch_size=size)
        sampler.set_epoch(number)
        return DataLoader(packed, batch_sampler=sampler)

    return shuffled(packed, size), blocks


def by_files(folder: Path, images: np.ndarray, labels: np.ndarray, size: int) -> Reader:
    """What most courses do."""
    (folder / "files").mkdir()
    for k, image in enumerate(images):
        Image.fromarray(image.transpose(1, 2, 0)).save(
            folder / "files" / f"{k}.png", compress_level=1
        )
    return shuffled(Files(folder / "files", labels), size)


def by_arrow(folder: Path, images: np.ndarray, labels: np.ndarray, size: int) -> Reader:
    """Hugging Face datasets: a table of bytes, its fastest form for this."""
    import datasets
    from datasets.arrow_writer import ArrowWriter

    features = datasets.Features(
        {"image": datasets.Value("binary"), "label": datasets.Value("int64")}
    )
    with ArrowWriter(path=str(folder / "all.arrow"), features=features) as writer:
        for image, label in zip(images, labels, strict=True):
            writer.write({"image": image.tobytes(), "label": int(label)})
        writer.finalize()

    def stack(rows: list[dict]) -> tuple[torch.Tensor, torch.Tensor]:
        flat = np.frombuffer(bytearray().join(row["image"] for row in rows), np.uint8)
        return torch.from_numpy(flat.reshape(-1, *images.shape[1:])), torch.tensor(
            [row["label"] for row in rows]
        )

    return shuffled(datasets.Dataset.from_file(str(folder / "all.arrow")), size, collate_fn=stack)


def by_h5py(folder: Path, images: np.ndarray, labels: np.ndarray, size: int) -> Reader:
    """HDF5, item by item, as a DataLoader asks for them."""
    import h5py

    with h5py.File(folder / "all.h5", "w") as file:
        file["images"], file["labels"] = images, labels
    return shuffled(Rows(h5py.File(folder / "all.h5")["images"], labels), size)


def by_webdataset(folder: Path, images: np.ndarray, labels: np.ndarray, size: int) -> Reader:
    """Arrays in a tar file, through a buffer of a thousand."""
    import webdataset

    with tarfile.open(folder / "all.tar", "w") as tar:
        for k, image in enumerate(images):
            buffer = io.BytesIO()
            np.save(buffer, image)
            for name, data in (
                (f"{k:08}.npy", buffer.getvalue()),
                (f"{k:08}.cls", str(labels[k]).encode()),
            ):
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    stream = (
        webdataset.WebDataset(str(folder / "all.tar"), shardshuffle=False).shuffle(1000).decode()
    )
    return lambda number: DataLoader(stream.to_tuple("npy", "cls"), size)


def by_litdata(folder: Path, images: np.ndarray, labels: np.ndarray, size: int) -> Reader:
    """Tensors in chunks of 64 MB, as its documentation advises, with its own loader."""
    from litdata import StreamingDataLoader, StreamingDataset
    from litdata.streaming.writer import BinaryWriter

    (folder / "chunks").mkdir()
    writer = BinaryWriter(str(folder / "chunks"), chunk_bytes="64MB")
    for k, (image, label) in enumerate(zip(images, labels, strict=True)):
        writer[k] = torch.from_numpy(image), int(label)
    writer.done()
    writer.merge()
    stream = StreamingDataset(str(folder / "chunks"), shuffle=True)
    return lambda number: StreamingDataLoader(stream, batch_size=size)


PEERS = {"datasets": by_arrow, "h5py": by_h5py, "webdataset": by_webdataset, "litdata": by_litdata}
