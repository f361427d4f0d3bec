"""Datasets that answer at once: real scans that need no network, generated images, CIFAR-10, a folder of yours.

Each is map-style: `len(dataset)` samples, and `dataset[k]` is (image, label), the image a float32
tensor (C, H, W) from 0 to 1. Augmentation and streams are left to the lessons.
"""

import difflib
import operator
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from dlhelpers.base.checks import check_kind, check_whole, shown
from dlhelpers.data.folders import TEST_EVERY, image_folder, image_to_tensor

NAMES = ("digits", "shapes", "cifar10", "fashion_mnist", "folder")
# The digits 0 to 9, three pixels wide and five high, row by row.
GLYPHS = (
    "111101101101111 010110010010111 111001111100111 111001111001111 101101111001001"
    " 111100111001111 111100111101111 111001001001001 111101111101111 111101111001111"
).split()


class ImageDataset(Dataset):
    """Images and labels held in memory: images (N, C, H, W) of any type, labels (N,) of class numbers.

    Raises ValueError for unequal numbers, and for labels that are not whole numbers within `classes`.
    """

    def __init__(self, images: Tensor, labels: Tensor, classes: Sequence[str]):
        check_kind("images", images, Tensor, "a tensor (N, C, H, W), as torch.as_tensor makes one")
        check_kind("labels", labels, Tensor, "a tensor of class numbers (N,)")
        if isinstance(classes, str) or not hasattr(classes, "__len__"):
            raise TypeError(f"classes is {shown(classes)}: expected the names, as ['cat', 'dog']")
        self.classes = [str(name) for name in classes]
        if len(images) != len(labels):
            found = f"{len(images)} images but {len(labels)} labels"
            raise ValueError(f"{found}: expected one label an image, in order")
        if labels.ndim != 1 or labels.dtype.is_floating_point or labels.dtype == torch.bool:
            raise ValueError(
                f"labels have shape {tuple(labels.shape)} and type {labels.dtype}: expected shape ({len(images)},)"
                " and whole class numbers; call .argmax(dim=1) on one-hot labels, .long() on numbers"
            )
        self.images, self.labels = images, labels.long()
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
            raise ValueError(
                f"labels run from {labels.min()} to {labels.max()}: expected 0 to {len(classes) - 1},"
                f" since there are {len(classes)} classes"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        index = _index(index, len(self))
        return self.images[index], int(self.labels[index])


class NumberedImages(Dataset):
    """`length` small images, each of which shows its own index, so that a batch can be read with the eye.

    A sample is (image (1, 32, 32), index). Nothing is stored: each picture is drawn when it is asked for.
    """

    def __init__(self, length: int):
        self.length = check_whole("length", length, 0, of="samples")

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        index = _index(index, self.length)
        text = torch.zeros(5, 4 * len(str(index)))
        for place, digit in enumerate(str(index)):
            bits = torch.tensor([float(bit) for bit in GLYPHS[int(digit)]])
            text[:, 4 * place : 4 * place + 3] = bits.view(5, 3)
        scale = max(1, min(28 // text.shape[1], 5))
        text = text.repeat_interleave(scale, 0).repeat_interleave(scale, 1)[:, :32]
        top, left = (32 - text.shape[0]) // 2, (32 - text.shape[1]) // 2
        image = torch.zeros(1, 32, 32)
        image[0, top : top + text.shape[0], left : left + text.shape[1]] = text
        return image, index


class Shapes(Dataset):
    """`length` generated colour images (3, size, size) of a circle, a square or a triangle on a noisy ground.

    Each is a pure function of `seed` and its index: nothing is stored, and a million cost no more than one.
    """

    classes = ["circle", "square", "triangle"]

    def __init__(self, length: int, size: int = 32, *, seed: int = 0):
        self.length = check_whole("length", length, 0, of="samples")
        self.size = check_whole("size", size, 8, of="pixels")
        self.seed = check_whole("seed", seed, 0)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        index = _index(index, self.length)
        random = torch.Generator().manual_seed(self.seed * 1_000_003 + index)
        label = int(torch.randint(3, (), generator=random))
        centre_y, centre_x, radius = torch.rand(3, generator=random).mul(0.2).add(0.4).tolist()
        colour = torch.rand(3, 1, 1, generator=random) * 0.5 + 0.5
        image = torch.rand(3, self.size, self.size, generator=random) * 0.4
        line = torch.linspace(0, 1, self.size)
        y, x, radius = line.view(-1, 1) - centre_y, line.view(1, -1) - centre_x, radius * 0.7
        mask = [
            x**2 + y**2 < radius**2,
            (x.abs() < 0.85 * radius) & (y.abs() < 0.85 * radius),
            (y < 0.7 * radius) & (y > -radius + 1.7 * x.abs()),
        ][label]
        return torch.where(mask, colour, image), label


def load(
    name: str,
    split: str = "train",
    *,
    root: str | Path | None = None,
    download: bool = False,
    size: int | None = None,
) -> Dataset:
    """Return the dataset called `name`: "digits", "shapes", "cifar10", "fashion_mnist" or "folder".

    split     "train" or "test"
    root      where files lie: required for "folder" (ROOT/CLASS/*.jpg or ROOT/SPLIT/CLASS/*.jpg), else
              the variable DLHELPERS_DATA, else .cache/dlhelpers in the home folder
    download  fetch "cifar10" or "fashion_mnist" where they are missing; nothing is ever fetched unasked
    size      side in pixels: of the generated "shapes", or to which images of a "folder" are cut

    Raises ValueError for an unknown name or split and for files that are no images, FileNotFoundError for
    missing data, ConnectionError for a download that failed; a failed download leaves no file behind.
    """
    if name not in NAMES:
        near = difflib.get_close_matches(str(name), NAMES, n=1, cutoff=0.4)
        meant = f": did you mean {near[0]!r}?" if near else "."
        raise ValueError(f"unknown dataset {name!r}{meant} There are {', '.join(NAMES)}")
    if split not in ("train", "test") and name != "folder":
        raise ValueError(f"split is {split!r}: expected 'train' or 'test'")
    if name == "folder":
        return image_folder(root, split, size)
    if name == "shapes":
        length, seed = (8_000, 0) if split == "train" else (2_000, 1)
        return Shapes(length, 32 if size is None else size, seed=seed)
    if name == "digits":
        return _digits(split)
    home = Path(root or os.environ.get("DLHELPERS_DATA") or "~/.cache/dlhelpers").expanduser()
    return _torchvision(name, split, home, download)


def _digits(split: str) -> ImageDataset:
    """Scikit-learn's 1,797 scans of handwritten digits (1, 8, 8); each fifth is a test image.

    Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI repository, 1998.
    """
    # imported here: it takes a second, and only this dataset needs it
    from sklearn.datasets import load_digits

    scans = load_digits()
    images = torch.tensor(scans.images, dtype=torch.float32).div(16).unsqueeze(1)
    labels = torch.tensor(scans.target)
    test = torch.arange(len(labels)) % TEST_EVERY == TEST_EVERY - 1
    chosen = test if split == "test" else ~test
    return ImageDataset(images[chosen], labels[chosen], [str(digit) for digit in range(10)])


def _torchvision(name: str, split: str, root: Path, download: bool) -> Dataset:
    """CIFAR-10 or Fashion-MNIST from torchvision's files below `root`."""
    import torchvision

    kinds = torchvision.datasets
    kind = kinds.CIFAR10 if name == "cifar10" else kinds.FashionMNIST
    options = {"train": split == "train", "transform": image_to_tensor}
    try:
        return kind(root, **options)
    except RuntimeError:
        if not download:
            raise FileNotFoundError(
                f"{name} is not in {root}: pass download=True to fetch it once, pass root= if it lies elsewhere,"
                " or take load('digits'), which needs no files"
            ) from None
    root.mkdir(parents=True, exist_ok=True)
    # a broken download vanishes with this folder
    with tempfile.TemporaryDirectory(dir=root) as unfinished:
        try:
            kind(unfinished, download=True)
        except (OSError, RuntimeError) as error:
            raise ConnectionError(
                f"{name} could not be downloaded ({error}); nothing was kept. Check the network, copy the files"
                f" of another machine to {root}, or take load('digits'), which needs no files"
            ) from error
        for part in Path(unfinished).iterdir():
            if part.is_dir():  # the archive beside its unpacked folder is not needed again
                shutil.copytree(part, root / part.name, dirs_exist_ok=True)
    return kind(root, **options)


def _index(index: int, length: int) -> int:
    """`index` counted from the front; IndexError beyond the ends, which is how iteration knows where to stop."""
    if not hasattr(index, "__index__"):
        remedy = "one whole number; for several, [dataset[k] for k in range(3)]"
        raise TypeError(f"index is {shown(index)}: expected {remedy}")
    if not -length <= operator.index(index) < length:
        expected = f"expected 0 to {length - 1}"
        raise IndexError(f"index {index} is beyond a dataset of {length} samples: {expected}")
    return int(index) % length
