"""What lesson 08 runs in a child process, under a cap on memory or until it is killed.

They stand in a module, so that tests and benchmarks run the very code that the lesson shows.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import psutil
import torch
from PIL import Image
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset, TensorDataset

from dlhelpers.data.drawn import SHAPES, draw_shapes
from dlhelpers.data.sampling import BlockShuffleSampler
from dlhelpers.measure.speed import loader_speed
from dlhelpers.packed.reader import PackedDataset
from dlhelpers.packed.writer import PackedWriter
from dlhelpers.train.loop import fit


def usual_example() -> int:
    """Take an epoch over 100,000 images as a widespread example does; raises what the allocator raises."""
    images = torch.randn(100_000, 3, 224, 224)
    dataset = TensorDataset(images, torch.zeros(100_000))
    loader = DataLoader(dataset, batch_size=64, num_workers=4)
    return sum(len(labels) for images, labels in loader)


def sum_images(path: Path, mmap_mode: str | None) -> int:
    """Add up all bytes of an array in an .npy file, 256 images at a time; mmap_mode is that of np.load."""
    images = np.load(path, mmap_mode=mmap_mode)
    return sum(int(images[k : k + 256].sum()) for k in range(0, len(images), 256))


def write_files(folder: Path, count: int, die_at: int | None = None) -> None:
    """Write `count` images as FOLDER/CLASS/NUMBER.jpg; at image `die_at` this process is killed."""
    for k in range(count):
        if k == die_at:
            psutil.Process().kill()
        images, labels = draw_shapes(k, k + 1, size=64)
        place = Path(folder, SHAPES[labels[0]])
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[0].transpose(1, 2, 0)).save(place / f"{k}.jpg", quality=95)


def write_map(path: Path, count: int, die_at: int | None = None) -> None:
    """Write `count` images as one .npy file, 50 at a time; at image `die_at`, a multiple of 50, it is killed."""
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (count, 3, 64, 64))
    for k in range(0, count, 50):
        if k == die_at:
            psutil.Process().kill()
        images[k : k + 50], labels = draw_shapes(k, min(k + 50, count), size=64)


def write_packed(folder: Path, count: int, die_at: int | None = None, seed: int = 0) -> int:
    """Write `count` images as a packed dataset, 50 at a time; return how many were drawn. `die_at` as in write_map."""
    options = {"classes": SHAPES, "shape": (3, 64, 64), "source": f"shapes, seed {seed}"}
    with PackedWriter(folder, samples=count, **options) as writer:
        start = writer.done
        for k in range(start, count, 50):
            if k == die_at:
                psutil.Process().kill()
            writer.add(*draw_shapes(k, min(k + 50, count), size=64, seed=seed))
    return count - start


class OneMap(Dataset):
    """The images of one .npy file, read one by one through a memory map; every label is 0."""

    def __init__(self, path: Path):
        self.images = np.load(path, mmap_mode="r")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.from_numpy(self.images[index].copy()), 0


def images_per_second(dataset: Dataset) -> float:
    """Return the speed of a shuffled epoch in batches of 50, the better of two."""
    loader = DataLoader(dataset, batch_size=50, shuffle=True)
    return max(loader_speed(loader).samples_per_second for attempt in range(2))


def every_fourth(images: Tensor) -> Tensor:
    """Return every fourth pixel of every fourth row, float32 from 0 to 1: a `transform` for large images of bytes."""
    return images[:, :, 2::4, 2::4].float() / 255


def train(folder: Path, model: nn.Module, optimizer: Optimizer) -> Mapping[str, Tensor]:
    """Train for one epoch on a packed dataset and return the weights."""
    dataset = PackedDataset(folder, transform=every_fourth)
    sampler = BlockShuffleSampler(len(dataset), block=256, window=8)
    loader = DataLoader(dataset, batch_size=64, sampler=sampler)
    fit(model, loader, nn.CrossEntropyLoss(), optimizer, epochs=1, progress=False)
    return model.state_dict()
