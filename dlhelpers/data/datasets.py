"""Datasets that answer at once: real scans that need no network, generated images, CIFAR-10.

Each is map-style: `len(dataset)` samples, and `dataset[k]` is (image, label), the image a float32
tensor (C, H, W) from 0 to 1. A folder of yours is in `folders.py`, streams are in `streams.py`; augmentation is left to
the lessons.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import Dataset

from dlhelpers.data.drawn_images import SHAPES, draw_shapes

NAMES = ("digits", "shapes", "cifar10", "fashion_mnist")
# The digits 0 to 9, three pixels wide and five high, row by row.
GLYPHS = (
    "111101101101111 010110010010111 111001111100111 111001111001111 101101111001001"
    " 111100111001111 111100111101111 111001001001001 111101111101111 111101111001111"
).split()


class ImageDataset(Dataset):
    """Images and labels held in memory: images (N, C, H, W) of any type, labels (N,) of class numbers.

    Raises ValueError for unequal numbers.
    """

    def __init__(self, images: Tensor, labels: Tensor, classes: Sequence[str]):
        if len(images) != len(labels):
            raise ValueError(
                f"{len(images)} images but {len(labels)} labels: expected one label an image, in order"
            )
        self.images, self.labels, self.classes = images, labels, list(classes)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], int(self.labels[index])


class NumberedImages(Dataset):
    """`length` small images, each of which shows its own index, so that a batch can be read with the eye.

    A sample is (image (1, 32, 32), index). Nothing is stored: each picture is drawn when it is asked for.
    """

    def __init__(self, length: int):
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        index = range(self.length)[index]  # IndexError beyond the ends
        glyphs = [[float(bit) for bit in GLYPHS[int(digit)]] for digit in str(index)]
        # five rows of pixels, a digit beside the other, each with a free column on its right
        text = pad(torch.tensor(glyphs).view(-1, 5, 3), (0, 1)).transpose(0, 1).flatten(1)
        scale = max(1, min(28 // text.shape[1], 5))
        text = torch.kron(text, torch.ones(scale, scale))
        top, left = ((32 - side) // 2 for side in text.shape)
        around = left, 32 - text.shape[1] - left, top, 32 - text.shape[0] - top
        return pad(text.unsqueeze(0), around), index


class Shapes(Dataset):
    """`length` generated colour images (3, size, size) of a circle, a square or a triangle on a noisy ground.

    Each is a pure function of `seed` and its index: nothing is stored, and a million cost no more than one. `size` is a
    multiple of 4. `draw_shapes` makes the same images as bytes, many at a time.
    """

    classes = list(SHAPES)

    def __init__(self, length: int, size: int = 32, *, seed: int = 0):
        self.length, self.size, self.seed = length, size, seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        index = range(self.length)[index]  # IndexError beyond the ends
        images, labels = draw_shapes(index, index + 1, size=self.size, seed=self.seed)
        return torch.from_numpy(images[0]).float().div(255), int(labels[0])


def load(
    name: str,
    split: str = "train",
    *,
    root: str | Path | None = None,
    download: bool = False,
) -> Dataset:
    """Return the dataset called `name`: "digits", "shapes", "cifar10" or "fashion_mnist".

    split     "train" or "test"
    root      where files lie, else the variable DLHELPERS_DATA, else .cache/dlhelpers in the home folder
    download  fetch "cifar10" or "fashion_mnist" where they are missing; nothing is ever fetched unasked

    Raises ValueError for an unknown name or split, FileNotFoundError for missing data. For a folder of images there is
    `ImageFiles`.
    """
    if name not in NAMES:
        raise ValueError(f"unknown dataset {name!r}: there are {', '.join(NAMES)}")
    if split not in ("train", "test"):
        raise ValueError(f"split is {split!r}: expected 'train' or 'test'")
    if name == "shapes":
        length, seed = (8_000, 0) if split == "train" else (2_000, 1)
        return Shapes(length, seed=seed)
    if name == "digits":
        return _digits(split)
    # imported here: it takes seconds, and only these datasets need it
    from torchvision.datasets import CIFAR10, FashionMNIST
    from torchvision.transforms.functional import to_tensor

    home = Path(root or os.environ.get("DLHELPERS_DATA") or "~/.cache/dlhelpers").expanduser()
    kind = CIFAR10 if name == "cifar10" else FashionMNIST
    try:
        return kind(home, train=split == "train", transform=to_tensor, download=download)
    except RuntimeError:
        if download:
            raise
        raise FileNotFoundError(
            f"{name} is not in {home}: pass download=True to fetch it once, pass root= if it lies elsewhere,"
            " or take load('digits'), which needs no files"
        ) from None


def _digits(split: str) -> ImageDataset:
    """The 1,797 scans of handwritten digits (1, 8, 8) in digits.npz; each fifth is a test image.

    Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", the test set, UCI repository, 1998,
    under CC BY 4.0. Scikit-learn's `load_digits` gives the same scans.
    """
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as scans:
        images = torch.from_numpy(scans["images"]).float().div(16).unsqueeze(1)
        labels = torch.from_numpy(scans["labels"]).long()
    test = torch.arange(len(labels)) % 5 == 4
    chosen = test if split == "test" else ~test
    return ImageDataset(images[chosen], labels[chosen], [str(digit) for digit in range(10)])
